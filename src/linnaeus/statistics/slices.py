"""Slices: where a model fares worse than on the rest, by anything known about the images. The worst come first.

A slice is named bad only where chance does not explain it, after counting how many slices were looked at. Takes plain
columns; knows nothing of where they come from.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import fisher_exact, ttest_ind

from linnaeus.metrics.classification import FloatArray
from linnaeus.statistics.intervals import mean_interval
from linnaeus.statistics.resample import as_score

MINIMUM_SUPPORT = 20
"""Smaller slices are not looked at: their scores say little, and each of them makes proof for the others harder."""
MOST_SHOWN = 30
_NUM_BINS = 4
_MOST_VALUES = 1000


@dataclass(frozen=True)
class Part:
    """Images with something in common: its column, the value or range in words, and bool [N]."""

    column: str
    value: str
    inside: npt.NDArray[np.bool_]


def find_slices(scores: FloatArray, columns: Mapping[str, np.ndarray], *, confidence: float) -> dict[str, Any]:
    """Compare every slice with the rest, as plain JSON.

    Numbers are divided at their quartiles; of anything else, each value with 20 images or more is a slice. One-sided
    tests (Fisher's exact test where scores are 0 or 1, else Welch's) ask whether a slice is worse than the rest; Holm's
    correction (Scandinavian Journal of Statistics 6 (1979), 65-70) keeps the chance of a single false alarm among all
    of them at 1 - confidence.

    Args:
        scores: float64 [N], 0-1, such as whether the answer is right.
        columns: name -> N values; missing ones (NaN, None, "") are in no slice.

    Returns "num_tested", "minimum_support", "overall" and "slices", up to 30, those that are worse first and then by
    score: "column", "value", "same_images" (other descriptions of the very same images, which make no further test),
    "num_images", "score" with its interval, "rest" (mean score of the others), "p_value" (corrected) and "worse".
    """
    found: dict[bytes, dict[str, Any]] = {}
    for name, values in columns.items():
        for part in _parts(name, np.asarray(values)):
            images = hashlib.sha256(np.packbits(part.inside).tobytes()).digest()
            if images in found:
                found[images]["same_images"].append(f"{part.column}: {part.value}")
            else:
                found[images] = _describe(part, scores, confidence=confidence)
    rows = list(found.values())
    for row, p_value in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row |= {"p_value": p_value, "worse": p_value < 1 - confidence}
    rows.sort(key=lambda row: (not row["worse"], row["score"]["value"]))
    return {
        "num_tested": len(rows),
        "minimum_support": MINIMUM_SUPPORT,
        "overall": float(scores.mean()) if len(scores) else 0.0,
        "slices": rows[:MOST_SHOWN],
    }


def _describe(part: Part, scores: FloatArray, *, confidence: float) -> dict[str, Any]:
    """One slice, its p value not yet corrected for the number of slices."""
    own = scores[part.inside]
    return {
        "column": part.column,
        "value": part.value,
        "same_images": [],
        "num_images": len(own),
        "score": as_score(float(own.mean()), mean_interval(own, confidence=confidence)),
        "rest": float(scores[~part.inside].mean()),
        "p_value": _p_value(scores, part.inside),
    }


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
