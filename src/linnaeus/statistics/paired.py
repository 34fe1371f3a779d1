"""Two models on the same images: whether one is significantly better, and by how much.

Two accuracies with their own intervals hide what counts: both models see the same images and mostly err on the same
ones. What tells them apart are the images on which they differ. Images of one group succeed and fail together, so it
is whole groups that are permuted and resampled. Arrays in, numbers out; knows nothing of predictions or models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from linnaeus.metrics.classification import FloatArray, IntArray
from linnaeus.statistics.groups import effective_number, group_sums, grouping, two_sided_quantile
from linnaeus.statistics.intervals import Interval
from linnaeus.statistics.resample import affordable_samples, resampled_weights

SumsToScore = Callable[[FloatArray], FloatArray]
"""Scores float64 [R] from sums over images float64 [R, C]."""

NUM_PERMUTATIONS = 9_999
"""So that p values go down to 1 in 10,000, and the correction for 45 pairs of ten models leaves room below 0.05."""
_MOST_EXACT = 13  # groups that differ: 8,192 ways of swapping them, fewer than would be drawn
_CELLS_AT_ONCE = 4_000_000  # of [permutations, groups]: 32 MB per array
_ROUNDING = 1e-9  # two differences that are equal on paper may differ by this


@dataclass(frozen=True)
class PairedTest:
    """The test of whether two models are equally good.

    Attributes:
        name: "mcnemar", the exact test, or "permutation".
        p_value: chance, 0-1, of a difference at least as large if it were a fair coin which model gave which answers.
        only_first, only_second: images that one model alone gets right; None where answers are not right or wrong.
    """

    name: Literal["mcnemar", "permutation"]
    p_value: float
    only_first: int | None = None
    only_second: int | None = None


@dataclass(frozen=True)
class Difference:
    """Score of the second less score of the first, with its interval.

    Attributes:
        value: measured, -1 to 1.
        interval: both ends.
    """

    value: float
    interval: Interval


def compare_correct(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], *, groups: IntArray | None, seed: int
) -> PairedTest:
    """The two-sided test of whether two models are right equally often.

    Without groups that of McNemar, Psychometrika 12 (1947), 153-157, in its exact form: each image on which one model
    alone is right is a fair coin. With groups `permutation_test`, of which it is the case of groups of one image.

    Args:
        first, second: bool [N], whether each is right on the same images in the same order.
        groups: int64 [N], images that belong together.
        seed: of the permutations.

    Raises ValueError if the lengths differ.
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"{first.shape} and {second.shape} must be two equally long columns")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if grouping(groups, len(first)) is None:
        total = only_first + only_second
        p_value = float(binomtest(only_first, total).pvalue) if total else 1.0
        return PairedTest("mcnemar", p_value, only_first, only_second)
    columns = [right.astype(np.float64)[:, None] for right in (first, second)]
    p_value = permutation_test(columns[0], columns[1], lambda sums: sums[:, 0], groups=groups, seed=seed)
    return PairedTest("permutation", p_value, only_first, only_second)


def permutation_test(
    first: FloatArray,
    second: FloatArray,
    score: SumsToScore,
    *,
    groups: IntArray | None,
    seed: int,
    num_permutations: int = NUM_PERMUTATIONS,
) -> float:
    """P value, 0-1, of the two-sided test of whether two models have the same score.

    If they are equally good, it is a fair coin which of them gave which answers to a group. All answers of a group are
    swapped together (Fisher, "The Design of Experiments", 1935, section 21; of whole clusters: Gail et al., Statistics
    in Medicine 15 (1996), 1069-1092). Where up to 13 groups differ, all ways of swapping are tried; else as many as are
    asked for, the measured one among them: p = (1 + b) / (1 + R), so that it is never 0 and the test keeps its level
    (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010), article 39).

    Args:
        first, second: float64 [N, C], what each image adds to the sums behind the score, such as 1 where it is right.
        score: from sums float64 [R, C] to scores float64 [R].
        groups: int64 [N], images that belong together; None where each is its own.
        seed: of the permutations.

    Raises ValueError if the shapes differ.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"{first.shape} and {second.shape} must be two equally large tables")
    together = grouping(groups, len(first))
    if together is not None:
        first, second = (group_sums(each, together.places, len(together.sizes)) for each in (first, second))
    # Swapping groups in which both models add the same changes nothing.
    gains = (second - first)[(second != first).any(axis=1)]
    if not len(gains):
        return 1.0
    totals = first.sum(axis=0), second.sum(axis=0)
    exact = len(gains) <= _MOST_EXACT
    measured = abs(float((score(totals[1][None]) - score(totals[0][None]))[0]))
    as_large = count = 0
    for swapped in _all_swaps(len(gains)) if exact else _drawn_swaps(len(gains), num_permutations, seed=seed):
        moved = swapped @ gains
        differences = np.abs(score(totals[1] - moved) - score(totals[0] + moved))
        as_large += int((differences >= measured - _ROUNDING * max(1.0, measured)).sum())
        count += len(differences)
    return as_large / count if exact else (1 + as_large) / (1 + count)


def _all_swaps(num_groups: int) -> Iterator[FloatArray]:
    """float64 [2^G, G] of 0 and 1: every way of swapping groups."""
    yield (np.arange(2**num_groups)[:, None] >> np.arange(num_groups) & 1).astype(np.float64)


def _drawn_swaps(num_groups: int, num_permutations: int, *, seed: int) -> Iterator[FloatArray]:
    """float64 [r, G] of 0 and 1, r adding up to `num_permutations`, or to fewer where there are very many groups."""
    generator = np.random.default_rng(seed)
    num_permutations = affordable_samples(num_groups, wanted=num_permutations)
    step = max(1, _CELLS_AT_ONCE // num_groups)
    for start in range(0, num_permutations, step):
        size = min(step, num_permutations - start)
        bits = np.frombuffer(generator.bytes(-(-size * num_groups // 8)), np.uint8)
        yield np.unpackbits(bits, count=size * num_groups).reshape(size, num_groups).astype(np.float64)


def paired_bootstrap(
    first: FloatArray,
    second: FloatArray,
    score: SumsToScore,
    *,
    groups: IntArray | None,
    confidence: float,
    num_samples: int,
    seed: int,
) -> Difference:
    """The difference of a score between two models, with an interval from resampled images, or whole groups of them.

    Both are scored on the same resamples, so what makes an image hard for both cancels out. The interval is the normal
    one at the spread over resamples (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 6 and 8),
    to which the spread of one more differing image is added, so that two models that never differ on a few images are
    not called equal for certain; for accuracy this is nearly the interval of Agresti and Min, Statistics in Medicine 24
    (2005), 729-740. With groups it is one more differing group, the variance is that of groups drawn from more than are
    there (G / (G - 1)), and the quantile that of Student's t (`two_sided_quantile`), all with the number of groups of
    equal size that these are worth; a single group says nothing, -1 to 1. It holds the true difference about as often
    as it says (tests/statistics/test_paired.py).

    Args:
        first, second: float64 [N, C], what each image adds to the sums behind the score, such as 1 where it is right.
        score: from sums over R resamples float64 [R, C] to scores float64 [R].
        groups: int64 [N], images that belong together; None where each is its own.
        confidence: level of the interval, such as 0.95.
        num_samples: R; fewer are drawn where there are very many images.
        seed: the resamples follow from it.

    Raises ValueError if the shapes differ or there are no images.
    """
    if first.shape != second.shape or first.ndim != 2 or not len(first):
        raise ValueError(f"{first.shape} and {second.shape} must be two equally large tables of at least one image")
    value = float((score(second.sum(axis=0)[None]) - score(first.sum(axis=0)[None]))[0])
    together = grouping(groups, len(first))
    num_units, few = float(len(first)), 1.0
    if together is not None:
        num_units = effective_number(together.sizes)
        if num_units <= 1:
            return Difference(value, Interval(-1.0, 1.0))
        first, second = (group_sums(each, together.places, len(together.sizes)) for each in (first, second))
        few = num_units / (num_units - 1)
    num_samples = affordable_samples(len(first), wanted=num_samples)
    differences = [
        score(weights @ second) - score(weights @ first)
        for weights in resampled_weights(len(first), strata=None, groups=None, num_samples=num_samples, seed=seed)
    ]
    variance = few * float(np.concatenate(differences).var()) + 1 / num_units**2
    reach = two_sided_quantile(confidence, num_groups=None if together is None else num_units)
    half = reach * math.sqrt(variance)
    return Difference(value, Interval(max(-1.0, value - half), min(1.0, value + half)))
