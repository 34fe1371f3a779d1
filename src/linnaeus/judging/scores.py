"""From predictions to the scores of evaluation.json, each with its interval.

The dictionary is plain JSON (no NumPy, no NaN) and stable; `docs/evaluation-json.md` describes every field.
Knows nothing of how the predictions came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from linnaeus.errors import DataError
from linnaeus.judging.curves import class_areas
from linnaeus.judging.label_scores import evaluate_labels
from linnaeus.judging.score_table import Answers, ScoreTable, table_of
from linnaeus.metrics.classification import (
    ClassCounts,
    FloatArray,
    IntArray,
    class_counts,
    confusion_matrix,
    mean_f1,
    mean_precision,
    mean_recall,
    per_class_scores,
)
from linnaeus.metrics.probabilities import NUM_BINS, bin_places, reliability
from linnaeus.predictions import Predictions
from linnaeus.statistics.intervals import Interval, bootstrap_intervals, spread_interval, wilson_interval
from linnaeus.statistics.resample import (
    affordable_samples,
    as_score,
    resampled_weights,
    score_probabilities,
)

_MACRO = {"balanced_accuracy": mean_recall, "macro_precision": mean_precision, "macro_f1": mean_f1}
_TOP = (3, 5)


def evaluate_predictions(
    predictions: Predictions,
    *,
    confidence: float,
    bootstrap_samples: int,
    seed: int,
    thresholds: Sequence[float] | None = None,
    groups: IntArray | None = None,
) -> dict[str, Any]:
    """Score predictions of one split, with their temperature and at their operating point.

    Args:
        predictions: of one split, at least one image.
        confidence: level of every interval, such as 0.95.
        bootstrap_samples: resampled test sets behind the intervals of scores that have no closed form.
        seed: of the resampling; the same seed gives the same intervals.
        thresholds: K probabilities from which a label is given, where images have several; None for one label.
        groups: int64 [N], images that belong together (and are then resampled together); None if each is its own.

    Returns what `evaluate_labels` does where images have several labels, else accuracy, balanced_accuracy,
    macro_precision, macro_f1, top_3_accuracy and top_5_accuracy (where there are more classes), log_loss, brier and
    calibration_error as {"value", "low", "high"}; per_class by name; confusion as a list of rows (true class) of counts
    (predicted class); num_images.
    Raises DataError if there are no predictions.
    """
    return evaluate_table(
        table_of(predictions),
        confidence=confidence,
        bootstrap_samples=bootstrap_samples,
        seed=seed,
        thresholds=thresholds,
        groups=groups,
    )


def evaluate_table(
    table: ScoreTable,
    *,
    confidence: float,
    bootstrap_samples: int,
    seed: int,
    thresholds: Sequence[float] | None = None,
    groups: IntArray | None = None,
) -> dict[str, Any]:
    """`evaluate_predictions` of a table that need not fit in memory."""
    if len(table) == 0:
        raise DataError("There are no images to evaluate: this split is empty.")
    if groups is not None and len(np.unique(groups)) == len(groups):
        groups = None  # each is its own
    if table.task == "multi":
        assert thresholds is not None, "several labels are given by thresholds"
        return evaluate_labels(
            table,
            thresholds=np.asarray(thresholds, np.float64),
            confidence=confidence,
            bootstrap_samples=bootstrap_samples,
            seed=seed,
            groups=groups,
        )
    answers = table.answers
    confusion = confusion_matrix(answers.targets, answers.predicted, len(table.classes))
    num_images = len(table)
    shares = {"accuracy": answers.right} | {
        f"top_{k}_accuracy": answers.ranks <= k for k in _TOP if k < len(table.classes)
    }
    counts = class_counts(confusion)
    macro = {name: float(score(counts)) for name, score in _MACRO.items()}
    if groups is None:
        right = {name: int(column.sum()) for name, column in shares.items()}
        intervals = {name: wilson_interval(hits, num_images, confidence=confidence) for name, hits in right.items()}
        intervals |= bootstrap_intervals(
            confusion, _MACRO, confidence=confidence, num_samples=bootstrap_samples, seed=seed
        )
    else:
        intervals = _grouped_intervals(
            answers, shares, macro, groups, confidence=confidence, num_samples=bootstrap_samples, seed=seed
        )
    columns: dict[str, list[Any]] = {name: values.tolist() for name, values in per_class_scores(confusion).items()}
    columns |= class_areas(table)
    return {
        **{name: as_score(float(column.mean()), intervals[name]) for name, column in shares.items()},
        **{name: as_score(value, intervals[name]) for name, value in macro.items()},
        **_probability_scores(answers, groups, confidence=confidence, num_samples=bootstrap_samples, seed=seed),
        "per_class": {
            name: {column: values[k] for column, values in columns.items()} for k, name in enumerate(table.classes)
        },
        "confusion": confusion.tolist(),
        "num_images": num_images,
    }


def _probability_scores(
    answers: Answers, groups: IntArray | None, *, confidence: float, num_samples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Log loss, Brier score and calibration error, with intervals from resampled images."""
    edges = np.linspace(0.0, 1.0, NUM_BINS + 1)
    right = answers.likeliest == answers.targets
    surplus = np.zeros((len(right), NUM_BINS))
    places = bin_places(answers.confidence, edges)
    surplus[np.arange(len(right)), places] = right - answers.confidence
    variance = np.asarray(np.bincount(places, answers.confidence * (1 - answers.confidence), NUM_BINS), np.float64)
    error = float(reliability(answers.confidence, right).error)
    return score_probabilities(
        answers.log_losses,
        answers.briers,
        surplus,
        variance,
        error,
        strata=answers.targets,
        groups=groups,
        answers_per_image=1,
        confidence=confidence,
        num_samples=num_samples,
        seed=seed,
    )


def _grouped_intervals(
    answers: Answers,
    shares: dict[str, Any],
    macro: dict[str, float],
    groups: IntArray,
    *,
    confidence: float,
    num_samples: int,
    seed: int,
) -> dict[str, Interval]:
    """Intervals from resampled groups, in Wilson's shape as in `bootstrap_intervals`.

    Where all resamples agree (nothing is wrong), a score is worth as many images as there are groups.
    """
    num_images, num_classes = len(answers.targets), int(max(answers.targets.max(), answers.predicted.max())) + 1
    rows = np.arange(num_images)
    tables = [
        sparse.csc_array((column, (rows, classes)), shape=(num_images, num_classes))
        for column, classes in (
            (answers.right.astype(np.float64), answers.targets),
            (np.ones(num_images), answers.targets),
            (np.ones(num_images), answers.predicted),
        )
    ]
    each = np.stack([column.astype(np.float64) for column in shares.values()], axis=1)
    resampled: dict[str, list[FloatArray]] = {name: [] for name in (*shares, *macro)}
    num_samples = affordable_samples(num_images, wanted=num_samples)
    for weights in resampled_weights(num_images, strata=None, groups=groups, num_samples=num_samples, seed=seed):
        counts = ClassCounts(*(weights @ table for table in tables))
        for name, score in _MACRO.items():
            resampled[name].append(score(counts))
        for name, column in zip(shares, (weights @ each / weights.sum(axis=1)[:, None]).T, strict=True):
            resampled[name].append(column)
    values = macro | {name: float(column.mean()) for name, column in shares.items()}
    worth = float(len(np.unique(groups)))
    return {
        name: spread_interval(value, np.concatenate(resampled[name]), worth_without_spread=worth, confidence=confidence)
        for name, value in values.items()
    }
