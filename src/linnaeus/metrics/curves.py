"""ROC and precision-recall curves of one class against the rest, their areas, and the few points worth drawing.

From plain arrays. Areas are exact; only the points that are kept for drawing are thinned. Knows nothing of intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnaeus.metrics.classification import FloatArray, IntArray, divide


@dataclass(frozen=True)
class RankedCounts:
    """What every curve of a class is made of, at each distinct score from high to low.

    Attributes:
        thresholds: float64 [T], falling.
        hits: int64 [T], images of the class with at least this score.
        false_alarms: int64 [T], other images with at least this score.
    """

    thresholds: FloatArray
    hits: IntArray
    false_alarms: IntArray

    @property
    def num_positive(self) -> int:
        """Images of the class."""
        return int(self.hits[-1]) if len(self.hits) else 0

    @property
    def num_negative(self) -> int:
        """All other images."""
        return int(self.false_alarms[-1]) if len(self.hits) else 0


def ranked_counts(positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> RankedCounts:
    """Counts at each distinct score, from bool [N] (of the class or not) and scores [N]."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(scores) else np.zeros(0, np.int64)
    hits = np.cumsum(positive[order], dtype=np.int64)[ends]
    return RankedCounts(ordered[ends].astype(np.float64), hits, ends + 1 - hits)


def roc_area(counts: RankedCounts) -> float | None:
    """Area under the ROC curve, 0-1, images of equal score counting half; None without images of both kinds.

    The chance that an image of the class has a higher score than another (Hanley and McNeil, Radiology 143 (1982),
    29-36); scikit-learn's `roc_auc_score`.
    """
    if not counts.num_positive or not counts.num_negative:
        return None
    found = np.diff(counts.hits, prepend=0)
    # Positives of each step beat all negatives below it, and half of those in it. Whole numbers up to 2^53 are exact.
    in_step = np.diff(counts.false_alarms, prepend=0)
    below = counts.num_negative - counts.false_alarms
    won = (found * (2 * below + in_step)).astype(np.float64).sum() / 2
    return float(won / (float(counts.num_positive) * counts.num_negative))


def average_precision(counts: RankedCounts) -> float | None:
    """Sum over falling thresholds of (rise in recall) x precision, 0-1; None if no image is of the class.

    scikit-learn's `average_precision_score`: no interpolation, images of equal score enter together.
    """
    if not counts.num_positive:
        return None
    precision = divide(counts.hits, counts.hits + counts.false_alarms)
    return float((np.diff(counts.hits, prepend=0) * precision).sum() / counts.num_positive)


def roc_points(counts: RankedCounts, *, at_most: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(false alarm rate, recall, threshold), each float64 [P], P <= at_most, from (0, 0) to (1, 1).

    The threshold of the first point is infinite: nothing is found. Points are kept at equal steps along the curve.
    """
    share = divide(np.append(0, counts.false_alarms), counts.num_negative)
    recall = divide(np.append(0, counts.hits), counts.num_positive)
    kept = _along(share, recall, at_most=at_most)
    return share[kept], recall[kept], np.append(np.inf, counts.thresholds)[kept]


def precision_recall_points(counts: RankedCounts, *, at_most: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(recall, precision, threshold), each float64 [P], P <= at_most, recall rising, threshold falling."""
    precision = divide(counts.hits, counts.hits + counts.false_alarms)
    recall = divide(counts.hits, counts.num_positive)
    kept = _along(recall, precision, at_most=at_most)
    return recall[kept], precision[kept], counts.thresholds[kept]


def _along(x: FloatArray, y: FloatArray, *, at_most: int) -> IntArray:
    """Positions of points at about equal steps of |dx| + |dy| along a curve, its first and last among them."""
    if len(x) <= at_most:
        return np.arange(len(x))
    way = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    wanted = np.linspace(0.0, way[-1], at_most)
    kept = np.unique(np.searchsorted(way, wanted, side="left").clip(0, len(x) - 1))
    kept[-1] = len(x) - 1
    return kept
