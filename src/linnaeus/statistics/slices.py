"""Slices: where a model fares worse than on the rest, by anything known about the images. The worst come first.

A slice is named bad only where chance does not explain it, after counting how many slices were looked at. Takes plain
columns; knows nothing of where they come from.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtr
from scipy.stats import fisher_exact, ttest_ind

from linnaeus.metrics.classification import FloatArray, IntArray
from linnaeus.statistics.groups import Grouping, effective_number, group_sums, grouping
from linnaeus.statistics.intervals import Interval, mean_interval

MINIMUM_SUPPORT = 20
"""Smaller slices are not looked at: their scores say little, and each of them makes proof for the others harder."""
_NUM_BINS = 4
_MOST_VALUES = 1000


@dataclass(frozen=True)
class Part:
    """Images with something in common: its column, the value or range in words, and bool [N]."""

    column: str
    value: str
    inside: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SliceTest:
    """One slice compared with all other images.

    Attributes:
        column, value: what its images have in common.
        num_images, num_groups: in it; None where each image is its own group.
        score: their mean score, 0-1.
        interval: of it.
        rest: mean score of the others.
        p_value: one-sided, of whether the slice is worse; from `test_slices` corrected for the number of slices.
        same_images: other descriptions of the very same images, which make no further test.
    """

    column: str
    value: str
    num_images: int
    num_groups: int | None
    score: float
    interval: Interval
    rest: float
    p_value: float
    same_images: list[str] = field(default_factory=list)


def compare_slices(
    scores: FloatArray, columns: Mapping[str, np.ndarray], *, groups: IntArray | None, confidence: float
) -> list[SliceTest]:
    """Compare every slice with the rest, in the order of the columns.

    Numbers are divided at their quartiles; of anything else, each value with 20 images or more is a slice. One-sided
    tests (Fisher's exact test where scores are 0 or 1, else Welch's) ask whether a slice is worse than the rest; Holm's
    correction (Scandinavian Journal of Statistics 6 (1979), 65-70) keeps the chance of a single false positive among
    all of them at 1 - confidence. With groups the test is `_grouped_p_value`.

    Args:
        scores: float64 [N], 0-1, such as whether the answer is right.
        columns: name -> N values; missing ones (NaN, None, "") are in no slice.
        groups: int64 [N], images that belong together; None where each is its own.
        confidence: level of the intervals.
    """
    together = grouping(groups, len(scores))
    found: dict[bytes, SliceTest] = {}
    for name, values in columns.items():
        for part in _parts(name, np.asarray(values)):
            images = hashlib.sha256(np.packbits(part.inside).tobytes()).digest()
            if images in found:
                found[images].same_images.append(f"{part.column}: {part.value}")
            else:
                found[images] = _compare(part, scores, together, confidence=confidence)
    tests = list(found.values())
    corrected = holm([each.p_value for each in tests])
    return [replace(each, p_value=p_value) for each, p_value in zip(tests, corrected, strict=True)]


def _compare(part: Part, scores: FloatArray, together: Grouping | None, *, confidence: float) -> SliceTest:
    """One slice, its p value not yet corrected for the number of slices."""
    own = scores[part.inside]
    places = None if together is None else together.places[part.inside]
    p_value = _p_value(scores, part.inside)
    if together is not None:
        p_value = max(p_value, _grouped_p_value(scores, part.inside, together))
    return SliceTest(
        column=part.column,
        value=part.value,
        num_images=len(own),
        num_groups=None if places is None else len(np.unique(places)),
        score=float(own.mean()),
        interval=mean_interval(own, places, confidence=confidence),
        rest=float(scores[~part.inside].mean()),
        p_value=p_value,
    )


def holm(p_values: list[float]) -> list[float]:
    """P values corrected for their number, each 0-1, in the same order."""
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for place, k in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[k]))
        corrected[k] = largest
    return corrected


def _parts(name: str, values: np.ndarray) -> Iterator[Part]:
    if np.issubdtype(values.dtype, np.number) or values.dtype == np.bool_:
        numbers = values.astype(np.float64)
        known = np.isfinite(numbers)
        if len(np.unique(numbers[known])) > 2 * _NUM_BINS:
            yield from _ranges(name, numbers, known)
            return
        texts = [f"{value:g}" if k else "" for value, k in zip(numbers, known, strict=True)]
    else:
        texts = ["" if value is None else str(value) for value in values]
    # Not np.unique, which gives each text the room of the longest.
    places, names = pd.factorize(np.array(texts, object), sort=True)
    if len(names) > _MOST_VALUES:
        return
    counts = np.bincount(places, minlength=len(names))
    for k in np.flatnonzero((counts >= MINIMUM_SUPPORT) & (len(places) - counts >= MINIMUM_SUPPORT)):
        if names[k]:
            yield Part(name, str(names[k]), places == k)


def _ranges(name: str, numbers: FloatArray, known: npt.NDArray[np.bool_]) -> Iterator[Part]:
    edges = np.unique(np.quantile(numbers[known], np.linspace(0, 1, _NUM_BINS + 1)))
    for low, high in itertools.pairwise(edges):
        inside = known & (numbers >= low) & ((numbers < high) | (numbers == edges[-1]) & (high == edges[-1]))
        if MINIMUM_SUPPORT <= inside.sum() <= len(numbers) - MINIMUM_SUPPORT:
            yield Part(name, f"{low:.4g} to {high:.4g}", inside)


def _p_value(scores: FloatArray, inside: npt.NDArray[np.bool_]) -> float:
    own, rest = scores[inside], scores[~inside]
    if np.isin(scores, (0.0, 1.0)).all():
        table = [[own.sum(), len(own) - own.sum()], [rest.sum(), len(rest) - rest.sum()]]
        return float(fisher_exact(table, alternative="less").pvalue)
    if own.std() == 0 and rest.std() == 0:
        return 1.0
    return float(ttest_ind(own, rest, equal_var=False, alternative="less").pvalue)


def _grouped_p_value(scores: FloatArray, inside: npt.NDArray[np.bool_], together: Grouping) -> float:
    """Of the one-sided t test of two means whose images come in groups, which may lie in the slice, the rest, or both.

    Each group moves the difference of the means by its summed deviations from either mean, over the number of images
    there; these are as good as independent, so their squares add up to the variance (Binder, International Statistical
    Review 51 (1983), 279-292). Its factor and degrees of freedom are those of the fewer groups of the two sides, so
    that a slice which is a single group is never called worse: nothing tells what it has in common from what it is.
    `compare_slices` takes the larger of this and of the test that knows no groups: where few groups lie in a slice,
    they may agree by chance.
    """
    moves, numbers = np.zeros(len(together.sizes)), []
    for sign, side in ((1.0, inside), (-1.0, ~inside)):
        table = np.stack([scores[side] - scores[side].mean(), np.ones(int(side.sum()))], axis=1)
        deviations, sizes = group_sums(table, together.places[side], len(together.sizes)).T
        moves += sign * deviations / len(table)
        numbers.append(effective_number(sizes))
    fewest = min(numbers)
    if fewest <= 1:
        return 1.0
    difference = float(scores[inside].mean() - scores[~inside].mean())
    deviation = math.sqrt(float((moves**2).sum()) * fewest / (fewest - 1))
    if deviation == 0:  # no score but one on either side: Fisher's exact test of the groups
        return 1.0 if difference >= 0 else 1 / math.comb(int(sum(numbers)), int(fewest))
    return float(stdtr(fewest - 1, difference / deviation))
