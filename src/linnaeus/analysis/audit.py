"""The audit: everything that is wrong with a data set, or may be, as one dictionary of plain values.

It is what audit.json holds (docs/audit-json.md describes it) and all that the audit page shows. Made from the manifest
and from what `data.health` measured; no file is opened here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from linnaeus.analysis.duplicate_groups import find_groups, summarise_leaks
from linnaeus.analysis.findings import make_findings
from linnaeus.analysis.health import Health, format_of_name
from linnaeus.analysis.shortcuts import find_shortcuts
from linnaeus.data.images.decode import MAX_PIXELS
from linnaeus.data.manifest import SPLITS, UNASSIGNED, Manifest
from linnaeus.progress import SILENT, Progress

FORMAT = 1
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


def audit(manifest: Manifest, health: Health, *, seed: int = 0, progress: Progress = SILENT) -> dict[str, Any]:
    """Judge what was measured of every row of `manifest`; values are plain and fit for JSON."""
    groups = find_groups(manifest, health, progress=progress)
    result: dict[str, Any] = {
        "format": FORMAT,
        "num_images": len(manifest),
        "num_scenes": None if manifest.boxes is None else len(pc.unique(manifest.uris)),
        "task": manifest.task,
        "classes": list(manifest.classes),
        "splits": {split_name(split): len(manifest.rows(split)) for split in _ALL_SPLITS if len(manifest.rows(split))},
        "counts": _counts(manifest),
        "imbalance": _imbalance(manifest),
        "cooccurrence": _cooccurrence(manifest),
        "skipped": dict(manifest.skipped),
        "notes": list(getattr(manifest, "notes", ())),
        **_shapes(manifest, health),
        "unreadable": [
            {**named(manifest, row), "kind": kind_of(reason), "reason": reason}
            for row, reason in sorted(health.problems.items())
        ],
        "wrong_extension": _wrong_extension(manifest, health),
        "very_large": _very_large(manifest, health),
        **_looks(manifest, health),
        "duplicates": groups,
        "leaks": summarise_leaks(manifest, groups),
        "shortcuts": find_shortcuts(manifest, health, seed=seed),
    }
    return {**result, "findings": make_findings(result)}


def named(manifest: Manifest, row: int) -> dict[str, Any]:
    """How every list of the audit names an image."""
    return {"row": row, "id": manifest.ids[row].as_py()}


def kind_of(reason: str) -> str:
    """Why an image cannot be decoded, in a word: empty, truncated, missing, too large, outside, unknown or damaged."""
    words = {
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


def _imbalance(manifest: Manifest) -> dict[str, Any]:
    counts = manifest.class_counts()
    most, least = int(counts.argmax()), int(counts.argmin())
    ratio = round(float(counts[most] / counts[least]), 3) if counts[least] else None
    return {
        "ratio": ratio,
        "largest": {"class": manifest.classes[most], "num_images": int(counts[most])},
        "smallest": {"class": manifest.classes[least], "num_images": int(counts[least])},
    }


def _cooccurrence(manifest: Manifest) -> list[list[int]] | None:
    if manifest.task != "multi":
        return None
    together = np.zeros((manifest.num_classes, manifest.num_classes), np.int64)
    for start in range(0, len(manifest), 65536):
        part = manifest.targets[start : start + 65536].astype(np.float32)
        together += np.rint(part.T @ part).astype(np.int64)
    table: list[list[int]] = together.tolist()
    return table


def _shapes(manifest: Manifest, health: Health) -> dict[str, Any]:
    known = health.sizes.min(axis=1) > 0
    sizes = health.sizes[known]
    common, numbers = np.unique(sizes, axis=0, return_counts=True)
    order = np.argsort(-numbers, kind="stable")[:_COMMON_SIZES]
    in_files = health.num_bytes[health.num_bytes > 0]
    return {
        "sizes": {
            "width": _quantiles(sizes[:, 0]),
            "height": _quantiles(sizes[:, 1]),
            "num_different": len(common),
            "common": [
                {"width": int(common[k, 0]), "height": int(common[k, 1]), "num_images": int(numbers[k])} for k in order
            ],
        },
        "aspect_ratio": _quantiles(sizes[:, 0] / np.maximum(sizes[:, 1], 1)),
        "file_bytes": _quantiles(in_files),
        "modes": _tally(health.modes),
        "formats": _tally(health.formats),
    }


def _quantiles(values: np.ndarray) -> dict[str, float] | None:
    """Least, lower quartile, median, upper quartile, largest; None where there is nothing."""
    if not len(values):
        return None
    names = ("min", "lower_quartile", "median", "upper_quartile", "max")
    return {
        name: round(float(value), 4)
        for name, value in zip(names, np.percentile(values, (0, 25, 50, 75, 100)), strict=True)
    }


def _tally(names: np.ndarray) -> dict[str, int]:
    values, numbers = np.unique(names[names != ""].astype(str), return_counts=True)
    order = np.argsort(-numbers, kind="stable")
    return {str(values[k]): int(numbers[k]) for k in order}


def _wrong_extension(manifest: Manifest, health: Health) -> list[dict[str, Any]]:
    wrong = []
    for row in np.flatnonzero(health.formats != "").tolist():
        promised = format_of_name(manifest.uris[row].as_py())
        if promised and promised != health.formats[row]:
            wrong.append({**named(manifest, row), "extension": promised, "found": health.formats[row]})
    return wrong


def _very_large(manifest: Manifest, health: Health) -> list[dict[str, Any]]:
    pixels = health.sizes.astype(np.int64).prod(axis=1)
    usual = float(np.median(pixels[pixels > 0])) if (pixels > 0).any() else 0.0
    odd = (pixels > MAX_PIXELS) | ((pixels >= LARGE_PIXELS) & (pixels >= LARGE_TO_MEDIAN * usual))
    if manifest.boxes is not None:
        odd &= pixels > MAX_PIXELS
    odd[[row for row, reason in health.problems.items() if kind_of(reason) == "too large"]] = True
    return [
        {
            **named(manifest, row),
            "width": int(health.sizes[row, 0]) or None,
            "height": int(health.sizes[row, 1]) or None,
            "file_bytes": int(health.num_bytes[row]),
        }
        for row in np.flatnonzero(odd).tolist()
    ]


def _looks(manifest: Manifest, health: Health) -> dict[str, Any]:
    """Blank, very dark and very blurred images; an image is in one list only."""
    blank = health.contrast < BLANK
    dark = (health.brightness < DARK) & (health.contrast < DARK_CONTRAST) & ~blank
    judged = (health.sizes.min(axis=1) >= LEAST_SHARP_PX) & np.isfinite(health.sharpness)
    usual = float(np.median(health.sharpness[judged])) if judged.any() else 0.0
    limit = min(BLURRED, BLURRED_TO_MEDIAN * usual)
    blurred = judged & (np.nan_to_num(health.sharpness) < limit) & ~blank & ~dark

    def listed(mask: np.ndarray, name: str, values: np.ndarray) -> list[dict[str, Any]]:
        order = np.flatnonzero(mask)[np.argsort(values[mask], kind="stable")]
        return [{**named(manifest, row), name: round(float(values[row]), 5)} for row in order.tolist()]

    return {
        "blank": listed(blank, "brightness", health.brightness),
        "very_dark": listed(dark, "brightness", health.brightness),
        "very_blurred": listed(blurred, "sharpness", health.sharpness),
    }
