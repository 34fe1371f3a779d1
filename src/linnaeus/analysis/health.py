"""Health: what each file is and what each image looks like, in one pass over the data that keeps a few numbers each.

Beside the cache in the life of an image: it reads the same files, through the same decoder, and writes nothing. The
audit is made from what is measured here. Knows nothing of labels, splits or networks.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from linnaeus.analysis.duplicates import FINGERPRINT_SIDE, THUMBNAIL_PX, take_fingerprints
from linnaeus.data.images.decode import PILLOW_RULES, crop, decode_bytes, read_image
from linnaeus.data.images.header import read_header
from linnaeus.data.manifest import Manifest
from linnaeus.errors import UnreadableImageError
from linnaeus.machine import usable_cores
from linnaeus.progress import SILENT, Progress

_TASK_ROWS = 64
_SHARPNESS_PX = 256
_ROUNDING = 20 / 12
"""What rounding to whole grey levels adds to the variance of the Laplacian: 4² + 4 times a twelfth."""
_DIGEST_BYTES = 16
_HEAD_BYTES = 32

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx"),
    "QOI": (".qoi",),
    "PPM": (".pbm", ".pgm", ".ppm", ".pnm"),
}
_FORMAT_OF_SUFFIX = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes}
_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"qoif": "QOI",
}


@dataclass(frozen=True)
class Health:
    """N samples, measured. Where a sample has no file of its own, `num_bytes` is 0 and `formats` is "".

    Attributes:
        num_bytes: int64 [N], of the file.
        formats: what the first bytes say the file is ("JPEG"), "" if they say nothing.
        modes: Pillow's name of how the pixels are stored ("RGB", "L"); "" if the file cannot be opened.
        sizes: int32 [N, 2], width and height in pixels of the upright image (of the box, where there is one).
        content: bytes [N, 16], digest of the file and box; all zero where it could not be read.
        pixels: bytes [N, 16], digest of the decoded pixels; all zero where they could not be decoded.
        brightness, contrast: float32 [N], mean and standard deviation of grey, 0-255; NaN where unreadable.
        sharpness: float32 [N], energy of the finest detail over all detail, at 256 px; NaN where unreadable or flat.
        fingerprints: float16 [N, 16, 16], of `duplicates.take_fingerprints`.
        problems: row -> why it cannot be decoded.
    """

    num_bytes: npt.NDArray[np.int64]
    formats: npt.NDArray[np.object_]
    modes: npt.NDArray[np.object_]
    sizes: npt.NDArray[np.int32]
    content: npt.NDArray[np.uint8]
    pixels: npt.NDArray[np.uint8]
    brightness: npt.NDArray[np.float32]
    contrast: npt.NDArray[np.float32]
    sharpness: npt.NDArray[np.float32]
    fingerprints: npt.NDArray[np.float16]
    problems: dict[int, str]

    def __len__(self) -> int:
        return len(self.num_bytes)

    @property
    def readable(self) -> npt.NDArray[np.bool_]:
        """bool [N]."""
        mask = np.ones(len(self), np.bool_)
        mask[list(self.problems)] = False
        return mask


def sniff_format(head: bytes) -> str:
    """The format that the first bytes of a file announce, or "" if they announce none that we know."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    if len(head) > 2 and head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    return next((name for start, name in _STARTS.items() if head.startswith(start)), "")


def format_of_name(name: str) -> str:
    """The format that a file's extension promises, or "" if it promises none."""
    return _FORMAT_OF_SUFFIX.get(Path(name).suffix.lower(), "")


def wrongly_named(uris: list[str]) -> dict[int, tuple[str, str]]:
    """Row -> (format promised by the extension, format found), from the first bytes of each file; no image is decoded.

    Files that are missing, empty or of no known format are left to whoever decodes them.
    """
    wrong = {}
    for row, uri in enumerate(uris):
        if "://" in uri:
            continue
        promised = format_of_name(uri)
        try:
            with open(uri, "rb") as file:  # noqa: PTH123 - a Path for each of a million files would take seconds
                found = sniff_format(file.read(_HEAD_BYTES))
        except (OSError, ValueError):
            continue
        if promised and found and promised != found:
            wrong[row] = (promised, found)
    return wrong


def examine(manifest: Manifest, *, threads: int = 0, progress: Progress = SILENT) -> Health:
    """Read and decode every sample once and measure it. Unreadable ones are told in `problems`; nothing is raised.

    Args:
        manifest: N rows; rows of one scene are best next to each other, a scene is then decoded once.
        threads: that decode; 0 takes every core the process may use.
        progress: hears of the images read.
    """
    num_rows = len(manifest)
    health = _empty(num_rows)
    threads = threads or usable_cores()
    parts = (np.arange(start, min(start + _TASK_ROWS, num_rows)) for start in range(0, num_rows, _TASK_ROWS))
    with (
        PILLOW_RULES,
        ThreadPoolExecutor(threads, thread_name_prefix="linnaeus-examine") as executor,
        progress.task("Examining images", total=num_rows, unit="images") as bar,
    ):
        waiting = [
            executor.submit(_examine_rows, manifest, rows, health) for rows in itertools.islice(parts, 4 * threads)
        ]
        while waiting:
            bar.advance(waiting.pop(0).result())
            waiting += [executor.submit(_examine_rows, manifest, rows, health) for rows in itertools.islice(parts, 1)]
    return health


def _empty(num_rows: int) -> Health:
    def missing() -> npt.NDArray[np.float32]:
        return np.full(num_rows, np.nan, np.float32)

    return Health(
        num_bytes=np.zeros(num_rows, np.int64),
        formats=np.full(num_rows, "", object),
        modes=np.full(num_rows, "", object),
        sizes=np.zeros((num_rows, 2), np.int32),
        content=np.zeros((num_rows, _DIGEST_BYTES), np.uint8),
        pixels=np.zeros((num_rows, _DIGEST_BYTES), np.uint8),
        brightness=missing(),
        contrast=missing(),
        sharpness=missing(),
        fingerprints=np.zeros((num_rows, FINGERPRINT_SIDE, FINGERPRINT_SIDE), np.float16),
        problems={},
    )


def _examine_rows(manifest: Manifest, rows: npt.NDArray[np.int64], health: Health) -> int:
    """Fill these rows of `health`; rows of different calls never overlap. Returns how many there were."""
    part = manifest.take(rows)
    thumbnails = np.zeros((len(rows), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    for place, (row, image) in enumerate(_decoded(part, rows, health)):
        if image is None:
            continue
        grey = Image.fromarray(image).convert("L")
        health.pixels[row] = _digest(image.shape, image.tobytes())
        thumbnail = grey.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX, reducing_gap=2.0)
        thumbnails[place] = np.asarray(thumbnail)
        grey.thumbnail((_SHARPNESS_PX, _SHARPNESS_PX), Image.Resampling.BOX, reducing_gap=2.0)
        values = np.asarray(grey, np.float32)
        health.brightness[row], health.contrast[row] = values.mean(), values.std()
        health.sharpness[row] = _sharpness(values)
    health.fingerprints[rows] = take_fingerprints(thumbnails)
    return len(rows)


def _decoded(
    part: Manifest, rows: npt.NDArray[np.int64], health: Health
) -> Iterator[tuple[int, npt.NDArray[np.uint8] | None]]:
    """Row and pixels of each sample, None where it is unreadable; notes what its file is on the way."""
    open_uri, content, whole = "", b"", None
    for place, (row, uri) in enumerate(zip(rows.tolist(), part.uris.to_pylist(), strict=True)):
        box = None if part.boxes is None else part.boxes[place].tolist()
        try:
            if uri != open_uri or whole is None:
                open_uri, whole = uri, None
                content = b"" if "://" in uri else _note_file(uri, row, health)
                whole = read_image(uri) if "://" in uri else _decode(uri, content)
            else:
                for column in (health.num_bytes, health.formats, health.modes, health.content):
                    column[row] = column[row - 1]
            image = whole if box is None else crop(whole, box, uri)
        except UnreadableImageError as error:
            health.problems[row] = str(error).removeprefix(f"{uri}: ")
            yield row, None
            continue
        if box is not None:
            health.content[row] = _digest(tuple(box), health.content[row].tobytes())
        if box is not None or not health.sizes[row].any():
            health.sizes[row] = image.shape[1], image.shape[0]
        yield row, image


def _note_file(uri: str, row: int, health: Health) -> bytes:
    """Read a file and note its size, digest, format, and what its header says; returns its content."""
    try:
        content = Path(uri).read_bytes()
    except (OSError, ValueError):
        read_image(uri)  # says why
        return b""
    health.num_bytes[row] = len(content)
    health.content[row] = _digest((), content)
    health.formats[row] = sniff_format(content[:_HEAD_BYTES])
    # Pillow raises anything on damaged headers; decoding tells the user why.
    with contextlib.suppress(Exception):
        header = read_header(io.BytesIO(content))
        health.modes[row], health.sizes[row] = header.mode, (header.width, header.height)
    return content


def _decode(uri: str, content: bytes) -> npt.NDArray[np.uint8]:
    try:
        return decode_bytes(content)
    except Exception:
        return read_image(uri)  # the same failure, now in words


def _digest(parts: tuple[int, ...], content: bytes) -> npt.NDArray[np.uint8]:
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=_DIGEST_BYTES)
    digest.update(content)
    return np.frombuffer(digest.digest(), np.uint8)


def _sharpness(grey: npt.NDArray[np.float32]) -> float:
    """Variance of the Laplacian over the variance of the image; NaN for a flat or tiny one."""
    if min(grey.shape) < 8 or grey.std() < 1:
        return float("nan")
    middle = grey[1:-1, 1:-1]
    laplacian = 4 * middle - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return max(0.0, float(laplacian.var()) - _ROUNDING) / float(grey.var())
