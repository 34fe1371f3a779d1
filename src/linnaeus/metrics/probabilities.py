"""Scores of probabilities: how much a model may be believed when it says how sure it is.

From plain arrays, for one label per image (rows sum to 1) and for several (each entry for itself). What can be a mean
over images is returned image by image, so that whoever resamples images can average again. Knows nothing of models,
files or intervals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnaeus.metrics.classification import FloatArray, IntArray, divide
from linnaeus.metrics.multilabel import Labels

NUM_BINS = 15
"""As in Guo et al., arXiv 1706.04599."""
_LEAST = float(np.finfo(np.float64).eps)
LARGEST_LOG_LOSS = -math.log(_LEAST)
"""36.04, of one sure mistake."""


def log_losses(probabilities: FloatArray, targets: IntArray | Labels) -> FloatArray:
    """float64 [N]: minus the log of the true class's probability; its mean is scikit-learn's `log_loss`.

    Where images have several labels (targets uint8 [N, K]), the binary log loss averaged over the labels. Probabilities
    are kept 2.2e-16 away from 0 and 1, so that one sure mistake costs 36 and not infinity.
    """
    if targets.ndim == 1:
        own = np.take_along_axis(probabilities, targets[:, None].astype(np.int64), axis=1)[:, 0]
        return np.asarray(-np.log(np.clip(own, _LEAST, 1 - _LEAST)), np.float64)
    clipped = np.clip(probabilities, _LEAST, 1 - _LEAST)
    return np.asarray(-np.log(np.where(targets > 0, clipped, 1 - clipped)).mean(axis=1), np.float64)


def brier_scores(probabilities: FloatArray, targets: IntArray | Labels) -> FloatArray:
    """float64 [N]: squared distance of the probabilities from what is true.

    For one label per image summed over the classes, 0-2 (Brier, Monthly Weather Review 78 (1950), eq. 2); for several
    labels averaged over them, 0-1.
    """
    if targets.ndim == 2:
        return np.asarray(((probabilities - targets) ** 2).mean(axis=1), np.float64)
    own = np.take_along_axis(probabilities, targets[:, None].astype(np.int64), axis=1)[:, 0]
    # sum_k (p_k - y_k)^2 = sum_k p_k^2 - 2 p_true + 1, without a table of y
    return np.asarray(np.einsum("nk,nk->n", probabilities, probabilities) - 2 * own + 1, np.float64)


def true_ranks(probabilities: FloatArray, targets: IntArray) -> IntArray:
    """int64 [N]: place of the true class among the classes by falling probability, 1 for the first.

    Of equal probabilities the class that comes first goes before, as in `argmax`.
    """
    own = np.take_along_axis(probabilities, targets[:, None].astype(np.int64), axis=1)
    before = np.arange(probabilities.shape[1]) < targets[:, None]
    return np.asarray(1 + (probabilities > own).sum(axis=1) + ((probabilities == own) & before).sum(axis=1), np.int64)


@dataclass(frozen=True)
class Reliability:
    """Answers sorted into bins of equal width by their probability: the reliability diagram.

    Attributes:
        edges: float64 [B + 1], 0 to 1; bin b holds edges[b] < p <= edges[b + 1], the first also 0.
        counts: int64 [..., B].
        confidence: float64 [..., B], sum of the probabilities in the bin.
        correct: float64 [..., B], number of the answers in the bin that are right.
    """

    edges: FloatArray
    counts: IntArray
    confidence: FloatArray
    correct: FloatArray

    @property
    def error(self) -> FloatArray:
        """float64 [...]: expected calibration error, 0-1 (arXiv 1706.04599, eq. 3)."""
        return divide(np.abs(self.correct - self.confidence).sum(axis=-1), self.counts.sum(axis=-1))


def reliability(
    probabilities: FloatArray, correct: npt.NDArray[np.bool_] | Labels, *, num_bins: int = NUM_BINS
) -> Reliability:
    """Bins of probabilities float64 [M] of answers, and of which of them are right.

    For one label per image the answers are the most probable classes; for several they are all (image, label) pairs,
    and "correct" means that the image has the label.
    """
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    places = bin_places(probabilities, edges)
    counts = np.bincount(places, minlength=num_bins).astype(np.int64)
    confidence, number_correct = (
        np.asarray(np.bincount(places, weights, num_bins), np.float64)
        for weights in (probabilities, correct.astype(np.float64))
    )
    return Reliability(edges, counts, confidence, number_correct)


def bin_places(probabilities: FloatArray, edges: FloatArray) -> IntArray:
    """int64 [M]: the bin of each probability; an edge belongs to the bin below it, as in scikit-learn."""
    return np.searchsorted(edges[1:-1], probabilities, side="left").astype(np.int64)
