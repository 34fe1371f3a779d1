"""From predictions to the scores of evaluation.json, each with its interval.

The dictionary is plain JSON (no NumPy, no NaN) and stable; `docs/evaluation-json.md` describes every field.
Knows nothing of how the predictions came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from linnaeus.errors import DataError
from linnaeus.evaluation.intervals import Interval, bootstrap_intervals, wilson_interval
from linnaeus.evaluation.multilabel import evaluate_multilabel
from linnaeus.metrics.classification import (
    class_counts,
    confusion_matrix,
    mean_f1,
    mean_precision,
    mean_recall,
    per_class_scores,
)
from linnaeus.predictions import Predictions

_MACRO = {"balanced_accuracy": mean_recall, "macro_precision": mean_precision, "macro_f1": mean_f1}


def evaluate_predictions(
    predictions: Predictions,
    *,
    confidence: float,
    bootstrap_samples: int,
    seed: int,
    thresholds: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Score predictions of one split.

    Args:
        predictions: of one split, at least one image.
        confidence: level of every interval, such as 0.95.
        bootstrap_samples: resampled test sets behind the intervals of macro scores.
        seed: of the resampling; the same seed gives the same intervals.
        thresholds: K probabilities from which a label is given, where images have several; None for one label.

    Returns what `evaluate_multilabel` does where images have several labels, else accuracy, balanced_accuracy,
    macro_precision and macro_f1 as {"value", "low", "high"}; per_class by name; confusion as a list of rows (true
    class) of counts (predicted class); num_images.
    Raises DataError if there are no predictions.
    """
    if len(predictions) == 0:
        raise DataError("There are no images to evaluate: this split is empty.")
    if predictions.task == "multi":
        assert thresholds is not None, "several labels are given by thresholds"
        return evaluate_multilabel(
            predictions,
            thresholds=np.asarray(thresholds, np.float64),
            confidence=confidence,
            bootstrap_samples=bootstrap_samples,
            seed=seed,
        )
    targets = predictions.targets.astype(np.int64)
    confusion = confusion_matrix(targets, predictions.predicted, len(predictions.classes))
    counts = class_counts(confusion)
    right, num_images = int(counts.hits.sum()), int(counts.support.sum())
    intervals = bootstrap_intervals(confusion, _MACRO, confidence=confidence, num_samples=bootstrap_samples, seed=seed)
    accuracy = _score(right / num_images, wilson_interval(right, num_images, confidence=confidence))
    macro = {name: _score(float(score(counts)), intervals[name]) for name, score in _MACRO.items()}
    columns = {name: values.tolist() for name, values in per_class_scores(confusion).items()}
    return {
        "accuracy": accuracy,
        **macro,
        "per_class": {
            name: {column: values[k] for column, values in columns.items()}
            for k, name in enumerate(predictions.classes)
        },
        "confusion": confusion.tolist(),
        "num_images": num_images,
    }


def _score(value: float, interval: Interval) -> dict[str, float]:
    return {"value": value, "low": interval.low, "high": interval.high}
