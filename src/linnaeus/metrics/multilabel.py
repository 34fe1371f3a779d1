"""Scores where an image has several labels, from plain arrays; training's validation and the evaluation share them.

Everything but average precision follows from counts per label (`ClassCounts`, as for one label per image), which may
carry leading axes, so a thousand resampled test sets are scored by the same code as one. Knows nothing of models, files
or how thresholds were chosen.

What a fraction of nothing counts as, and scikit-learn's words for it:

- micro scores: 0 (`zero_division=0`).
- macro scores: labels that cannot have a score are left out of the mean: for precision and F1 those that no image has
  and none was given, for recall and average precision those that no image has (`labels=` those that remain).
- weighted F1: such labels have no weight.
- F1 per image: 1 for an image without labels that was given none, which is right (`zero_division=1`).
- scores of one label: 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnaeus.metrics.classification import ClassCounts, FloatArray, IntArray, divide

Labels = npt.NDArray[np.uint8]


def label_counts(targets: Labels, given: Labels) -> ClassCounts:
    """int64 [K] counts of each label, from uint8 [N, K] of 0 and 1: what images have, and what they were given.

    Raises ValueError if the shapes differ.
    """
    if targets.shape != given.shape or targets.ndim != 2:
        raise ValueError(f"targets {targets.shape} and given {given.shape} must be two equally large tables")
    true_positives = np.logical_and(targets, given).sum(axis=0, dtype=np.int64)
    return ClassCounts(true_positives, targets.sum(axis=0, dtype=np.int64), given.sum(axis=0, dtype=np.int64))


def micro_precision(counts: ClassCounts) -> FloatArray:
    """float64 [...], 0-1: of all labels given, the fraction that is right."""
    return divide(counts.true_positives.sum(axis=-1), counts.predicted.sum(axis=-1))


def micro_recall(counts: ClassCounts) -> FloatArray:
    """float64 [...], 0-1: of all labels that images have, the fraction that was given."""
    return divide(counts.true_positives.sum(axis=-1), counts.support.sum(axis=-1))


def micro_f1(counts: ClassCounts) -> FloatArray:
    """float64 [...], 0-1: F1 of all (image, label) pairs together."""
    return divide(2 * counts.true_positives.sum(axis=-1), (counts.support + counts.predicted).sum(axis=-1))


def weighted_f1(counts: ClassCounts) -> FloatArray:
    """float64 [...], 0-1: F1 of the labels, each with the weight of its images."""
    each = divide(2 * counts.true_positives, counts.support + counts.predicted)
    return divide((each * counts.support).sum(axis=-1), counts.support.sum(axis=-1))


def image_f1(targets: Labels, given: Labels) -> FloatArray:
    """float64 [N], 0-1: F1 of each image's own labels; its mean is scikit-learn's F1 with average="samples"."""
    true_positives = np.logical_and(targets, given).sum(axis=1, dtype=np.int64)
    total = targets.sum(axis=1, dtype=np.int64) + given.sum(axis=1, dtype=np.int64)
    return np.where(total > 0, divide(2 * true_positives, total), 1.0)


def wrong_per_image(targets: Labels, given: Labels) -> IntArray:
    """int64 [N]: false negatives and false positives of each image."""
    wrong: IntArray = (targets != given).sum(axis=1, dtype=np.int64)
    return wrong


def average_precisions(targets: Labels, scores: npt.NDArray[np.floating]) -> FloatArray:
    """float64 [K], 0-1: of each label, the sum over falling thresholds of (rise in recall) * precision there.

    scikit-learn's `average_precision_score`: no interpolation, and images of equal score enter together. 0 for a label
    that no image has.

    Args:
        targets: uint8 [N, K] of 0 and 1.
        scores: [N, K], anything that ranks: logits do as well as probabilities.
    """
    result = np.zeros(targets.shape[1])
    for k in range(targets.shape[1]):
        order, last_equal = ranking(scores[:, k])
        found = np.cumsum(targets[order, k], dtype=np.int64)
        at = last_equal[targets[order, k] > 0]
        if len(at):
            result[k] = (found[at] / (at + 1)).mean()
    return result


def mean_average_precision(targets: Labels, scores: npt.NDArray[np.floating]) -> float:
    """Average precision averaged over the labels that some image has, 0-1; 0 if there are none."""
    present = targets.any(axis=0)
    return float(average_precisions(targets[:, present], scores[:, present]).mean()) if present.any() else 0.0


def ranking(scores: npt.NDArray[np.floating]) -> tuple[IntArray, IntArray]:
    """The order of falling scores [N], and for each place in it the last place with the same score."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(scores) else np.zeros(0, np.int64)
    return order, np.repeat(ends, np.diff(ends, prepend=-1))


def per_label_scores(counts: ClassCounts, *, num_images: int) -> dict[str, FloatArray | IntArray]:
    """Scores of each label by itself, from counts int64 [K].

    Returns float64 [K] in 0-1 under "precision", "recall", "specificity" and "f1", and int64 [K] under "support",
    "false_negatives" (images that have it and were not given it) and "false_positives" (the other way round).
    """
    others = num_images - counts.support
    false_positives = counts.predicted - counts.true_positives
    return {
        "precision": divide(counts.true_positives, counts.predicted),
        "recall": divide(counts.true_positives, counts.support),
        "specificity": divide(others - false_positives, others),
        "f1": divide(2 * counts.true_positives, counts.support + counts.predicted),
        "support": counts.support,
        "false_negatives": counts.support - counts.true_positives,
        "false_positives": false_positives,
    }
