"""Headers: the size that an image has when it is shown, without decoding it.

Beside decode in the life of an image; the only place that reads sizes from files. What is told here is what
`decode.read_image` gives, turned as EXIF or XMP says.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import ExifTags, Image

from linnaeus.data.images import arrays, builtin
from linnaeus.data.images.decode import PILLOW_RULES, formats
from linnaeus.errors import UnreadableImageError

_WIDTH, _HEIGHT = 256, 257
"""Tags of TIFF."""
_ON_ITS_SIDE = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


@dataclass(frozen=True)
class Header:
    """Width and height in pixels of the upright image, and Pillow's name of how its pixels are stored."""

    width: int
    height: int
    mode: str


def read_size(uri: str) -> tuple[int, int]:
    """(width, height) of the upright image that a manifest's uri names; of a file from its header alone.

    Raises UnreadableImageError naming the file and the cause. A size is no promise that the rest can be decoded.
    """
    if uri.startswith(arrays.SCHEME):
        return arrays.size_of(uri)
    if uri.startswith(builtin.SCHEME):
        height, width, _ = builtin.read_builtin_pixels(uri).shape
        return width, height
    try:
        with Path(uri).open("rb") as file:
            header = read_header(file)
    except FileNotFoundError as error:
        raise UnreadableImageError(f"{uri}: the file is missing") from error
    except Exception as error:  # Pillow's parsers raise anything on damaged headers
        raise UnreadableImageError(f"{uri}: its header cannot be read") from error
    return header.width, header.height


def read_header(file: BinaryIO) -> Header:
    """The header of an encoded image; raises whatever Pillow raises on one that is damaged or of no known format."""
    with PILLOW_RULES, Image.open(file, formats=formats()) as image:
        width, height = image.size
        turned = False
        # Of a PNG Pillow would decode all, because its EXIF data may stand at the end.
        if image.format != "PNG" or _png_may_turn(file):
            with contextlib.suppress(Exception):  # as in decode: damaged EXIF data says nothing
                turned = image.getexif().get(ExifTags.Base.Orientation, 1) in _ON_ITS_SIDE
        if image.format == "TIFF":  # newer versions of Pillow have turned the size already
            tags: Any = image.tag_v2  # type: ignore[attr-defined]
            turned = turned and (width, height) == (tags[_WIDTH], tags[_HEIGHT])
        return Header(height, width, image.mode) if turned else Header(width, height, image.mode)


def _png_may_turn(file: BinaryIO) -> bool:
    """Whether any part of a PNG could hold an orientation: EXIF data, or a text, where XMP stands."""
    place = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
            if head[4:] in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, 1)
        return False
    finally:
        file.seek(place)  # Pillow reads on from here
