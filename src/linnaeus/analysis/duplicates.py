"""Duplicates: which images are the same picture, by their bytes or by what they show.

A fingerprint is the 16x16 lowest frequencies (DCT) of a 32x32 grey rendering: what rescaling, recompression and small
changes of brightness leave alone, and mirroring changes in signs only. Two images are near duplicates if their coarse
frequencies agree almost wholly and their finer ones clearly too; the second test keeps silhouettes on plain grounds
apart, which have all but the detail in common. Every pair is compared, block by block, up to MOST_EXHAUSTIVE images.
Beyond that only pairs that share a quarter of a 64-bit sign code (the pHash of Zauner 2010) are: a pair that differs in
three bits is never missed, and most others are found. Knows nothing of files, labels or splits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet
from scipy.fft import dctn

from linnaeus.metrics.neighbours import unit_rows
from linnaeus.progress import SILENT, Progress, Task

THUMBNAIL_PX, FINGERPRINT_SIDE, COARSE_SIDE = 32, 16, 8
COARSE_ALIKE, DETAIL_ALIKE = 0.97, 0.90
"""Least correlation of the 8x8 lowest frequencies, and of the rest. Halved, doubled and recompressed (quality 30)
copies of CIFAR-10's images, photos and posters stay above (0.99, 0.91) in 99 of 100; different T-shirts photographed
alike on one ground reach (0.99, 0.88)."""
FLAT = 4.0
"""Thumbnails whose grey values deviate by less show nothing to tell them apart by."""
MOST_EXHAUSTIVE = 150_000
_BLOCK, _PART = 4096, 65536
_FINE = np.ones((FINGERPRINT_SIDE, FINGERPRINT_SIDE), np.bool_)
_FINE[:COARSE_SIDE, :COARSE_SIDE] = False
_MIRROR_SIGNS = np.broadcast_to(np.where(np.arange(FINGERPRINT_SIDE) % 2 == 0, 1, -1), _FINE.shape).astype(np.float32)
"""Odd horizontal frequencies change their sign when an image is mirrored."""

_Rows = npt.NDArray[np.int64]
_Vectors = npt.NDArray[np.float32]


def take_fingerprints(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.float16]:
    """uint8 [n, 32, 32] grey -> float16 [n, 16, 16]: lowest frequencies, without the mean."""
    waves = dctn(thumbnails.astype(np.float32), axes=(1, 2), norm="ortho")[:, :FINGERPRINT_SIDE, :FINGERPRINT_SIDE]
    waves[:, 0, 0] = 0
    return np.asarray(waves, np.float16)


def equal_groups(digests: npt.NDArray[np.uint8]) -> list[_Rows]:
    """Groups of rows with equal digests, uint8 [N, D], each ascending; all zeros (unreadable images) equal nothing."""
    rows = np.flatnonzero(digests.any(axis=1))
    if len(rows) < 2:
        return []
    _, inverse = np.unique(np.ascontiguousarray(digests[rows]).view(f"V{digests.shape[1]}"), return_inverse=True)
    inverse = inverse.reshape(-1)
    order = np.argsort(inverse, kind="stable")
    edges = np.flatnonzero(np.diff(inverse[order])) + 1
    return [rows[part] for part in np.split(order, edges) if len(part) > 1]


def join_groups(groups: Iterable[_Rows]) -> list[_Rows]:
    """Groups that share a row, of however many, made one; each ascending, by their first row."""
    joined: DisjointSet = DisjointSet()
    for group in groups:
        _join(joined, group[:1].repeat(len(group) - 1), group[1:])
    return _groups(joined)


def _join(joined: DisjointSet, ones: _Rows, others: _Rows) -> None:
    """Say that rows belong together, pair by pair. Only rows that do are in the set, so it stays small."""
    for one, other in zip(ones.tolist(), others.tolist(), strict=True):
        joined.add(one)
        joined.add(other)
        joined.merge(one, other)


def _groups(joined: DisjointSet) -> list[_Rows]:
    return sorted((np.array(sorted(rows), np.int64) for rows in joined.subsets()), key=lambda rows: int(rows[0]))


def near_duplicates(fingerprints: npt.NDArray[np.float16], *, rows: _Rows, progress: Progress = SILENT) -> list[_Rows]:
    """Groups of rows that show the same picture, mirrored or not; each ascending, by their first row.

    Args:
        fingerprints: float16 [N, 16, 16], of `take_fingerprints`.
        rows: which of them to compare; those that are flat are left out.
        progress: hears of the images compared.

    Memory beyond the fingerprints: about 600 bytes for each row, and 100 MB.
    """
    joined: DisjointSet = DisjointSet()
    if len(rows):
        rows = rows[np.concatenate([_deviations(fingerprints[part]) >= FLAT for part in _parts(rows)])]
    if len(rows) < 2:
        return []
    coarse = np.concatenate([_coarse(fingerprints[part]) for part in _parts(rows)])
    signs = _MIRROR_SIGNS[:COARSE_SIDE, :COARSE_SIDE].reshape(-1)
    with progress.task("Comparing images", total=2 * len(rows), unit="images") as bar:
        for mirrored in (False, True):
            others = coarse * signs if mirrored else coarse
            done = 0
            for left, right in _tiles(coarse, others):
                alike = coarse[left] @ others[right].T >= COARSE_ALIKE
                for i, j in _pairs(alike, left, right):
                    same = _details_alike(fingerprints, rows[i], rows[j], mirrored=mirrored)
                    _join(joined, rows[i[same]], rows[j[same]])
                done = _advance(bar, done, int(left[0]))
            bar.advance(len(rows) - done)
    return _groups(joined)


def correlations(one: npt.NDArray[np.float16], others: npt.NDArray[np.float16]) -> tuple[_Vectors, _Vectors]:
    """How alike one fingerprint [16, 16] is to others [n, 16, 16], as they are and mirrored: float32 [n] each."""
    first = one.astype(np.float32).reshape(1, -1)
    rest = others.astype(np.float32)

    def against(waves: _Vectors) -> _Vectors:
        return np.asarray(unit_rows(waves.reshape(len(waves), -1)) @ unit_rows(first)[0])

    return against(rest), against(rest * _MIRROR_SIGNS)


def _parts(rows: _Rows) -> Iterator[_Rows]:
    return (rows[start : start + _PART] for start in range(0, len(rows), _PART))


def _deviations(fingerprints: npt.NDArray[np.float16]) -> _Vectors:
    """Standard deviation of the grey values behind each fingerprint, by Parseval's theorem."""
    return np.asarray(np.sqrt(np.square(fingerprints.astype(np.float32)).sum(axis=(1, 2))) / THUMBNAIL_PX)


def _coarse(fingerprints: npt.NDArray[np.float16]) -> _Vectors:
    """Unit vectors float32 [n, 64] of the coarse frequencies."""
    block = fingerprints[:, :COARSE_SIDE, :COARSE_SIDE].astype(np.float32)
    return unit_rows(block.reshape(len(block), -1))


def _details_alike(
    fingerprints: npt.NDArray[np.float16], one: _Rows, other: _Rows, *, mirrored: bool
) -> npt.NDArray[np.bool_]:
    """bool [n]: whether the finer frequencies of rows `one` and `other` (mirrored) agree too."""
    first = unit_rows(fingerprints[one][:, _FINE].astype(np.float32))
    second = unit_rows(fingerprints[other][:, _FINE].astype(np.float32))
    if mirrored:
        second = second * _MIRROR_SIGNS[_FINE]
    return np.asarray((first * second).sum(axis=1) >= DETAIL_ALIKE)


def _tiles(coarse: _Vectors, others: _Vectors) -> Iterator[tuple[_Rows, _Rows]]:
    """Blocks of rows to be compared with each other."""
    num_rows = len(coarse)
    if num_rows <= MOST_EXHAUSTIVE:
        blocks = [np.arange(start, min(start + _BLOCK, num_rows)) for start in range(0, num_rows, _BLOCK)]
        yield from itertools.combinations_with_replacement(blocks, 2)
        return
    codes, other_codes = _sign_codes(coarse), _sign_codes(others)
    for band in range(codes.shape[1]):
        yield from _shared(codes[:, band], other_codes[:, band])


def _sign_codes(coarse: _Vectors) -> npt.NDArray[np.uint16]:
    """uint16 [n, 4]: which of the 64 coarse frequencies are above their median in the image."""
    bits = coarse > np.median(coarse, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint16)


def _shared(codes: npt.NDArray[np.uint16], others: npt.NDArray[np.uint16]) -> Iterator[tuple[_Rows, _Rows]]:
    order, other_order = np.argsort(codes, kind="stable"), np.argsort(others, kind="stable")
    values = np.unique(codes)
    starts, ends = (np.searchsorted(codes[order], values, side) for side in ("left", "right"))
    froms, tos = (np.searchsorted(others[other_order], values, side) for side in ("left", "right"))
    for start, end, first, last in zip(starts, ends, froms, tos, strict=True):
        for i in range(start, end, _BLOCK):
            for j in range(first, last, _BLOCK):
                yield order[i : min(i + _BLOCK, end)], other_order[j : min(j + _BLOCK, last)]


def _pairs(alike: npt.NDArray[np.bool_], left: _Rows, right: _Rows) -> Iterator[tuple[_Rows, _Rows]]:
    """Rows i < j of the pairs marked in a block, some at a time."""
    flat = np.flatnonzero(alike)
    for start in range(0, len(flat), _PART):
        i, j = np.divmod(flat[start : start + _PART], alike.shape[1])
        i, j = left[i], right[j]
        yield i[i < j], j[i < j]


def _advance(bar: Task, done: int, reached: int) -> int:
    if reached > done:
        bar.advance(reached - done)
    return max(done, reached)
