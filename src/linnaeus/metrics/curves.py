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
        true_positives: int64 [T], images of the class with at least this score.
        false_positives: int64 [T], other images with at least this score.
    """

    thresholds: FloatArray
    true_positives: IntArray
    false_positives: IntArray

    @property
    def num_positive(self) -> int:
        """Images of the class."""
        return int(self.true_positives[-1]) if len(self.true_positives) else 0

    @property
    def num_negative(self) -> int:
        """All other images."""
        return int(self.false_positives[-1]) if len(self.true_positives) else 0


def ranked_counts(positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> RankedCounts:
    """Counts at each distinct score, from bool [N] (of the class or not) and scores [N]."""
    ordered = np.sort(scores)[::-1]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(scores) else np.zeros(0, np.int64)
    own = np.sort(scores[positive])
    true_positives = len(own) - np.searchsorted(own, ordered[ends], side="left")
    return RankedCounts(ordered[ends].astype(np.float64), true_positives, ends + 1 - true_positives)


def ranking_areas(
    positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]
) -> tuple[float | None, float | None]:
    """Area under the ROC curve and average precision, each 0-1, from bool [N] (of the class or not) and scores [N].

    The first is the chance that an image of the class has a higher score than another, images of equal score counting
    half (Hanley and McNeil, Radiology 143 (1982), 29-36): scikit-learn's `roc_auc_score`, None without images of both
    kinds. The second is the sum over falling thresholds of (rise in recall) x precision, without interpolation, images
    of equal score entering together: scikit-learn's `average_precision_score`, None if no image is of the class.

    Only scores are sorted, not rows: for a million images of a thousand classes that takes a third of the time.
    """
    own, everything = np.sort(scores[positive]), np.sort(scores)
    if not len(own):
        return None, None
    below, up_to = (np.searchsorted(everything, own, side) for side in ("left", "right"))
    own_below, own_up_to = (np.searchsorted(own, own, side) for side in ("left", "right"))
    average_precision = float(((len(own) - own_below) / (len(everything) - below)).mean())
    others = len(everything) - len(own)
    if not others:
        return None, average_precision
    # Each beats the others below it and half of those beside it. Whole numbers up to 2^53 are exact.
    won = ((below - own_below) + (up_to - own_up_to)).astype(np.float64).sum() / 2
    return float(won / (float(len(own)) * others)), average_precision


def roc_points(counts: RankedCounts, *, at_most: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(false positive rate, recall, threshold), each float64 [P], P <= at_most, from (0, 0) to (1, 1).

    The threshold of the first point is infinite: nothing is found. Points are kept at equal steps along the curve.
    """
    fraction = divide(np.append(0, counts.false_positives), counts.num_negative)
    recall = divide(np.append(0, counts.true_positives), counts.num_positive)
    kept = _along(fraction, recall, at_most=at_most)
    return fraction[kept], recall[kept], np.append(np.inf, counts.thresholds)[kept]


def precision_recall_points(counts: RankedCounts, *, at_most: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(recall, precision, threshold), each float64 [P], P <= at_most, recall rising, threshold falling."""
    precision = divide(counts.true_positives, counts.true_positives + counts.false_positives)
    recall = divide(counts.true_positives, counts.num_positive)
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
