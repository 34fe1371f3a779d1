"""Small pictures of the original images, for the page."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from linnaeus.data.images.decode import crop, read_image
from linnaeus.data.images.scenes import read_scene
from linnaeus.data.manifest import Manifest

SIDE_PX = 160
_QUALITY = 80
_SCENES_KEPT = 4


def thumbnail_of(manifest: Manifest) -> Callable[[int], bytes]:
    """A function from row to a WebP file at most 160 px wide and high (smaller images keep their pixels, losslessly).

    Of a scene only the part with the object is read where its file allows that; the last few scenes that had to be
    decoded whole are kept for the next object. Raises UnreadableImageError for an image that cannot be decoded.
    """
    whole_scene = lru_cache(maxsize=_SCENES_KEPT)(read_image)

    def pixels(row: int) -> npt.NDArray[np.uint8]:
        uri: str = manifest.uris[row].as_py()
        if manifest.boxes is None:
            return read_image(uri)
        box = manifest.boxes[row]
        in_parts = uri.lower().endswith((".tif", ".tiff"))
        return crop(read_scene(uri, box[None]) if in_parts else whole_scene(uri), box.tolist(), uri)

    def thumbnail(row: int) -> bytes:
        image = Image.fromarray(pixels(row))
        small = max(image.size) <= SIDE_PX
        if not small:
            image.thumbnail((SIDE_PX, SIDE_PX))
        file = io.BytesIO()
        image.save(file, "webp", lossless=small, quality=_QUALITY)
        return file.getvalue()

    return thumbnail
