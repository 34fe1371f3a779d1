"""Small pictures of the original images, for the page."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image

from linnaeus.data.decode import read_image
from linnaeus.data.manifest import Manifest

SIDE_PX = 160
_QUALITY = 80


def thumbnail_of(manifest: Manifest) -> Callable[[int], bytes]:
    """A function from row to a WebP file at most 160 px wide and high (smaller images keep their pixels, losslessly).

    It raises UnreadableImageError for an image that cannot be decoded.
    """

    def thumbnail(row: int) -> bytes:
        box = None if manifest.boxes is None else manifest.boxes[row].tolist()
        image = Image.fromarray(read_image(manifest.uris[row].as_py(), box))
        small = max(image.size) <= SIDE_PX
        if not small:
            image.thumbnail((SIDE_PX, SIDE_PX))
        file = io.BytesIO()
        image.save(file, "webp", lossless=small, quality=_QUALITY)
        return file.getvalue()

    return thumbnail
