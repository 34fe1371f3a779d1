"""Scores of single-label classification from plain arrays.

Training's validation and the final evaluation share these functions. Everything follows from three counts per class
(`ClassCounts`), which may carry leading axes: a thousand resampled test sets are scored by the same code as one.
The scores equal scikit-learn's of the same names with `zero_division=0`. Knows nothing of models, files or intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassCounts:
    """What macro scores are made of.

    Attributes:
        true_positives: int64 [..., K], images of the class that were given to it.
        support: int64 [..., K], images of the class.
        predicted: int64 [..., K], images that were given to the class, rightly or wrongly.
    """

    true_positives: IntArray
    support: IntArray
    predicted: IntArray


def confusion_matrix(targets: IntArray, predicted: IntArray, num_classes: int) -> IntArray:
    """int64 [K, K] of images: rows are the true class, columns the predicted one.

    Args:
        targets, predicted: int64 [N], positions of classes, 0 to K - 1.
        num_classes: K; classes that do not occur keep their empty row and column.

    Raises ValueError if the lengths differ or a position lies outside 0 to K - 1.
    """
    if targets.shape != predicted.shape or targets.ndim != 1:
        raise ValueError(f"targets {targets.shape} and predicted {predicted.shape} must be two equally long columns")
    for name, column in (("targets", targets), ("predicted", predicted)):
        if column.size and (column.min() < 0 or column.max() >= num_classes):
            raise ValueError(f"{name} holds {column.min()} to {column.max()}, outside 0 to {num_classes - 1}")
    cells = np.bincount(targets.astype(np.int64) * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def class_counts(confusion: IntArray) -> ClassCounts:
    """The counts behind a confusion matrix int64 [..., K, K]."""
    true_positives = np.diagonal(confusion, axis1=-2, axis2=-1)
    return ClassCounts(true_positives=true_positives, support=confusion.sum(axis=-1), predicted=confusion.sum(axis=-2))


def macro_recall(counts: ClassCounts) -> FloatArray:
    """float64 [...], 0-1: recall averaged over the classes that have images."""
    return _mean_where(divide(counts.true_positives, counts.support), counts.support > 0)


def macro_precision(counts: ClassCounts) -> FloatArray:
    """float64 [...], 0-1: precision averaged over the classes that occur among targets or predictions."""
    return _mean_where(divide(counts.true_positives, counts.predicted), (counts.support > 0) | (counts.predicted > 0))


def macro_f1(counts: ClassCounts) -> FloatArray:
    """float64 [...], 0-1: F1 averaged over the classes that occur among targets or predictions."""
    total = counts.support + counts.predicted
    return _mean_where(divide(2 * counts.true_positives, total), total > 0)


def accuracy_score(targets: IntArray, predicted: IntArray, num_classes: int) -> float:
    """Fraction of images whose class is right, 0-1; 0 if there are none. Arguments as in `confusion_matrix`."""
    counts = class_counts(confusion_matrix(targets, predicted, num_classes))
    return float(divide(counts.true_positives.sum(), counts.support.sum()))


def balanced_accuracy_score(targets: IntArray, predicted: IntArray, num_classes: int) -> float:
    """Mean recall of the classes that occur in `targets`, 0-1. Arguments as in `confusion_matrix`."""
    return float(macro_recall(class_counts(confusion_matrix(targets, predicted, num_classes))))


def macro_f1_score(targets: IntArray, predicted: IntArray, num_classes: int) -> float:
    """Mean F1 of the classes that occur anywhere, 0-1. Arguments as in `confusion_matrix`."""
    return float(macro_f1(class_counts(confusion_matrix(targets, predicted, num_classes))))


def per_class_scores(confusion: IntArray) -> dict[str, npt.NDArray[np.float64] | IntArray]:
    """Scores of each class against all others, from a confusion matrix int64 [K, K].

    Returns float64 [K] in 0-1 under "precision", "recall", "specificity" and "f1" (which is also the Dice
    coefficient), and int64 [K] under "support". A fraction of nothing is 0.
    """
    counts = class_counts(confusion)
    others = confusion.sum() - counts.support
    false_positives = counts.predicted - counts.true_positives
    return {
        "precision": divide(counts.true_positives, counts.predicted),
        "recall": divide(counts.true_positives, counts.support),
        "specificity": divide(others - false_positives, others),
        "f1": divide(2 * counts.true_positives, counts.support + counts.predicted),
        "support": counts.support,
    }


def divide(part: npt.ArrayLike, whole: npt.ArrayLike) -> FloatArray:
    """part / whole as float64, 0 where `whole` is 0."""
    numerator, denominator = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    result = np.zeros(np.broadcast_shapes(numerator.shape, denominator.shape))
    return np.divide(numerator, denominator, out=result, where=denominator > 0)


def _mean_where(values: FloatArray, counted: npt.NDArray[np.bool_]) -> FloatArray:
    """Mean over the last axis of the values that count; 0 where none does."""
    counted = np.broadcast_to(counted, values.shape)
    return divide(np.where(counted, values, 0.0).sum(axis=-1), counted.sum(axis=-1))
