"""Slices of evaluation.json: where a model fares worse than on the rest, the worst first.

The tests are those of `statistics.slices`. Takes plain columns; knows nothing of where they come from.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from linnaeus.judging.evaluation import Score, Slice, Slices
from linnaeus.metrics.classification import FloatArray, IntArray
from linnaeus.statistics.slices import MINIMUM_SUPPORT, SliceTest, compare_slices

MOST_SHOWN = 30


def find_slices(
    scores: FloatArray, columns: Mapping[str, np.ndarray], *, groups: IntArray | None, confidence: float
) -> Slices:
    """Compare every slice with the rest; up to 30 are told, those that are worse first and then by score.

    Args:
        scores: float64 [N], 0-1, such as whether the answer is right.
        columns: name -> N values; missing ones (NaN, None, "") are in no slice.
        groups: int64 [N], images that belong together; None where each is its own.
        confidence: level of the intervals; a slice is worse where the corrected p is below 1 less it.
    """
    tests = compare_slices(scores, columns, groups=groups, confidence=confidence)
    slices = [_described(test, worse=test.p_value < 1 - confidence) for test in tests]
    slices.sort(key=lambda each: (not each.worse, each.score.value))
    return Slices(
        num_tested=len(slices),
        minimum_support=MINIMUM_SUPPORT,
        overall=float(scores.mean()) if len(scores) else 0.0,
        slices=slices[:MOST_SHOWN],
    )


def _described(test: SliceTest, *, worse: bool) -> Slice:
    return Slice(
        column=test.column,
        value=test.value,
        same_images=test.same_images,
        num_images=test.num_images,
        num_groups=test.num_groups,
        score=Score.of(test.score, test.interval),
        rest=test.rest,
        p_value=test.p_value,
        worse=worse,
    )
