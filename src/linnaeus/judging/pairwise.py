"""Several models on the same test images: scores side by side, and which differences are significant.

Every pair is tested (`comparison.compare_predictions`), and the tests are corrected for their number, so that trying
many models does not find a better one by luck. Knows nothing of runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from linnaeus.errors import ClassesError, DataError
from linnaeus.judging.comparison import Comparison, compare_predictions
from linnaeus.judging.evaluation import Score
from linnaeus.metrics.classification import IntArray
from linnaeus.predictions import Predictions
from linnaeus.statistics.slices import holm


@dataclass(frozen=True)
class Candidate:
    """One model.

    Attributes:
        name: of its run.
        predictions: of the test images.
        thresholds: of several labels, in the order of its own classes; None for one label.
        facts: of the model, such as {"seconds": 12.3, "num_parameters": 1000, "num_bytes": 4000}.
        scores: by name, as in evaluation.json.
    """

    name: str
    predictions: Predictions
    thresholds: tuple[float, ...] | None
    facts: Mapping[str, float | None]
    scores: Mapping[str, Score]


@dataclass(frozen=True)
class Pairing:
    """Two candidates by name, the first the one with the better score, with the p value corrected for all pairs."""

    better: str
    worse: str
    comparison: Comparison
    p_value: float
    significant: bool

    def describe(self) -> str:
        """One sentence."""
        points = 100 * self.comparison.difference.value
        low, high = (100 * end for end in self.comparison.difference.interval)
        evidence = f"{points:+.1f} points, {low:+.1f} to {high:+.1f}; corrected p = {self.p_value:.2g}"
        if self.significant:
            return f"{self.better} is significantly better than {self.worse} ({evidence})."
        return f"{self.better} and {self.worse} are not significantly different ({evidence})."


def compare_all(
    candidates: Sequence[Candidate], *, groups: IntArray | None, confidence: float, num_samples: int, seed: int
) -> list[Pairing]:
    """Every pair of candidates, those with the best scores first.

    Args:
        groups: int64 [N], images that belong together, in the order of the first candidate's predictions.
        confidence, num_samples, seed: as of `compare_predictions`.

    Raises DataError or ClassesError, naming both, if two are not of the same test images or classes.
    """
    found: list[tuple[str, str, Comparison]] = []
    settings: dict[str, Any] = {"confidence": confidence, "num_samples": num_samples, "seed": seed}
    for one, other in itertools.combinations(candidates, 2):
        try:
            comparison = _compare(one, other, groups=_groups_of(one, candidates[0], groups), **settings)
            if comparison.difference.value < 0:
                one, other = other, one
                comparison = _compare(one, other, groups=_groups_of(one, candidates[0], groups), **settings)
        except (DataError, ClassesError) as error:
            raise type(error)(f"{one.name} and {other.name} cannot be compared. {error}") from error
        found.append((other.name, one.name, comparison))
    corrected = holm([comparison.test.p_value for _, _, comparison in found])
    pairings = [
        Pairing(better, worse, comparison, p_value, significant=p_value < 1 - confidence)
        for (better, worse, comparison), p_value in zip(found, corrected, strict=True)
    ]
    return sorted(pairings, key=lambda pairing: (-pairing.comparison.second, -pairing.comparison.first))


def _groups_of(one: Candidate, first: Candidate, groups: IntArray | None) -> IntArray | None:
    """`groups`, which are in the order of the first candidate's images, in the order of those of another."""
    if groups is None or one is first:
        return groups
    places = pc.index_in(one.predictions.ids, value_set=first.predictions.ids)
    return None if places.null_count else groups[places.to_numpy(zero_copy_only=False).astype(np.int64)]


def _compare(
    one: Candidate, other: Candidate, *, groups: IntArray | None, confidence: float, num_samples: int, seed: int
) -> Comparison:
    thresholds = [0.5 if each.thresholds is None else np.array(each.thresholds) for each in (one, other)]
    return compare_predictions(
        one.predictions,
        other.predictions,
        groups=groups,
        confidence=confidence,
        num_samples=num_samples,
        seed=seed,
        thresholds=(thresholds[0], thresholds[1]),
    )
