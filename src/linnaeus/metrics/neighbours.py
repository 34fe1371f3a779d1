"""Directions of features and their nearest neighbours by cosine, block by block.

Plain functions of arrays, for baselines, out-of-distribution detection, explanations, copies and review. Knows nothing
of what the rows stand for.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_ROWS_AT_ONCE = 1024


def unit_rows(vectors: npt.NDArray[np.floating], *, mean: Floats | None = None) -> Floats:
    """float [N, D] less `mean` float32 [D], each row of length 1, so that dot products are cosines; zeros stay."""
    values = np.asarray(vectors, np.float32)
    if mean is not None:
        values = values - mean
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), np.float32)


def nearest_rows(queries: Floats, bank: Floats, *, num: int) -> Iterator[tuple[slice, npt.NDArray[np.int64], Floats]]:
    """For slices of the queries, their nearest rows of the bank by cosine, the nearest first.

    Args:
        queries: float32 [N, D], rows of length 1.
        bank: float32 [M, D], rows of length 1.
        num: k, at most M.

    Yields the slice of n queries, positions int64 [n, k] in the bank, and their cosines float32 [n, k]. Of equally near
    rows the first comes first.
    """
    rest = len(bank) - num
    for start in range(0, len(queries), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        cosines = queries[rows] @ bank.T
        chosen = np.sort(np.argpartition(cosines, rest, axis=1)[:, rest:], axis=1) if rest else _all(cosines)
        of_chosen = np.take_along_axis(cosines, chosen, axis=1)
        order = np.argsort(-of_chosen, axis=1, kind="stable")
        yield rows, np.take_along_axis(chosen, order, axis=1), np.take_along_axis(of_chosen, order, axis=1)


def _all(cosines: Floats) -> npt.NDArray[np.int64]:
    return np.broadcast_to(np.arange(cosines.shape[1]), cosines.shape)
