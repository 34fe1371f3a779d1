"""The scores of answers that took no training, beside the model's own: what evaluation.json says of baselines.

Functions of predictions; knows nothing of features or how the answers came about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from linnaeus.data.manifest import SPLITS, TEST, VALIDATION
from linnaeus.judging.comparison import compare_predictions
from linnaeus.judging.scores import evaluate_predictions
from linnaeus.judging.thresholds import ThresholdRule, choose_thresholds
from linnaeus.predictions import Predictions

_NOT_TOLD = ("per_class", "confusion", "wrong_labels", "log_loss", "brier", "calibration_error")
"""Long ones, and scores of probabilities: what baselines give ranks classes, but is no probability."""


def evaluate_baselines(
    answers: Mapping[str, Predictions],
    model: Predictions,
    *,
    thresholds: tuple[float, ...] | None,
    rule: ThresholdRule,
    confidence: float,
    bootstrap_samples: int,
    seed: int,
) -> dict[str, Any]:
    """Score baselines on validation and test, and compare the model with each of them on the test images.

    Args:
        answers: of each baseline, on the validation and test images.
        model: the model's own predictions of the same images.
        thresholds: the model's, for several labels per image; a baseline has its own, chosen on validation images.
        rule: by which they are chosen.
        confidence, bootstrap_samples, seed: as of `evaluate_predictions`.

    Returns for each name "test" and "validation" (scores without those of single classes) and "model_minus_baseline":
    {"score", "value", "low", "high", "beyond_noise"}, how much better the model's accuracy (or micro F1) on test is.
    """
    settings: dict[str, Any] = {"confidence": confidence, "seed": seed}
    found = {}
    for name, predictions in answers.items():
        own = None
        if predictions.task == "multi":
            validation = predictions.of_split(VALIDATION)
            labels = validation.targets.astype(np.uint8)
            own = tuple(choose_thresholds(labels, validation.probabilities, rule=rule).values)
        scores = {
            SPLITS[split]: evaluate_predictions(
                predictions.of_split(split), thresholds=own, bootstrap_samples=bootstrap_samples, **settings
            )
            for split in (TEST, VALIDATION)
        }
        comparison = compare_predictions(
            predictions.of_split(TEST),
            model.of_split(TEST),
            num_samples=bootstrap_samples,
            thresholds=(np.asarray(own or 0.5), np.asarray(thresholds or 0.5)),
            **settings,
        )
        low, high = comparison.difference.interval
        found[name] = {
            **{
                split: {k: v for k, v in own_scores.items() if k not in _NOT_TOLD}
                for split, own_scores in scores.items()
            },
            "model_minus_baseline": {
                "score": comparison.score,
                "value": comparison.difference.value,
                "low": low,
                "high": high,
                "beyond_noise": comparison.beyond_noise,
            },
        }
    return found
