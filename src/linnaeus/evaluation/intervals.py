"""How sure a score is: intervals for scores measured on a finite test set.

Accuracy is a share of independent images and has a closed form (Wilson). Macro scores have none: the test set is
resampled instead, within each class, because its class sizes were chosen when the data was split and are no accident.
An interval speaks of new images drawn like the test images; it says nothing of retraining, or of images of
another kind. Knows nothing of models or files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from linnaeus.metrics.classification import ClassCounts, FloatArray, IntArray, class_counts

Statistic = Callable[[ClassCounts], FloatArray]
"""Scores float64 [R] from the counts int64 [R, K] of R test sets."""

_CELLS_AT_ONCE = 4_000_000  # of [resamples, classes]: 32 MB per array


class Interval(NamedTuple):
    """Both ends, 0-1, `low <= high`."""

    low: float
    high: float


def wilson_interval(successes: float, num_trials: float, *, confidence: float) -> Interval:
    """The score interval of a share, which stays sensible near 0 and 1 and for few trials.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209-212:
    the shares p with |successes/n - p| <= z sqrt(p (1 - p) / n), solved for p.

    Args:
        successes: 0 to `num_trials`.
        num_trials: n > 0; need not be whole (an effective number).
        confidence: level between 0 and 1, such as 0.95.

    Raises ValueError if the numbers cannot be.
    """
    if not (num_trials > 0 and 0 <= successes <= num_trials):
        raise ValueError(f"{successes} successes in {num_trials} trials")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = successes / num_trials, z * z / num_trials
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / num_trials + spread / (4 * num_trials))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == num_trials else min(1.0, centre + half)
    return Interval(low, high)


def bootstrap_intervals(
    confusion: IntArray, statistics: Mapping[str, Statistic], *, confidence: float, num_samples: int, seed: int
) -> dict[str, Interval]:
    """Percentile bootstrap intervals of several statistics, from the same stratified resamples.

    Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13. Drawing the images of a class with
    replacement is drawing its row of the confusion matrix from a multinomial, so images are never touched. The ends
    are the (1 - confidence) / 2 quantiles from below and above, moved outwards where needed to hold the measured value.

    Without a single error no resample can differ from the test set, and its interval would have no width. Wilson's
    interval of n right out of n stands in, where n = K^2 / sum(1 / n_k) is the number of independent images whose
    share has the variance of a mean recall over classes of n_k images each.

    Args:
        confusion: int64 [K, K], rows are true classes; at least one image.
        statistics: named functions of counts, such as `metrics.classification.mean_f1`.
        confidence: level between 0 and 1.
        num_samples: resampled test sets.
        seed: the resamples follow from it.

    Raises ValueError if the matrix holds no image.
    """
    measured = class_counts(confusion)
    if not measured.support.any():
        raise ValueError("no images to resample")
    if (measured.hits == measured.support).all():
        sizes = measured.support[measured.support > 0]
        effective = len(sizes) ** 2 / (1 / sizes).sum()
        return dict.fromkeys(statistics, wilson_interval(effective, effective, confidence=confidence))
    scores: dict[str, list[FloatArray]] = {name: [] for name in statistics}
    for counts in resample_counts(confusion, num_samples=num_samples, seed=seed):
        for name, statistic in statistics.items():
            scores[name].append(statistic(counts))
    tail = (1 - confidence) / 2
    intervals = {}
    for name, statistic in statistics.items():
        low, high = np.quantile(np.concatenate(scores[name]), [tail, 1 - tail])
        value = float(statistic(measured))
        intervals[name] = Interval(min(float(low), value), max(float(high), value))
    return intervals


def resample_counts(confusion: IntArray, *, num_samples: int, seed: int) -> Iterator[ClassCounts]:
    """Counts int64 [r, K] of resampled test sets, in chunks whose r add up to `num_samples`.

    Every resample keeps the size of each class. Only cells that hold an image are drawn, and the K x K matrices
    themselves are never built: memory is that of [r, K], and time grows with the cells in use.
    """
    num_classes = len(confusion)
    generator = np.random.default_rng(seed)
    support = confusion.sum(axis=1)
    chunk = max(1, _CELLS_AT_ONCE // num_classes)
    for start in range(0, num_samples, chunk):
        size = min(chunk, num_samples - start)
        hits = np.zeros((size, num_classes), np.int64)
        claims = np.zeros((size, num_classes), np.int64)
        for k in np.flatnonzero(support):
            cells = np.flatnonzero(confusion[k])
            drawn = generator.multinomial(support[k], confusion[k, cells] / support[k], size=size)
            claims[:, cells] += drawn
            if confusion[k, k]:
                hits[:, k] = drawn[:, np.searchsorted(cells, k)]
        yield ClassCounts(hits=hits, support=np.broadcast_to(support, hits.shape), claims=claims)
