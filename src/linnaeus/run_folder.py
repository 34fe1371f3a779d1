"""The folder of a run, `runs/NAME/`: the only place that names its files, and how a run takes one for itself.

Knows nothing of what the files hold.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from linnaeus.errors import OutputError, RunExistsError, RunNotFoundError

_WRITTEN = """
config settled plan manifest quarantine history predictions out_of_fold evaluation report model checkpoints
tensorboard log writable figures tables label_issues folds
"""
_STEMS = frozenset(_WRITTEN.split())
"""First words of the names of everything a run writes, temporary files included (`.config.yaml.123.part`)."""


@dataclass(frozen=True)
class RunDir:
    """Paths of one run. Creating the object touches nothing on disk."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration; itself a recipe."""
        return self.path / "config.yaml"

    @property
    def settled(self) -> Path:
        """What was settled before training: preprocessing, the cache's key, the decisions, the time it took."""
        return self.path / "settled.json"

    @property
    def plan(self) -> Path:
        """Every decision with its reason, for people."""
        return self.path / "plan.md"

    @property
    def manifest(self) -> Path:
        """Every image with its target and split."""
        return self.path / "manifest.parquet"

    @property
    def quarantine(self) -> Path:
        """Images that could not be decoded: id, uri, reason."""
        return self.path / "quarantine.csv"

    @property
    def history(self) -> Path:
        """One row per epoch."""
        return self.path / "history.csv"

    @property
    def predictions(self) -> Path:
        """Logits of validation and test images."""
        return self.path / "predictions.parquet"

    @property
    def out_of_fold(self) -> Path:
        """Logits of training and validation images by heads that have not seen them, where there were folds."""
        return self.path / "out_of_fold.parquet"

    @property
    def label_issues(self) -> Path:
        """Labels that look wrong, the most suspicious first, where there were out-of-fold predictions."""
        return self.path / "label_issues.csv"

    @property
    def corrections(self) -> Path:
        """What a person decided about labels in `linnaeus review`; never deleted by a new run."""
        return self.path / "corrections.csv"

    @property
    def new_labels(self) -> Path:
        """Labels that a person gave to images outside the data in `linnaeus review --unlabelled`; kept likewise."""
        return self.path / "new_labels.csv"

    @property
    def evaluation(self) -> Path:
        """The scores, in a documented and stable form."""
        return self.path / "evaluation.json"

    @property
    def report(self) -> Path:
        """The page a person reads."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """The charts of the report as SVG files."""
        return self.path / "figures"

    @property
    def tables(self) -> Path:
        """The tables of the report as CSV and LaTeX."""
        return self.path / "tables"

    @property
    def model(self) -> Path:
        """The bundle: the folder you ship."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        """Training states to resume from."""
        return self.path / "checkpoints"

    @property
    def folds(self) -> Path:
        """One folder for each fold that is trained whole, with its own checkpoints and history."""
        return self.path / "folds"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard event files, if asked for."""
        return self.path / "tensorboard"

    @property
    def log(self) -> Path:
        """What was printed, with times."""
        return self.path / "log.txt"


def create(path: Path, *, force: bool) -> RunDir:
    """Make a new run directory; an existing run is replaced only with `force`.

    Raises RunExistsError if the folder holds anything and `force` is false, or if it holds files that
    are not a run's (those are never deleted); OutputError if it cannot be written.
    """
    run = RunDir(path)
    if path.is_file():
        raise RunExistsError(f"{path} is a file, not a folder. Name another one with --out.")
    if path.is_dir() and any(path.iterdir()):
        if not force:
            raise RunExistsError(
                f"There is something in {path} already. Name another folder with --out, replace the run with "
                f"--force, or go on with it: linnaeus resume {path}"
            )
        foreign = sorted(item.name for item in path.iterdir() if item.name.lstrip(".").split(".")[0] not in _STEMS)
        if foreign:
            raise RunExistsError(
                f"{path} holds '{foreign[0]}', which no run of Linnaeus wrote, so --force will not delete the folder. "
                "Name another one with --out."
            )
        shutil.rmtree(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OutputError(f"Cannot write to {path}: {error.strerror}. Name another folder with --out.") from error
    return run


def open_existing(path: Path) -> RunDir:
    """Return the run in `path`; raises RunNotFoundError if it holds no config.yaml: none, or one made of others."""
    run = RunDir(path)
    if not run.config.is_file() and run.evaluation.is_file():
        raise RunNotFoundError(
            f"{path} is made of finished runs, and nothing was trained there. Name one of them: {run.plan} lists them."
        )
    if not run.config.is_file():
        raise RunNotFoundError(f"There is no run in {path} (no config.yaml there). Runs are listed by: ls runs/")
    return run
