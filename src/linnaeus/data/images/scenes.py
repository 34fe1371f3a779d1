"""Scenes: large images of which only boxes are wanted; their pixels by the parts needed.

Beside decode in the life of an image, for the cache. What stands in a box is pixel for pixel what `read_image`
gives; only the way there is shorter. Plain 8-bit RGB TIFFs, uncompressed or deflated, are read strip by strip or tile
by tile; every other file, and every file in which anything is out of the ordinary, is decoded whole by `read_image`,
which then also has the say on what is damaged. Knows nothing of classes or objects.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from linnaeus.data.images.decode import MAX_PIXELS, PILLOW_RULES, read_image

_UNCOMPRESSED, _DEFLATES = 1, (8, 32946)
_MOST_WORTHWHILE = 0.7
"""Of a compressed scene of which more than this fraction is needed, all is decoded: one call instead of one per
tile."""
_XMP = 700
_COMPRESSION, _PREDICTOR = 259, 317
_STRIP_OFFSETS, _STRIP_ROWS, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_PLAIN = {258: (8, 8, 8), 262: 2, 266: 1, 274: 1, 277: 3, 284: 1, 338: (), 339: (1, 1, 1)}
"""Bits per sample, photometric (RGB), fill order, orientation, samples per pixel, planes, extra samples and sample
format of a plain page; a tag that is not there counts as plain."""
_log = logging.getLogger(__name__)


def read_scene(uri: str, boxes: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """The pixels of a scene, of which only those inside the boxes are promised.

    Args:
        uri: as for `read_image`.
        boxes: int32 [N, 4] x0, y0, x1, y1 in pixels of the upright image; may reach outside.

    Returns:
        uint8 RGB [h, w, 3] of the whole scene's size. Inside each box as `read_image` gives it, elsewhere that or 0.

    Raises UnreadableImageError as `read_image` does, unless the damage lies in parts that were not needed.
    """
    if uri.lower().endswith((".tif", ".tiff")):
        try:
            with Path(uri).open("rb") as file:
                plan = _plan(file)
                pixels = None if plan is None else _read_parts(file, plan, boxes)
        except Exception as error:  # whatever is wrong with the file, read_image says it better
            _log.debug("%s is decoded whole: %r", uri, error)
            pixels = None
        if pixels is not None:
            return pixels
    return read_image(uri)


@dataclass(frozen=True)
class _Plan:
    """Where the parts (strips or tiles) of a TIFF lie: part k covers row k // columns and column k % columns."""

    height: int
    width: int
    part_height: int
    part_width: int
    tiled: bool
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    deflated: bool
    differences: bool

    @property
    def grid(self) -> tuple[int, int]:
        return -(-self.height // self.part_height), -(-self.width // self.part_width)

    def place(self, part: int) -> tuple[slice, slice]:
        """The rows and columns of the scene that a part covers."""
        y, x = part // self.grid[1] * self.part_height, part % self.grid[1] * self.part_width
        return slice(y, min(y + self.part_height, self.height)), slice(x, min(x + self.part_width, self.width))


def _plan(file: BinaryIO) -> _Plan | None:
    """None unless the file is a TIFF whose parts can be read one by one; no pixel is decoded."""
    with PILLOW_RULES, Image.open(file, formats=("TIFF",)) as image:
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        (width, height), mode = image.size, image.mode
    plain = all(tags.get(tag, value) in (value, 1 if tag == 339 else value) for tag, value in _PLAIN.items())
    compression, predictor = tags.get(_COMPRESSION, _UNCOMPRESSED), tags.get(_PREDICTOR, 1)
    if not plain or mode != "RGB" or _XMP in tags or not 0 < width * height <= MAX_PIXELS:
        return None  # XMP may hold an orientation
    if compression not in (_UNCOMPRESSED, *_DEFLATES) or predictor not in (1, 2):
        return None
    tiled = _TILE_OFFSETS in tags
    plan = _Plan(
        height=height,
        width=width,
        part_height=int(tags[_TILE_HEIGHT] if tiled else min(tags.get(_STRIP_ROWS, height), height)),
        part_width=int(tags[_TILE_WIDTH] if tiled else width),
        tiled=tiled,
        offsets=tuple(tags[_TILE_OFFSETS if tiled else _STRIP_OFFSETS]),
        sizes=tuple(tags[_TILE_BYTES if tiled else _STRIP_BYTES]),
        deflated=compression != _UNCOMPRESSED,
        differences=predictor == 2 and compression != _UNCOMPRESSED,
    )
    rows, columns = plan.grid
    num_bytes = file.seek(0, 2)
    ends = [offset + size for offset, size in zip(plan.offsets, plan.sizes, strict=True)]
    whole = len(ends) == rows * columns and min(plan.offsets) > 0 and min(plan.sizes) > 0 and max(ends) <= num_bytes
    return plan if whole else None


def _read_parts(file: BinaryIO, plan: _Plan, boxes: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8] | None:
    """None where decoding the whole is quicker. Raises ValueError or zlib.error for parts not as they must be."""
    needed = _needed_parts(plan, boxes)
    if plan.deflated and needed.mean() > _MOST_WORTHWHILE:
        return None
    pixels = np.zeros((plan.height, plan.width, 3), np.uint8)
    for part in np.flatnonzero(needed).tolist():
        rows, columns = plan.place(part)
        height = plan.part_height if plan.tiled else rows.stop - rows.start
        shape = (height, plan.part_width, 3)
        file.seek(plan.offsets[part])
        content = file.read(plan.sizes[part])
        if plan.deflated:
            content = _inflate(content, height * plan.part_width * 3)
        decoded = np.frombuffer(content, np.uint8, count=height * plan.part_width * 3).reshape(shape)
        if plan.differences:
            decoded = np.cumsum(decoded, axis=1, dtype=np.uint8)
        pixels[rows, columns] = decoded[: rows.stop - rows.start, : columns.stop - columns.start]
    return pixels


def _inflate(content: bytes, num_bytes: int) -> bytes:
    """Exactly so many bytes, never more in memory; the checksum of the stream has been compared."""
    stream = zlib.decompressobj()
    inflated = stream.decompress(content, num_bytes + 1)
    if len(inflated) != num_bytes or not stream.eof:
        raise ValueError(f"{len(inflated)} bytes where {num_bytes} are due")
    return inflated


def _needed_parts(plan: _Plan, boxes: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """bool [rows, columns] of the grid: which parts any box touches."""
    needed = np.zeros(plan.grid, bool)
    down, across = plan.part_height, plan.part_width
    for x0, y0, x1, y1 in _inside(boxes, plan.width, plan.height):
        needed[y0 // down : (y1 - 1) // down + 1, x0 // across : (x1 - 1) // across + 1] = True
    return needed


def _inside(boxes: npt.NDArray[np.int32], width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """The boxes cut at the edges of the scene, without those of which nothing is left."""
    for x0, y0, x1, y1 in boxes.tolist():
        x0, y0, x1, y1 = max(0, x0), max(0, y0), min(width, x1), min(height, y1)
        if x0 < x1 and y0 < y1:
            yield x0, y0, x1, y1
