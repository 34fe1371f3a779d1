"""The audit: everything that is wrong with a data set, or may be, as the types of audit.json.

It is also all that the audit page shows. Made from the manifest and from what `analysis.health` measured; no file is
opened here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from linnaeus.analysis.audit_types import (
    Audit,
    BlurredImage,
    ClassCount,
    DarkImage,
    Imbalance,
    LargeImage,
    Quartiles,
    SizeCount,
    Sizes,
    UnreadableImage,
    UnreadableKind,
    WrongExtension,
)
from linnaeus.analysis.duplicate_groups import find_groups, summarise_leaks
from linnaeus.analysis.findings import make_findings
from linnaeus.analysis.health import Health, format_of_name
from linnaeus.analysis.shortcuts import find_shortcuts
from linnaeus.data.images.decode import MAX_PIXELS
from linnaeus.data.manifest import SPLITS, UNASSIGNED, Manifest
from linnaeus.progress import SILENT, Progress

BLANK, DARK, DARK_CONTRAST = 2.0, 20.0, 20.0
"""Grey levels of 255: deviation below which an image is blank; mean and deviation below which it is very dark."""
BLURRED, BLURRED_TO_MEDIAN, LEAST_SHARP_PX = 0.005, 0.1, 64
"""Sharpness (variance of the Laplacian over that of the image, at 256 px) below which an image is very blurred, if it
is below a tenth of the data's median too. Photos of clothing lie above 0.011; blurred by 2 px, at 0.0016. Images with a
side below 64 px have too little detail to judge."""
LARGE_PIXELS, LARGE_TO_MEDIAN = 50_000_000, 50
"""Pixels from which an image is suspiciously large, if it has 50 times those of the median image too."""
_UNASSIGNED = "unassigned"
_ALL_SPLITS = (*range(len(SPLITS)), UNASSIGNED)
_COMMON_SIZES = 12


def audit(manifest: Manifest, health: Health, *, source: str = "", seed: int = 0, progress: Progress = SILENT) -> Audit:
    """Judge what was measured of every row of `manifest`; `source` is its name for people."""
    groups = find_groups(manifest, health, progress=progress)
    blank, very_dark, very_blurred = _looks(manifest, health)
    in_files = health.num_bytes[health.num_bytes > 0]
    known = health.sizes[health.sizes.min(axis=1) > 0]
    found = Audit(
        source=source,
        num_images=len(manifest),
        num_scenes=None if manifest.boxes is None else len(pc.unique(manifest.uris)),
        task=manifest.task,
        classes=list(manifest.classes),
        splits={split_name(split): len(manifest.rows(split)) for split in _ALL_SPLITS if len(manifest.rows(split))},
        counts=_counts(manifest),
        imbalance=_imbalance(manifest),
        cooccurrence=_cooccurrence(manifest),
        skipped=dict(manifest.skipped),
        notes=list(manifest.notes),
        sizes=_sizes(known),
        aspect_ratio=_quartiles(known[:, 0] / np.maximum(known[:, 1], 1)),
        file_bytes=_quartiles(in_files),
        modes=_tally(health.modes),
        formats=_tally(health.formats),
        unreadable=[
            UnreadableImage(row=row, id=manifest.ids[row].as_py(), kind=kind_of(reason), reason=reason)
            for row, reason in sorted(health.problems.items())
        ],
        wrong_extension=_wrong_extension(manifest, health),
        very_large=_very_large(manifest, health),
        blank=blank,
        very_dark=very_dark,
        very_blurred=very_blurred,
        duplicates=groups,
        leaks=summarise_leaks(manifest, groups),
        shortcuts=find_shortcuts(manifest, health, seed=seed),
        findings=[],
    )
    return found.model_copy(update={"findings": make_findings(found)})


def kind_of(reason: str) -> UnreadableKind:
    """Why an image cannot be decoded, in a word."""
    words: dict[str, UnreadableKind] = {
        "empty": "empty",
        "truncated": "truncated",
        "missing": "missing",
        "too large": "too large",
        "outside": "outside",
        "not an image": "unknown",
    }
    return next((kind for part, kind in words.items() if part in reason), "damaged")


def split_name(split: int) -> str:
    """`train`, `validation`, `test`, or `unassigned`."""
    return _UNASSIGNED if split == UNASSIGNED else SPLITS[split]


def _counts(manifest: Manifest) -> dict[str, dict[str, int]]:
    """Split -> class -> images, for the splits that have any."""
    return {
        split_name(split): dict(
            zip(manifest.classes, manifest.class_counts(manifest.rows(split)).tolist(), strict=True)
        )
        for split in _ALL_SPLITS
        if len(manifest.rows(split))
    }


def _imbalance(manifest: Manifest) -> Imbalance:
    counts = manifest.class_counts()
    most, least = int(counts.argmax()), int(counts.argmin())

    def of(k: int) -> ClassCount:
        return ClassCount(name=manifest.classes[k], num_images=int(counts[k]))

    ratio = round(float(counts[most] / counts[least]), 3) if counts[least] else None
    return Imbalance(ratio=ratio, largest=of(most), smallest=of(least))


def _cooccurrence(manifest: Manifest) -> list[list[int]] | None:
    if manifest.task != "multi":
        return None
    together = np.zeros((manifest.num_classes, manifest.num_classes), np.int64)
    for start in range(0, len(manifest), 65536):
        part = manifest.targets[start : start + 65536].astype(np.float32)
        together += np.rint(part.T @ part).astype(np.int64)
    table: list[list[int]] = together.tolist()
    return table


def _sizes(sizes: npt.NDArray[np.int32]) -> Sizes:
    common, numbers = np.unique(sizes, axis=0, return_counts=True)
    order = np.argsort(-numbers, kind="stable")[:_COMMON_SIZES]
    return Sizes(
        width=_quartiles(sizes[:, 0]),
        height=_quartiles(sizes[:, 1]),
        num_different=len(common),
        common=[
            SizeCount(width=int(common[k, 0]), height=int(common[k, 1]), num_images=int(numbers[k])) for k in order
        ],
    )


def _quartiles(values: np.ndarray) -> Quartiles | None:
    """None where there is nothing."""
    if not len(values):
        return None
    least, lower, median, upper, largest = (round(float(v), 4) for v in np.percentile(values, (0, 25, 50, 75, 100)))
    return Quartiles(min=least, lower_quartile=lower, median=median, upper_quartile=upper, max=largest)


def _tally(names: np.ndarray) -> dict[str, int]:
    values, numbers = np.unique(names[names != ""].astype(str), return_counts=True)
    order = np.argsort(-numbers, kind="stable")
    return {str(values[k]): int(numbers[k]) for k in order}


def _wrong_extension(manifest: Manifest, health: Health) -> list[WrongExtension]:
    wrong = []
    for row in np.flatnonzero(health.formats != "").tolist():
        promised, found = format_of_name(manifest.uris[row].as_py()), str(health.formats[row])
        if promised and promised != found:
            wrong.append(WrongExtension(row=row, id=manifest.ids[row].as_py(), extension=promised, found=found))
    return wrong


def _very_large(manifest: Manifest, health: Health) -> list[LargeImage]:
    pixels = health.sizes.astype(np.int64).prod(axis=1)
    usual = float(np.median(pixels[pixels > 0])) if (pixels > 0).any() else 0.0
    odd = (pixels > MAX_PIXELS) | ((pixels >= LARGE_PIXELS) & (pixels >= LARGE_TO_MEDIAN * usual))
    if manifest.boxes is not None:
        odd &= pixels > MAX_PIXELS
    odd[[row for row, reason in health.problems.items() if kind_of(reason) == "too large"]] = True
    return [
        LargeImage(
            row=row,
            id=manifest.ids[row].as_py(),
            width=int(health.sizes[row, 0]) or None,
            height=int(health.sizes[row, 1]) or None,
            file_bytes=int(health.num_bytes[row]),
        )
        for row in np.flatnonzero(odd).tolist()
    ]


def _looks(manifest: Manifest, health: Health) -> tuple[list[DarkImage], list[DarkImage], list[BlurredImage]]:
    """Blank, very dark and very blurred images; an image is in one list only."""
    blank = health.contrast < BLANK
    dark = (health.brightness < DARK) & (health.contrast < DARK_CONTRAST) & ~blank
    judged = (health.sizes.min(axis=1) >= LEAST_SHARP_PX) & np.isfinite(health.sharpness)
    usual = float(np.median(health.sharpness[judged])) if judged.any() else 0.0
    limit = min(BLURRED, BLURRED_TO_MEDIAN * usual)
    blurred = judged & (np.nan_to_num(health.sharpness) < limit) & ~blank & ~dark

    def ascending(mask: np.ndarray, values: np.ndarray) -> Iterator[tuple[int, str, float]]:
        for row in np.flatnonzero(mask)[np.argsort(values[mask], kind="stable")].tolist():
            yield row, manifest.ids[row].as_py(), round(float(values[row]), 5)

    def dim(mask: np.ndarray) -> list[DarkImage]:
        return [DarkImage(row=row, id=id, brightness=value) for row, id, value in ascending(mask, health.brightness)]

    return (
        dim(blank),
        dim(dark),
        [BlurredImage(row=row, id=id, sharpness=v) for row, id, v in ascending(blurred, health.sharpness)],
    )
