"""The finished runs that an ensemble or averaged weights are made of, brought into one order of images and classes.

Before anything is chosen or averaged. Knows nothing of what becomes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from linnaeus import run_folder
from linnaeus.bundle import Bundle
from linnaeus.bundle.files import load_bundle
from linnaeus.config.resolved import ResolvedConfig, ResolvedEvaluate, read_resolved
from linnaeus.data.manifest import SPLITS, TEST, VALIDATION, Manifest
from linnaeus.errors import ConfigError, DataError, RunError
from linnaeus.judging.comparison import align
from linnaeus.judging.evaluation import Evaluation, read_evaluation
from linnaeus.judging.selection import quality
from linnaeus.predictions import Predictions
from linnaeus.run_folder import RunDir


@dataclass(frozen=True)
class Member:
    """One finished run.

    Attributes:
        path: of its folder.
        bundle: its model.
        predictions: of validation and test images, at its temperature, in the order of the first run's images and
            classes.
        evaluation: its own.
        config: its own.
    """

    path: Path
    bundle: Bundle
    predictions: Predictions
    evaluation: Evaluation
    config: ResolvedConfig

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """From which probability each of several labels is predicted, in the order of the predictions' classes."""
        if self.bundle.thresholds is None:
            return None
        return tuple(self.bundle.thresholds[self.bundle.classes.index(name)] for name in self.predictions.classes)

    @property
    def manifest(self) -> Manifest:
        """Its images."""
        return Manifest.load(RunDir(self.path).manifest)


def read_members(paths: Sequence[Path]) -> list[Member]:
    """Finished runs on the same images.

    Raises ConfigError for fewer than two or the same twice, RunNotFoundError or RunError for one that is not there or
    not finished, DataError where validation or test images differ, ClassesError where classes do.
    """
    if len(paths) < 2:
        raise ConfigError("An ensemble needs two runs at least: linnaeus ensemble runs/a runs/b")
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("The same run is named twice. The weights of an ensemble are chosen automatically.")
    members: list[Member] = []
    for path in paths:
        run = run_folder.open_existing(path)
        if not run.evaluation.is_file() or not run.model.is_dir():
            raise RunError(f"The run {path} is not finished. Go on with it first: linnaeus resume {path}")
        bundle, predictions = load_bundle(run.model), Predictions.load(run.predictions)
        if bundle.members:
            raise RunError(f"{path} is an ensemble itself. Name the runs that it was made of.")
        if members:
            predictions = _aligned(members[0], predictions, path)
        config = read_resolved(run.config)
        members.append(Member(path, bundle, predictions, read_evaluation(run.evaluation), config))
    return members


def best_member(members: Sequence[Member]) -> Member:
    """The run that is best on the validation images."""
    held_out = [member.predictions.of_split(VALIDATION) for member in members]
    qualities = [quality(each.probabilities, each.targets) for each in held_out]
    return members[max(range(len(members)), key=qualities.__getitem__)]


def settings_of(members: Sequence[Member]) -> tuple[ResolvedEvaluate, int, str]:
    """How what is made of these runs shall be judged: the `evaluate` settings and the seed of the first run, and a
    sentence that names the settings in which the others differ (empty if none).
    """
    first = members[0].config.evaluate
    differing = {
        name
        for member in members[1:]
        for name in ResolvedEvaluate.model_fields
        if getattr(member.config.evaluate, name) != getattr(first, name)
    }
    named = ", ".join(f"evaluate.{name}" for name in sorted(differing))
    note = f"The runs differ in {named}; those of {members[0].path} are taken." if named else ""
    return first, members[0].config.seed, note


def _aligned(first: Member, predictions: Predictions, path: Path) -> Predictions:
    """In the order of the first run, split by split: an image of one run's test may not be another's validation."""
    for split in (VALIDATION, TEST):
        try:
            align(first.predictions.of_split(split), predictions.of_split(split))
        except DataError as error:
            raise type(error)(f"{first.path} and {path}, {SPLITS[split]} images: {error}") from error
    return align(first.predictions, predictions)
