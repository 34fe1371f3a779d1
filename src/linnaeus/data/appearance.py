"""What is known of images beside their labels: brightness, contrast, size and shape, scene, and columns of the table.

For judging a model by parts of the test. Reads cached pixels, and of files no more than their headers. Knows nothing of
labels or networks.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from linnaeus.data.images.header import read_size
from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import Manifest
from linnaeus.errors import UnreadableImageError

_AT_ONCE = 256
_SIDE = 64
_MOST_HEADERS = 20_000
"""Beyond, opening every file would take longer than it tells."""


def measure_appearance(store: ImageStore, rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
    """ "brightness" and "contrast" of N readable rows: float64 [N], mean and deviation of grey, 0-255, at a coarse grid
    of pixels.
    """
    brightness, contrast = np.empty(len(rows)), np.empty(len(rows))
    for start in range(0, len(rows), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        images = store.sample(rows[part])
        step = max(1, images.shape[-1] // _SIDE)
        grey = images[:, :, ::step, ::step].float().mean(dim=1).flatten(1)
        brightness[part] = grey.mean(dim=1).cpu().numpy()
        contrast[part] = grey.std(dim=1, correction=0).cpu().numpy()
    return {"brightness": brightness, "contrast": contrast}


def known_columns(manifest: Manifest, rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """What is known of N rows without their pixels, N values each; NaN or None where it is not.

    "size (px)", the root of width times height of an image or box, and "width / height"; of boxes "fraction of the
    scene (%)", of its area, and "scene", its name; "group", where groups are more than scenes; and the columns of the
    table.
    """
    columns: dict[str, npt.NDArray[Any]] = {}
    cheap = manifest.boxes is not None or len(rows) <= _MOST_HEADERS
    sizes = image_sizes(manifest, rows) if cheap else None
    if sizes is not None:
        known = sizes.min(axis=1) > 0
        width, height = np.where(known[:, None], sizes, 1).T.astype(np.float64)
        columns["size (px)"] = np.where(known, np.sqrt(width * height), np.nan)
        columns["width / height"] = np.where(known, width / height, np.nan)
    groups = None if manifest.groups is None else manifest.groups[rows]
    if manifest.boxes is not None:
        assert sizes is not None
        scenes, places = np.unique([manifest.uris[int(row)].as_py() for row in rows], return_inverse=True)
        areas = _scene_areas(scenes.tolist())
        columns["fraction of the scene (%)"] = 100 * sizes.astype(np.float64).prod(axis=1) / areas[places]
        names = [manifest.ids[int(row)].as_py().rpartition("#")[0] for row in rows]
        columns["scene"] = np.array(names, object)
        if groups is not None and len(np.unique(groups)) == len(scenes):
            groups = None  # they are the scenes
    if groups is not None:
        columns["group"] = groups.astype(str)
    return columns | manifest.known_of(rows)


def image_sizes(manifest: Manifest, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64 [N, 2]: width and height in pixels of boxes or of upright images, from headers; 0 where unreadable."""
    if manifest.boxes is not None:
        x0, y0, x1, y1 = manifest.boxes[rows].T.astype(np.int64)
        return np.stack([x1 - x0, y1 - y0], axis=1)
    sizes = np.zeros((len(rows), 2), np.int64)
    for place, row in enumerate(rows.tolist()):
        with suppress(UnreadableImageError):
            sizes[place] = read_size(manifest.uris[row].as_py())
    return sizes


def _scene_areas(paths: list[str]) -> npt.NDArray[np.float64]:
    """float64 [S], pixels of each scene, NaN where its header cannot be read."""
    areas = np.full(len(paths), np.nan)
    for place, path in enumerate(paths[:_MOST_HEADERS]):
        with suppress(UnreadableImageError):
            areas[place] = math.prod(read_size(path))
    return areas
