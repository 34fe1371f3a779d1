"""Copies among the cached images: the quick part of the audit, which every training run does.

Looks at pixels that are decoded already, at the network's size, so it costs seconds. Two images are copies if those
pixels are equal, or, where there are few images, if their fingerprints are near.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from linnaeus.analysis.duplicate_groups import LEAST_PX, labels_of
from linnaeus.analysis.duplicates import THUMBNAIL_PX, equal_groups, join_groups, near_duplicates, take_fingerprints
from linnaeus.analysis.health import wrongly_named
from linnaeus.data.cache.images import CachedImages
from linnaeus.data.copies import Copies
from linnaeus.data.manifest import TEST, TRAIN, VALIDATION, Manifest
from linnaeus.machine import usable_cores

MOST_NEAR = 20_000
"""Near copies are sought among at most so many images: a few seconds."""
MOST_HEADS = 200_000
"""The first bytes of at most so many files are read."""
_LINES, _DIGEST_BYTES = 4, 16

_Rows = npt.NDArray[np.int64]


def find_copies(cache: CachedImages, *, source_px: int) -> Copies:
    """Compare all readable images of a cache. `source_px`: the shorter side the images usually have in their files."""
    rows = np.flatnonzero(cache.readable)
    groups = _equal(cache.pixels, rows)
    if len(rows) <= MOST_NEAR and source_px >= LEAST_PX:
        with ThreadPoolExecutor(usable_cores()) as pool:
            prints = take_fingerprints(np.stack(list(pool.map(_thumbnail, cache.pixels))))
        groups = join_groups([*groups, *near_duplicates(prints, rows=rows)])
    return Copies(groups, len(cache.pixels))


def _equal(pixels: npt.NDArray[np.uint8], rows: _Rows) -> list[_Rows]:
    """Rows with equal pixels: first by a few lines of each image, then those that agree there by all of it."""
    lines = np.linspace(0, pixels.shape[1] - 1, _LINES).round().astype(int)

    def grouped(candidates: _Rows, chosen: npt.NDArray[np.int64] | slice) -> list[_Rows]:
        digests = [hashlib.blake2b(pixels[row, chosen].tobytes(), digest_size=_DIGEST_BYTES) for row in candidates]
        table = np.frombuffer(b"".join(d.digest() for d in digests), np.uint8).reshape(-1, _DIGEST_BYTES)
        return [candidates[group] for group in equal_groups(table)]

    alike = grouped(rows, lines)
    return grouped(np.sort(np.concatenate(alike)), slice(None)) if alike else []


def _thumbnail(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    grey = Image.fromarray(image).convert("L")
    return np.asarray(grey.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX, reducing_gap=2.0))


def describe_copies(copies: Copies, manifest: Manifest) -> list[str]:
    """What a person should know before training, in at most four lines; none if all is well."""
    lines = []
    leaked, tested = len(copies.leaked(manifest)), len(manifest.rows(TEST))
    used = [group[np.isin(manifest.splits[group], (TRAIN, VALIDATION, TEST))] for group in copies.groups]
    groups = [group for group in used if len(group) > 1]
    if leaked:
        has = "has" if leaked == 1 else "have"
        lines.append(
            f"Leak: {_count(leaked, 'test image')} ({leaked / tested:.1%}) {has} a copy in training or validation; "
            "evaluation.json scores the others on their own too (test_without_duplicates)"
        )
    if groups:
        num = sum(map(len, groups))
        lines.append(
            f"Copies: {num:,} images in {_count(len(groups), 'group')}; no group is divided by a split made here"
        )
    contradictions = [pair for group in groups if (pair := _contradiction(manifest, group))]
    if contradictions:
        named = [f"{manifest.ids[row].as_py()} ({', '.join(labels_of(manifest, row))})" for row in contradictions[0]]
        verb = "contradicts itself" if len(contradictions) == 1 else "contradict themselves"
        lines.append(
            f"Labels: {_count(len(contradictions), 'group')} of copies {verb}, such as {named[0]} and {named[1]}"
        )
    if manifest.boxes is None and len(manifest) <= MOST_HEADS:
        wrong = wrongly_named(manifest.uris.to_pylist())
        for row, (_, found) in list(wrong.items())[:1]:
            example = f"{manifest.ids[row].as_py()} ({found})"
            lines.append(
                f"Extensions: {_count(len(wrong), 'file')} of another format than the name says, such as {example}"
            )
    return [*lines, "More, with pictures: linnaeus inspect"] if lines else []


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _contradiction(manifest: Manifest, group: _Rows) -> tuple[int, int] | None:
    """Two rows of a group with different labels, or None."""
    first = int(group[0])
    labels = labels_of(manifest, first)
    return next(((first, row) for row in group[1:].tolist() if labels_of(manifest, row) != labels), None)
