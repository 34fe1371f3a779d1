"""Prediction sets of a settled rule: plain functions of probabilities, the same in evaluation and in prediction.

RAPS, regularised adaptive prediction sets (Angelopoulos et al., arXiv 2009.14193), for one label per image; for several
all labels above one threshold (Angelopoulos et al., arXiv 2208.02814). Knows nothing of how the rule was calibrated.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnaeus.metrics.classification import FloatArray, IntArray


@dataclass(frozen=True)
class SetRule:
    """Which classes stand in an image's set: those whose score is no more than the threshold.

    Attributes:
        coverage: how often the true class shall be in the set, 0-1.
        threshold: tau of the paper; None puts every class in every set, where too few images were there to calibrate.
        penalty: lambda of the paper, added for each class beyond the free ones.
        num_free: k_reg of the paper.
    """

    coverage: float
    threshold: float | None
    penalty: float
    num_free: int


@dataclass(frozen=True)
class LabelSetRule:
    """Where images have several labels, those in an image's set: all that are probable enough.

    Attributes:
        coverage: the fraction of an image's labels that shall be in its set, on average over images that have any, 0-1.
        least: the probability from which on a label is in the set, 1 - lambda of the paper; 0 puts every label in every
            set, where too few images were there to calibrate.
    """

    coverage: float
    least: float


def set_scores(probabilities: FloatArray, *, penalty: float, num_free: int) -> FloatArray:
    """float64 [N, K]: E of eq. 2 and algorithm 3, what is before a class, a random part of its own, and penalty.

    The random part follows from the probabilities themselves, so that the same image always gets the same set.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ordered = np.take_along_axis(probabilities, order, axis=1)
    before = np.cumsum(ordered, axis=1) - ordered
    ranks = np.arange(1, probabilities.shape[1] + 1)
    scores = before + _coin(probabilities)[:, None] * ordered + penalty * np.maximum(0, ranks - num_free)
    result = np.empty_like(scores)
    np.put_along_axis(result, order, scores, axis=1)
    return np.asarray(result, np.float64)


def true_set_scores(probabilities: FloatArray, targets: IntArray, *, penalty: float, num_free: int) -> FloatArray:
    """float64 [N]: `set_scores` of the true classes."""
    scores = set_scores(probabilities, penalty=penalty, num_free=num_free)
    return np.asarray(np.take_along_axis(scores, targets[:, None], axis=1)[:, 0], np.float64)


def prediction_sets(
    probabilities: FloatArray, rule: SetRule | LabelSetRule, *, allow_empty: bool = False
) -> npt.NDArray[np.bool_]:
    """bool [N, K]: the classes in each image's set.

    Of one label per image the most probable is always in it, unless sets may be empty: never leaving a set empty can
    only make the true class more often one of them. Of several labels a set may be empty.
    """
    if isinstance(rule, LabelSetRule):
        return np.asarray(probabilities >= rule.least, np.bool_)
    if rule.threshold is None:
        return np.ones(probabilities.shape, np.bool_)
    sets = set_scores(probabilities, penalty=rule.penalty, num_free=rule.num_free) <= rule.threshold
    if not allow_empty:
        sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
    return np.asarray(sets, np.bool_)


def conformal_quantile(scores: FloatArray, fraction: float) -> float | None:
    """The ceil((n + 1) fraction)-th smallest score, which a further one exceeds with probability 1 - fraction at most.

    None where there are too few scores for that (arXiv 2009.14193, algorithm 2).
    """
    place = math.ceil((len(scores) + 1) * fraction - 1e-9)
    return None if place > len(scores) else float(np.partition(scores, place - 1)[place - 1])


def _coin(probabilities: FloatArray) -> FloatArray:
    """float64 [N], uniform in 0-1 for all practical purposes: a checksum of each row as float32."""
    rows = np.ascontiguousarray(probabilities, np.float32)
    return np.array([zlib.crc32(row.tobytes()) for row in rows], np.float64).reshape(-1) / 2**32
