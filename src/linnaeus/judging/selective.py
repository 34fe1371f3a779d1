"""How right a model is on the images it is most confident of: accuracy against the fraction that it answers.

Selective prediction (El-Yaniv and Wiener, JMLR 11 (2010), 1605-1641). From a few numbers per image; knows nothing of
models or files.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnaeus.judging.evaluation import SelectiveGoal, SelectivePoint, SelectivePrediction
from linnaeus.metrics.classification import FloatArray, IntArray
from linnaeus.statistics.groups import Grouping, grouping
from linnaeus.statistics.intervals import Interval, clustered_interval, wilson_interval

MOST_POINTS = 100
GOALS = (0.9, 0.95, 0.98, 0.99, 0.995)
LEAST_ANSWERED = 20
"""Goals that only fewer images than these reach are luck, and not told."""


def accuracy_coverage_curve(
    confidences: FloatArray, correct: npt.NDArray[np.bool_], *, groups: IntArray | None, confidence: float
) -> SelectivePrediction:
    """Accuracy among the answered images when those below a confidence are left to a person.

    Args:
        confidences: float64 [N], the probability of each answer, at least one.
        correct: bool [N].
        groups: int64 [N], images that belong together; None where each is its own.
        confidence: level of the intervals.

    Goals are those accuracies of GOALS above the accuracy of all that LEAST_ANSWERED images or more reach.
    """
    num_images = len(confidences)
    order = np.argsort(-confidences, kind="stable")
    ordered, num_right = confidences[order], np.cumsum(correct[order], dtype=np.int64)
    numbers = np.arange(1, num_images + 1)
    accuracy = num_right / numbers
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    picked = ends[np.unique(np.linspace(0, len(ends) - 1, MOST_POINTS).round().astype(np.int64))]
    intervals = _intervals(correct[order], picked, _reordered(groups, order), confidence=confidence)
    points = [
        SelectivePoint(
            threshold=float(ordered[at]),
            coverage=float(numbers[at] / num_images),
            accuracy=float(accuracy[at]),
            low=interval.low,
            high=interval.high,
        )
        for at, interval in zip(picked, intervals, strict=True)
    ]
    goals = []
    for goal in GOALS:
        reached = ends[(accuracy[ends] >= goal) & (numbers[ends] >= LEAST_ANSWERED)]
        if accuracy[-1] < goal and len(reached):
            last = reached[-1]
            goals.append(
                SelectiveGoal(accuracy=goal, coverage=float(numbers[last] / num_images), threshold=float(ordered[last]))
            )
    return SelectivePrediction(points=points, aurc=float(1 - accuracy.mean()), goals=goals)


def _reordered(groups: IntArray | None, order: IntArray) -> Grouping | None:
    return grouping(None if groups is None else groups[order], len(order))


def _intervals(
    correct: npt.NDArray[np.bool_], picked: IntArray, together: Grouping | None, *, confidence: float
) -> list[Interval]:
    """`proportion_interval` of the first `at + 1` images for each `at` of `picked`, which rises; each image is counted
    once.
    """
    if together is None:
        num_right = np.cumsum(correct, dtype=np.int64)
        return [wilson_interval(int(num_right[at]), int(at) + 1, confidence=confidence) for at in picked]
    intervals, start = [], 0
    sums, sizes = np.zeros(len(together.sizes)), np.zeros(len(together.sizes), np.int64)
    for at in picked:
        part = slice(start, int(at) + 1)
        sums += np.bincount(together.places[part], correct[part], len(sums))
        sizes += np.bincount(together.places[part], minlength=len(sizes))
        there = sizes > 0
        intervals.append(clustered_interval(sums[there], sizes[there], confidence=confidence))
        start = part.stop
    return intervals
