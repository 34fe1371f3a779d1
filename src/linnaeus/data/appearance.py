"""What images look like in a few numbers: brightness, contrast, size and shape, for judging a model by them.

Reads cached pixels, and of files no more than their headers. Knows nothing of labels or networks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import Manifest

_AT_ONCE = 256
_SIDE = 64
_MOST_HEADERS = 20_000
"""Beyond, opening every file would take longer than it tells."""


def measure_appearance(store: ImageStore, manifest: Manifest, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Columns of N values each for N readable rows.

    "brightness" and "contrast": float64, mean and deviation of grey, 0-255, at a coarse grid of pixels; "size (px)",
    the root of width times height, and "width / height", where they are known; "group", where the manifest has any.
    """
    brightness, contrast = np.empty(len(rows)), np.empty(len(rows))
    for start in range(0, len(rows), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        images = store.sample(rows[part])
        step = max(1, images.shape[-1] // _SIDE)
        grey = images[:, :, ::step, ::step].float().mean(dim=1).flatten(1)
        brightness[part] = grey.mean(dim=1).cpu().numpy()
        contrast[part] = grey.std(dim=1, correction=0).cpu().numpy()
    columns: dict[str, Any] = {"brightness": brightness, "contrast": contrast}
    sizes = _sizes(manifest, rows)
    if sizes is not None:
        known = sizes.min(axis=1) > 0
        width, height = np.where(known[:, None], sizes, 1).T.astype(np.float64)
        columns["size (px)"] = np.where(known, np.sqrt(width * height), np.nan)
        columns["width / height"] = np.where(known, width / height, np.nan)
    if manifest.groups is not None:
        columns["group"] = manifest.groups[rows].astype(str)
    return columns


def _sizes(manifest: Manifest, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
    """int64 [N, 2], width and height, 0 where a header cannot be read; None where nothing can be known cheaply."""
    if manifest.boxes is not None:
        x0, y0, x1, y1 = manifest.boxes[rows].T.astype(np.int64)
        return np.stack([x1 - x0, y1 - y0], axis=1)
    if len(rows) > _MOST_HEADERS:
        return None
    uris = [manifest.uris[int(row)].as_py() for row in rows]
    if any("://" in uri for uri in uris):
        return None
    return np.array([_header_size(uri) for uri in uris], np.int64).reshape(-1, 2)


def _header_size(path: str) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0, 0
