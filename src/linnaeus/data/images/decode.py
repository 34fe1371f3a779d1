"""Decoding: one row of a manifest -> uint8 RGB [h, w, 3], exactly as a person would see the image on white paper.

Between split and cache in the life of an image; prediction uses the same functions. The first frame of an
animation counts. What cannot be decoded whole is an error with its cause, never filled up or replaced.

    orientation      applied, from EXIF (or XMP)
    transparency     composed over white
    grey, palette    repeated or looked up into RGB
    CMYK             converted without a colour profile; Adobe's inverted JPEGs are turned round
    16-bit grey      divided by 257, so that 65535 becomes 255 (16-bit colour: the high byte, by Pillow)
    32-bit integers  0-255 as they are, 0-65535 divided by 257, any other range stretched from minimum to maximum
    floats           0-1 multiplied by 255, 0-255 as they are, any other range stretched; not finite is an error

Knows nothing of sizes a network wants, labels or caches.
"""

from __future__ import annotations

import io
import logging
import struct
import threading
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from linnaeus.data.images import arrays
from linnaeus.data.images.arrays import read_array_pixels
from linnaeus.data.images.builtin import SCHEME, read_builtin_pixels
from linnaeus.data.images.formats import SIGNATURES
from linnaeus.errors import UnreadableImageError

MAX_PIXELS = 300_000_000
"""Larger images are refused as decompression bombs."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "QOI")
"""What Pillow may try, where it was built with it. Formats that start other programs (EPS) or have no signature are
left out; MPO is opened as JPEG."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_log = logging.getLogger(__name__)


def read_image(uri: str, box: Sequence[int] | None = None) -> npt.NDArray[np.uint8]:
    """Decode what a manifest's uri names.

    Args:
        uri: a file path, `builtin://NAME/ROW`, or `array://...` for an image that lies in an array.
        box: x0, y0, x1, y1 in pixels of the upright image, to cut out; parts beyond its edges are dropped.

    Returns:
        uint8 RGB [h, w, 3], 0-255; h and w at least 1. May be read-only.

    Raises UnreadableImageError naming the file and the cause.
    """
    if uri.startswith(arrays.SCHEME):
        pixels = read_array_pixels(uri)
    else:
        pixels = read_builtin_pixels(uri) if uri.startswith(SCHEME) else decode_file(Path(uri))
    return pixels if box is None else crop(pixels, box, uri)


def crop(pixels: npt.NDArray[np.uint8], box: Sequence[int], uri: str) -> npt.NDArray[np.uint8]:
    """Cut x0, y0, x1, y1 out of uint8 [h, w, 3]; raises UnreadableImageError if nothing of it is in the image."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = (int(edge) for edge in box)
    part = pixels[max(0, y0) : max(0, min(height, y1)), max(0, x0) : max(0, min(width, x1))]
    if part.size == 0:
        raise UnreadableImageError(f"{uri}: the box {x0}, {y0}, {x1}, {y1} is outside the {width}x{height} image")
    return part


def decode_file(path: Path) -> npt.NDArray[np.uint8]:
    """Decode one image file to uint8 RGB [h, w, 3].

    Raises UnreadableImageError naming the file and the cause. Where the file could not be reached at all (missing,
    no permission), its `__cause__` is the OSError of the system, with an errno.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UnreadableImageError(f"{path}: {_why_unreachable(error)}") from error
    try:
        with PILLOW_RULES:
            return decode_bytes(content)
    except Exception as error:
        raise UnreadableImageError(f"{path}: {_why_undecodable(error, content)}") from error


def decode_bytes(content: bytes) -> npt.NDArray[np.uint8]:
    """Decode an encoded image; raises whatever Pillow raises. Callers hold PILLOW_RULES."""
    with Image.open(io.BytesIO(content), formats=formats()) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        image.load()
        # OpenJPEG takes a stream that ends between two tiles for whole and leaves the rest black.
        if image.format == "JPEG2000" and content.rfind(b"\xff\xd9") < content.find(b"\xff\x4f\xff\x51"):
            raise EOFError
        pixels = _to_rgb(_upright(image))
    if pixels.size == 0:
        raise ValueError("it has no pixels")
    return pixels


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """FORMATS, as far as this Pillow knows them."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _upright(image: Image.Image) -> Image.Image:
    """Turn as EXIF says. Damaged EXIF data is no reason to lose the image; it says nothing then."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        method = _UPRIGHT.get(orientation)
    except Exception as error:  # Pillow's parsers raise anything on damaged EXIF: struct.error, SyntaxError, KeyError
        _log.debug("damaged EXIF data ignored: %r", error)
        return image
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        return _repeat(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        values = _to_byte_range(np.asarray(image).astype(np.float64), floats=image.mode == "F")
        return _repeat(np.rint(values).astype(np.uint8))
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(paper, layered)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _to_byte_range(values: npt.NDArray[np.float64], *, floats: bool) -> npt.NDArray[np.float64]:
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite numbers")
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if floats and low >= 0 and high <= 1:
        return values * 255
    if low >= 0 and high <= 255:
        return values
    if not floats and low >= 0 and high <= 65535:
        return values / 257
    return (values - low) / (high - low if high > low else 1.0) * 255


def _repeat(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=-1)


def _why_unreachable(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file is missing"
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    return f"the file cannot be read ({getattr(error, 'strerror', None) or error})"


def _why_undecodable(error: Exception, content: bytes) -> str:
    if not content:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        known = content.startswith(SIGNATURES) or content[:4] == b"RIFF"
        return "the image is damaged or truncated" if known else "it is not an image of a known format"
    if isinstance(error, Image.DecompressionBombError):
        return f"it is too large: more than {MAX_PIXELS // 10**6} megapixels"
    if isinstance(error, MemoryError):
        return "it is too large for the memory of this machine"
    text = str(error)
    short_webp = content[:4] == b"RIFF" and int.from_bytes(content[4:8], "little") + 8 > len(content)
    if "truncated" in text.lower() or short_webp or isinstance(error, (EOFError, struct.error)):
        return "the file is truncated"
    return f"the image is damaged ({text or type(error).__name__})"


class _PillowRules:
    """While held: no warnings from Pillow, bombs are errors above MAX_PIXELS, and truncated files are errors.

    Pillow keeps these as module globals, and `warnings.catch_warnings` is not for threads. So the first to enter sets
    them for everyone and the last to leave puts them back; a long build holds the rules once around all its threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._before: tuple[Any, Any, warnings.catch_warnings[None]] | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth > 1:
                return
            quiet = warnings.catch_warnings()
            quiet.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
            self._before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, quiet)
            Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow warns above this and refuses above its double
            ImageFile.LOAD_TRUNCATED_IMAGES = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth > 0:
                return
            assert self._before is not None
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, quiet = self._before
            quiet.__exit__(None, None, None)


PILLOW_RULES = _PillowRules()
