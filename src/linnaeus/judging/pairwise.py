"""Several models on the same test images: scores side by side, and which differences are more than noise.

Every pair is tested (McNemar's exact test, or a paired bootstrap where images have several labels), and the tests are
corrected for their number, so that trying many models does not find a better one by luck. Knows nothing of runs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from linnaeus.errors import ClassesError, DataError
from linnaeus.judging.comparison import Comparison, compare_predictions
from linnaeus.predictions import Predictions
from linnaeus.statistics.slices import holm


@dataclass(frozen=True)
class Contender:
    """One model.

    Attributes:
        name: of its run.
        predictions: of the test images.
        thresholds: of several labels, in the order of its own classes; None for one label.
        facts: of the model, such as {"seconds": 12.3, "num_parameters": 1000, "num_bytes": 4000}.
        scores: {"value", "low", "high"} by name, as in evaluation.json.
    """

    name: str
    predictions: Predictions
    thresholds: tuple[float, ...] | None
    facts: Mapping[str, float | None]
    scores: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Pairing:
    """Two contenders by name, the first the one with the better score, with the p value corrected for all pairs."""

    better: str
    worse: str
    comparison: Comparison
    p_value: float
    real: bool

    def describe(self) -> str:
        """One sentence."""
        points = 100 * self.comparison.difference.value
        low, high = (100 * end for end in self.comparison.difference.interval)
        evidence = f"{points:+.1f} points, {low:+.1f} to {high:+.1f}; corrected p = {self.p_value:.2g}"
        if self.real:
            return f"{self.better} is really better than {self.worse} ({evidence})."
        return f"{self.better} and {self.worse}: the difference is within what chance would do ({evidence})."


def compare_all(contenders: Sequence[Contender], *, confidence: float, num_samples: int, seed: int) -> list[Pairing]:
    """Every pair of contenders, those with the best scores first.

    Raises DataError or ClassesError, naming both, if two are not of the same test images or classes.
    """
    found: list[tuple[str, str, Comparison]] = []
    for one, other in itertools.combinations(contenders, 2):
        try:
            comparison = _compare(one, other, confidence=confidence, num_samples=num_samples, seed=seed)
        except (DataError, ClassesError) as error:
            raise type(error)(f"{one.name} and {other.name} cannot be compared. {error}") from error
        if comparison.difference.value < 0:
            one, other = other, one
            comparison = _compare(one, other, confidence=confidence, num_samples=num_samples, seed=seed)
        found.append((other.name, one.name, comparison))
    corrected = holm([p_value_of(comparison) for _, _, comparison in found])
    pairings = [
        Pairing(better, worse, comparison, p_value, real=p_value < 1 - confidence)
        for (better, worse, comparison), p_value in zip(found, corrected, strict=True)
    ]
    return sorted(pairings, key=lambda pairing: (-pairing.comparison.second, -pairing.comparison.first))


def p_value_of(comparison: Comparison) -> float:
    """Of McNemar's test; for several labels that of the normal interval of the paired bootstrap."""
    if comparison.mcnemar is not None:
        return comparison.mcnemar.p_value
    low, high = comparison.difference.interval
    half = max(high - comparison.difference.value, comparison.difference.value - low)
    if half <= 0:
        return 1.0
    deviation = half / NormalDist().inv_cdf((1 + comparison.confidence) / 2)
    return math.erfc(abs(comparison.difference.value) / deviation / math.sqrt(2))  # 1 less a cdf would be 0 too soon


def _compare(one: Contender, other: Contender, *, confidence: float, num_samples: int, seed: int) -> Comparison:
    thresholds = [0.5 if each.thresholds is None else np.array(each.thresholds) for each in (one, other)]
    return compare_predictions(
        one.predictions,
        other.predictions,
        confidence=confidence,
        num_samples=num_samples,
        seed=seed,
        thresholds=(thresholds[0], thresholds[1]),
    )
