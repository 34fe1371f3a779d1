"""What a finished run says of itself, read from its folder.

At the end of the life of an image. Knows the names and formats of the files, and nothing of how they came about.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from linnaeus.analysis.label_issues import read_label_issues
from linnaeus.bundle import Bundle
from linnaeus.bundle.files import load_bundle
from linnaeus.config.resolved import ResolvedConfig, read_resolved
from linnaeus.data.manifest import Manifest
from linnaeus.errors import RunError
from linnaeus.judging.evaluation import Evaluation, read_evaluation
from linnaeus.predictions import Predictions
from linnaeus.run_folder import RunDir


@dataclass(frozen=True)
class Run:
    """A finished run; everything is read from its folder when asked for."""

    path: Path

    @property
    def config(self) -> ResolvedConfig:
        """The settled configuration. Raises RunError for the folder of an ensemble, whose members have one each."""
        path = RunDir(self.path).config
        ensemble = None if path.exists() else self.evaluation.ensemble
        if ensemble is not None:
            members = ", ".join(name for name, weight in ensemble.weights.items() if weight)
            raise RunError(
                f"{self.path} is an ensemble and has no configuration of its own. Ask its members: {members}"
            )
        return read_resolved(path)

    @property
    def evaluation(self) -> Evaluation:
        """The scores; docs/evaluation-json.md describes them. Raises RunError if the file cannot be read."""
        return read_evaluation(RunDir(self.path).evaluation)

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch."""
        return pd.read_csv(RunDir(self.path).history)

    @property
    def manifest(self) -> Manifest:
        """Every image with its target and split."""
        return Manifest.load(RunDir(self.path).manifest)

    @property
    def predictions(self) -> Predictions:
        """Logits of the validation and test images."""
        return Predictions.load(RunDir(self.path).predictions)

    @property
    def out_of_fold(self) -> Predictions:
        """Logits of training and validation images by heads that have not seen them, where there were folds."""
        return Predictions.load(RunDir(self.path).out_of_fold)

    @property
    def label_issues(self) -> pd.DataFrame:
        """Labels that look wrong, the most suspicious first, where there are out-of-fold predictions."""
        return read_label_issues(RunDir(self.path).label_issues)

    @property
    def bundle(self) -> Bundle:
        """The finished model."""
        return load_bundle(RunDir(self.path).model)

    @property
    def report(self) -> Path:
        """The page to open in a browser."""
        return RunDir(self.path).report
