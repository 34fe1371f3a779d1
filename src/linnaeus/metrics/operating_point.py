"""The operating point: how probabilities become one answer, where that shall not simply be the most probable class.

A plain rule over arrays, the same in evaluation and in prediction. Where images have several labels, thresholds
do this work instead. Knows nothing of how the point was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnaeus.metrics.classification import FloatArray, IntArray


@dataclass(frozen=True)
class OperatingPoint:
    """One of two rules.

    Attributes:
        weights: K factors > 0; the answer is the class with the largest probability times factor.
        costs: K x K, row the true class, column the answer; the answer is the one with the lowest expected cost.
    """

    weights: tuple[float, ...] | None = None
    costs: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        if (self.weights is None) == (self.costs is None):
            raise ValueError("an operating point has weights or costs")
        if self.weights is not None and not all(0 < weight < float("inf") for weight in self.weights):
            raise ValueError("weights of classes must be positive")
        if self.costs is not None and any(len(row) != len(self.costs) for row in self.costs):
            raise ValueError("costs must be a square table")

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.weights or self.costs or ())

    def reordered(self, order: Sequence[int]) -> OperatingPoint:
        """The same rule where class k is what was class order[k]."""
        if self.weights is not None:
            return OperatingPoint(weights=tuple(self.weights[k] for k in order))
        costs = self.costs or ()
        return OperatingPoint(costs=tuple(tuple(costs[k][j] for j in order) for k in order))


def decide(probabilities: FloatArray, point: OperatingPoint | None) -> IntArray:
    """int64 [N]: the answer for each row of probabilities float64 [N, K]; without a point the most probable class.

    Expected costs: Elkan, "The foundations of cost-sensitive learning", IJCAI 2001, eq. 1.
    """
    if point is None:
        return np.asarray(probabilities.argmax(axis=1), np.int64)
    if point.weights is not None:
        return np.asarray((probabilities * np.array(point.weights)).argmax(axis=1), np.int64)
    return np.asarray((probabilities @ np.array(point.costs)).argmin(axis=1), np.int64)


def ranked_answers(probabilities: FloatArray, point: OperatingPoint | None) -> IntArray:
    """int64 [N, K]: the answer of each row first, then the other classes by falling probability."""
    order = np.argsort(-probabilities, axis=1, kind="stable").astype(np.int64)
    if point is None:
        return order
    answers = decide(probabilities, point)
    order[order == answers[:, None]] = -1
    rest = np.argsort(order != -1, axis=1, kind="stable")
    ranked = np.take_along_axis(order, rest, axis=1)
    ranked[:, 0] = answers
    return np.asarray(ranked, np.int64)
