"""ReportFacts: everything the page shows, gathered by the run. The report itself measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from linnaeus.analysis.errors import ExplainedError
from linnaeus.config.resolved import ResolvedConfig
from linnaeus.data.manifest import Manifest
from linnaeus.judging.evaluation import Evaluation
from linnaeus.predictions import Predictions


@dataclass(frozen=True)
class ReportFacts:
    """What a finished run knows.

    Attributes:
        title: a few words, such as the name of the data.
        config: with nothing left to choose.
        manifest: every image with target and split.
        predictions: of validation and test images; their ids are the manifest's.
        evaluation: what evaluation.json holds.
        history: one row per epoch: epoch, phase, train_loss, train_accuracy, validation_loss, validation_accuracy,
            validation_balanced_accuracy, images_per_second. Missing values are NaN.
        decisions: (what, choice, why) of every decision of the plan.
        environment: names and values, such as {"device": "CPU, 2 threads"}.
        fitted: row -> uint8 [H, W, 3], the pixels the network saw, where they are still available; UnreadableImageError
            where there are none.
        thumbnails: row of the manifest -> a WebP, PNG or JPEG file; UnreadableImageError where there is none.
        problems: (id, reason) of quarantined images.
        explained: the most telling mistakes in the test, with what the network looked at.
        num_parameters: of the network.
        label_issues: of `linnaeus.analysis.label_issues`; None where no labels were looked at.
        kept_epoch: the epoch (as in `history`) whose weights were kept; None: follows from the last phase's `monitor`.
    """

    title: str
    config: ResolvedConfig
    manifest: Manifest
    predictions: Predictions
    evaluation: Evaluation
    history: pd.DataFrame
    decisions: Sequence[tuple[str, str, str]]
    environment: Mapping[str, str]
    thumbnails: Callable[[int], bytes]
    problems: Sequence[tuple[str, str]]
    num_parameters: int
    kept_epoch: int | None = None
    label_issues: pd.DataFrame | None = None
    fitted: Callable[[int], npt.NDArray[np.uint8]] | None = None
    explained: Sequence[ExplainedError] = ()
