"""Thresholds: from which probability on a label is given, chosen where training did not look and the test does not yet.

One per label, where images have several. Between predictions (of validation, or out of fold) and evaluation and
prediction, which use the same ones. Never chosen on test images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from linnaeus.metrics.classification import divide
from linnaeus.metrics.multilabel import Labels, label_counts, micro_f1, ranking

ThresholdRule = Literal["balanced", "per_label", "global"]

FEWEST_IMAGES = 5
"""A label that fewer images have gets the common threshold: the best one for so few is mostly their accident."""
WITHOUT_LABELS = 0.5
_KEPT_FRACTION = 0.8
"""Of a label's best F1; figures are in docs/log.md."""


@dataclass(frozen=True)
class Thresholds:
    """A label is given where its probability is no less than its threshold.

    Attributes:
        values: float64 [K], 0-1.
        common: the threshold of the labels that have too few images for one of their own.
        own: bool [K], which labels have one of their own; all False by the rule "global".
    """

    values: npt.NDArray[np.float64]
    common: float
    own: npt.NDArray[np.bool_]


def choose_thresholds(targets: Labels, probabilities: npt.NDArray[np.float64], *, rule: ThresholdRule) -> Thresholds:
    """A threshold for each label; labels with fewer than 5 images take the common one.

    The common threshold is that with the largest micro F1 if it were used for all labels; 0.5 if no image has a label.
    By the rule "per_label" each label has that with its own largest F1, which for a label that is hard to tell is so
    low that most images are given it in vain. "balanced" takes, of those that keep four fifths of it, the best for
    micro F1 (`_best_for_all`). "global" takes that one.

    Args:
        targets: uint8 [N, K] of 0 and 1.
        probabilities: float64 [N, K], 0-1.
        rule: see above; figures are in docs/log.md.
    """
    common = best_f1_threshold(targets.reshape(-1), probabilities.reshape(-1))
    own = (targets.sum(axis=0, dtype=np.int64) >= FEWEST_IMAGES) & (rule != "global")
    values = np.full(targets.shape[1], common)
    overall = float(micro_f1(label_counts(targets, (probabilities >= common).astype(np.uint8))))
    for k in np.flatnonzero(own):
        if rule == "per_label":
            values[k] = best_f1_threshold(targets[:, k], probabilities[:, k])
        else:
            values[k] = _best_for_all(targets[:, k], probabilities[:, k], overall)
    return Thresholds(values, common, own)


def _best_for_all(targets: Labels, probabilities: npt.NDArray[np.float64], micro: float) -> float:
    """Of the thresholds that keep _KEPT_FRACTION of the label's best F1, the one with the largest
    TP - predicted * micro / 2.

    Where micro F1 is largest, so is the sum of that over all labels, with `micro` its value (Dinkelbach, "On nonlinear
    fractional programming", Management Science 13 (1967): a fraction's maximum from its parts).
    """
    thresholds, true_positives, predicted = _cuts(targets, probabilities)
    f1 = divide(2 * true_positives, int(targets.sum(dtype=np.int64)) + predicted)
    kept = np.flatnonzero(f1 >= _KEPT_FRACTION * f1.max())
    return float(thresholds[kept[(true_positives - predicted * micro / 2)[kept].argmax()]])


def best_f1_threshold(targets: Labels, probabilities: npt.NDArray[np.float64]) -> float:
    """The threshold with the largest F1 = 2 TP / (P + predicted), half way to the next lower probability.

    Of several equally good ones that nearest to 0.5 is taken. 0.5 if there is nothing to find.

    Args:
        targets: uint8 [N] of 0 and 1.
        probabilities: float64 [N], 0-1.
    """
    num_positive = int(targets.sum(dtype=np.int64))
    if num_positive == 0:
        return WITHOUT_LABELS
    thresholds, true_positives, predicted = _cuts(targets, probabilities)
    f1 = divide(2 * true_positives, num_positive + predicted)
    best = np.flatnonzero(f1 == f1.max())
    return float(thresholds[best[np.abs(thresholds[best] - 0.5).argmin()]])


def _cuts(
    targets: Labels, probabilities: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Every threshold that makes a difference, falling, with the images that it gives the label rightly, and at all."""
    order, last_equal = ranking(probabilities)
    ordered = probabilities[order]
    cuts = np.unique(last_equal)  # the last image that is given the label
    lower = np.append(ordered[cuts[:-1] + 1], 0.0)
    thresholds = (ordered[cuts] + lower) / 2
    thresholds = np.where(thresholds > lower, thresholds, ordered[cuts])  # neighbours among floats have no middle
    return thresholds, np.cumsum(targets[order], dtype=np.int64)[cuts], cuts + 1
