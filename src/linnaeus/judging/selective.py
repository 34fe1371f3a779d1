"""How right a model is on the images it is surest of: accuracy against the share that it answers.

Selective classification (El-Yaniv and Wiener, JMLR 11 (2010), 1605-1641). From a few numbers per image; knows nothing
of models or files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from linnaeus.metrics.classification import FloatArray
from linnaeus.statistics.intervals import wilson_interval

MOST_POINTS = 100
GOALS = (0.9, 0.95, 0.98, 0.99, 0.995)
LEAST_ANSWERED = 20
"""Goals that only fewer images than these reach are luck, and not told."""


def abstention_curve(confidence: FloatArray, right: npt.NDArray[np.bool_], *, level: float) -> dict[str, Any]:
    """Accuracy among the answered images when those below a probability are left to a person, as plain JSON.

    Args:
        confidence: float64 [N], of each answer.
        right: bool [N], or a share of right labels.
        level: of the intervals.

    Returns "points", each with the `threshold` (answers of at least this probability are given), the `answered` share,
    the `accuracy` among them with `low` and `high`; "area", the mean error rate over all shares (area under the
    risk-coverage curve, lower is better); "goals", the largest share answered at which the accuracy is 0.9, 0.95, ...,
    for those goals above the accuracy of all, and where those are LEAST_ANSWERED images.
    """
    num_images = len(confidence)
    order = np.argsort(-confidence, kind="stable")
    ordered, hits = confidence[order], np.cumsum(right[order].astype(np.float64))
    numbers = np.arange(1, num_images + 1)
    accuracy = hits / numbers
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    picked = ends[np.unique(np.linspace(0, len(ends) - 1, MOST_POINTS).round().astype(np.int64))]
    points = []
    for at in picked:
        interval = wilson_interval(float(hits[at]), int(numbers[at]), confidence=level)
        points.append(
            {
                "threshold": float(ordered[at]),
                "answered": float(numbers[at] / num_images),
                "accuracy": float(accuracy[at]),
                "low": interval.low,
                "high": interval.high,
            }
        )
    goals = []
    for goal in GOALS:
        reached = ends[(accuracy[ends] >= goal) & (numbers[ends] >= LEAST_ANSWERED)]
        if accuracy[-1] < goal and len(reached):
            goals.append(
                {
                    "accuracy": goal,
                    "answered": float(numbers[reached[-1]] / num_images),
                    "threshold": float(ordered[reached[-1]]),
                }
            )
    return {"points": points, "area": float(1 - accuracy.mean()), "goals": goals}
