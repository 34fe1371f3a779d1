"""The finished runs that an ensemble or a soup is made of, read and brought into one order of images and classes.

Before anything is chosen or averaged. Knows nothing of what becomes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from linnaeus import run_folder
from linnaeus.bundle import Bundle
from linnaeus.bundle.files import load_bundle
from linnaeus.data.manifest import SPLITS, TEST, VALIDATION
from linnaeus.errors import ConfigError, DataError, RunError
from linnaeus.judging.comparison import align
from linnaeus.predictions import Predictions


@dataclass(frozen=True)
class Member:
    """One finished run.

    Attributes:
        path: of its folder.
        bundle: its model.
        predictions: of validation and test images, in the order of the first run's images and classes; logits over its
            temperature.
    """

    path: Path
    bundle: Bundle
    predictions: Predictions


def read_members(paths: Sequence[Path]) -> list[Member]:
    """Finished runs on the same images.

    Raises ConfigError for fewer than two or the same twice, RunNotFoundError or RunError for one that is not there or
    not finished, DataError where validation or test images differ, ClassesError where classes do.
    """
    if len(paths) < 2:
        raise ConfigError("An ensemble needs two runs at least: linnaeus ensemble runs/a runs/b")
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("The same run is named twice. An ensemble finds each one's weight by itself.")
    members: list[Member] = []
    for path in paths:
        run = run_folder.open_existing(path)
        if not run.evaluation.is_file() or not run.model.is_dir():
            raise RunError(f"The run {path} is not finished. Go on with it first: linnaeus resume {path}")
        bundle, predictions = load_bundle(run.model), Predictions.load(run.predictions)
        if bundle.members:
            raise RunError(f"{path} is an ensemble itself. Name the runs that it was made of.")
        scaled = predictions.logits / np.asarray(predictions.temperature)
        predictions = replace(predictions, logits=scaled.astype(np.float32), temperature=1.0)
        if members:
            predictions = _aligned(members[0], predictions, path)
        members.append(Member(path, bundle, predictions))
    return members


def _aligned(first: Member, predictions: Predictions, path: Path) -> Predictions:
    """In the order of the first run, split by split: an image of one run's test may not be another's validation."""
    for split in (VALIDATION, TEST):
        try:
            align(first.predictions.of_split(split), predictions.of_split(split))
        except DataError as error:
            raise type(error)(f"{first.path} and {path}, {SPLITS[split]} images: {error}") from error
    return align(first.predictions, predictions)
