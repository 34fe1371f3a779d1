"""Images that lie in arrays: a uri that names a row of a file, and the pixels behind it, memory-mapped.

Beside the image files in the life of an image: readers of arrays, CIFAR and IDX make such uris, `decode` serves them.

    array://PATH?m=MEMBER&o=OFFSET&n=ROWS&t=DTYPE&s=H,W,C&b=ROW,H,W,C&v=VALUES#ROW

MEMBER is a file in a .zip, .npz or .tar.gz, `gz` the content of a .gz; OFFSET and the strides `b` are in bytes. What
cannot be mapped where it lies (compressed members) is first extracted into the user's cache folder, under names of
ours: a member's own name is never a path there. Nothing of a file is run. Knows nothing of labels.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Literal
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt

from linnaeus.atomic import locked, write_json, write_whole
from linnaeus.data.cache.folder import INFO, cache_folder
from linnaeus.errors import DataError, LinnaeusError, OutputError, UnreadableImageError
from linnaeus.progress import SILENT

SCHEME = "array://"
GZIPPED = "gz"
"""The member of a .gz, which has no name of its own."""
_ZIP_LOCAL_HEADER_BYTES = 30
_Stream = IO[bytes] | gzip.GzipFile
_LOCK = threading.Lock()

Values = Literal["bytes", "unit", "signed", "words"]
"""What a channel's values are: 0-255, 0-1, -1 to 1, or 0-65535."""
RANGES: dict[Values, tuple[float, float]] = {
    "bytes": (0, 255),
    "unit": (0, 1),
    "signed": (-1, 1),
    "words": (0, 65535),
}


@dataclass(frozen=True)
class ArrayView:
    """N images somewhere in a file.

    Attributes:
        path: the file that the user has; `member` says what in it, "" the file itself.
        offset: of the first value, in bytes.
        num_rows: N.
        dtype: NumPy's name, with byte order.
        shape: H, W, C; C is 1, 3 or 4.
        strides: bytes from row to row, line to line, pixel to pixel, channel to channel.
        values: their range.
    """

    path: Path
    member: str
    offset: int
    num_rows: int
    dtype: str
    shape: tuple[int, int, int]
    strides: tuple[int, int, int, int]
    values: Values = "bytes"

    def uris(self) -> list[str]:
        """One for each row."""
        numbers = f"o={self.offset}&n={self.num_rows}&t={quote(self.dtype)}"
        layout = f"s={','.join(map(str, self.shape))}&b={','.join(map(str, self.strides))}&v={self.values}"
        prefix = f"{SCHEME}{quote(str(self.path.absolute()))}?m={quote(self.member)}&{numbers}&{layout}#"
        return [f"{prefix}{row}" for row in range(self.num_rows)]

    def open(self) -> np.ndarray:
        """[N, H, W, C] of `dtype`, read-only and not loaded.

        Raises DataError if the file has not enough bytes, OSError if it cannot be reached.
        """
        dtype = np.dtype(self.dtype)
        file, start = locate(self.path, self.member)
        start += self.offset
        shape = (self.num_rows, *self.shape)
        length = sum((size - 1) * stride for size, stride in zip(shape, self.strides, strict=True)) + dtype.itemsize
        sound = min(shape) > 0 and min(self.strides) >= 0 and self.offset >= 0 and dtype.kind in "uifb"
        if not sound or start + length > file.stat().st_size:
            raise DataError(f"{self.path}: the file is truncated, {self.num_rows:,} images are not in it")
        whole = np.memmap(file, np.uint8, mode="r", offset=start, shape=(length,))
        return np.ndarray(shape, dtype, buffer=whole, strides=self.strides)


def file_of(uri: str) -> str:
    """The file that an `array://` uri, or a path, leads to."""
    return unquote(uri[len(SCHEME) : uri.index("?")]) if uri.startswith(SCHEME) else uri


def size_of(uri: str) -> tuple[int, int]:
    """(width, height) of the image that an `array://` uri names, as the uri says."""
    height, width, _ = _fields(uri.rpartition("#")[0])["s"].split(",")
    return int(width), int(height)


def read_array_pixels(uri: str) -> npt.NDArray[np.uint8]:
    """uint8 RGB [H, W, 3], 0-255, of an `array://` uri.

    Raises UnreadableImageError if the file is not there or has changed its shape, or if a value is out of the range
    that the others are in: nothing is clipped. Where the file could not be reached its `__cause__` is the OSError.
    """
    prefix, _, row = uri.rpartition("#")
    name = f"{file_of(uri)}, image {row}"
    try:
        with _LOCK:  # several threads read the same file; it is opened, and perhaps extracted, once
            status = Path(file_of(prefix)).stat()  # a file that was written anew is opened anew
            pixels, values = _open(prefix, (status.st_size, status.st_mtime_ns))
        if not 0 <= int(row) < len(pixels):
            raise UnreadableImageError(f"{name}: there are {len(pixels)} images")
        return to_rgb(pixels[int(row)], values)
    except FileNotFoundError as error:
        raise UnreadableImageError(f"{name}: the file is missing") from error
    except OSError as error:
        raise UnreadableImageError(f"{name}: the file cannot be read ({error.strerror or error})") from error
    except (DataError, ValueError, TypeError) as error:
        raise UnreadableImageError(f"{name}: {error}") from error


@lru_cache(maxsize=64)
def _open(prefix: str, mark: tuple[int, int]) -> tuple[np.ndarray, Values]:
    fields = _fields(prefix)
    if fields["v"] not in RANGES:
        raise DataError(f"unknown range of values {fields['v']}")
    height, width, channels = (int(size) for size in fields["s"].split(","))
    by_row, by_line, by_pixel, by_channel = (int(stride) for stride in fields["b"].split(","))
    view = ArrayView(
        path=Path(file_of(prefix)),
        member=unquote(fields["m"]),
        offset=int(fields["o"]),
        num_rows=int(fields["n"]),
        dtype=unquote(fields["t"]),
        shape=(height, width, channels),
        strides=(by_row, by_line, by_pixel, by_channel),
    )
    return view.open(), fields["v"]


def _fields(prefix: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in prefix.partition("?")[2].split("&"))


def to_rgb(image: np.ndarray, values: Values) -> npt.NDArray[np.uint8]:
    """One image [H, W, C] as uint8 RGB [H, W, 3]; a fourth channel is transparency, over white.

    Raises ValueError for values that are not finite or out of range.
    """
    if image.dtype != np.uint8 or values != "bytes":
        low, high = RANGES[values]
        numbers = image.astype(np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError("it holds values that are not finite numbers")
        if numbers.min() < low or numbers.max() > high:
            raise ValueError(
                f"its values go from {numbers.min():g} to {numbers.max():g}, those of other images from {low} to {high}"
            )
        image = np.rint((numbers - low) * (255 / (high - low))).astype(np.uint8)
    if image.shape[2] == 4:
        opacity = image[..., 3:].astype(np.uint16)
        image = ((image[..., :3] * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else np.ascontiguousarray(image)


def locate(path: Path, member: str) -> tuple[Path, int]:
    """A file that can be mapped, and where in it the content of `member` begins; extracts it if need be.

    Raises DataError for a damaged or unknown archive, OSError or OutputError if a file cannot be read or written.
    """
    if not member:
        return path, 0
    if member != GZIPPED and zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                info = archive.getinfo(member)
            if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
                return path, _zip_offset(path, info)
        except (zipfile.BadZipFile, KeyError, NotImplementedError) as error:
            raise DataError(f"{path}: {error}") from error
    return extract(path, [member])[member], 0


def _zip_offset(path: Path, info: zipfile.ZipInfo) -> int:
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(_ZIP_LOCAL_HEADER_BYTES)
    if len(header) < _ZIP_LOCAL_HEADER_BYTES or header[:4] != b"PK\x03\x04":
        raise DataError(f"{path}: the entry of {info.filename} is damaged")
    name_and_extra = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return info.header_offset + _ZIP_LOCAL_HEADER_BYTES + name_and_extra


def extract(path: Path, members: Collection[str]) -> dict[str, Path]:
    """Members of a .zip, .npz, .tar or .tar.gz, or the content of a .gz, as files in the user's cache folder.

    What has been extracted before is found again while the archive has the same size and time. Raises DataError naming
    the archive if it is damaged or lacks a member, OutputError if the cache folder cannot be written.
    """
    status = path.stat()
    key = hashlib.sha256(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()[:32]
    folder = cache_folder() / f"extracted-{key}"
    files = {member: folder / f"{hashlib.sha256(member.encode()).hexdigest()[:32]}.bin" for member in members}
    if all(file.exists() for file in files.values()):
        with contextlib.suppress(OSError):  # somebody else's may be used but not touched
            os.utime(folder / INFO)
        return files
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write {folder}: {error.strerror or error}.") from error
    with locked(folder, SILENT):  # another process that extracts the same is waited for
        _extract_missing(path, {member: file for member, file in files.items() if not file.exists()})
        write_json(folder / INFO, {"holds": f"members of {path.name}", "archive": str(path.resolve())})
    return files


def _extract_missing(path: Path, files: dict[str, Path]) -> None:
    """Write each member to its file. Raises as `extract` does."""
    missing = set(files)
    if not missing:
        return
    try:
        if GZIPPED in missing:
            with gzip.open(path) as unpacked:
                _write(files[GZIPPED], unpacked)
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in missing:
                    with archive.open(member) as stream:
                        _write(files[member], stream)
        else:
            _extract_tar(path, missing, lambda member, stream: _write(files[member], stream))
    except LinnaeusError:
        raise
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, KeyError, RuntimeError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    except OSError as error:
        if error.errno is None:  # gzip.BadGzipFile
            raise DataError(f"{path} is damaged: {error}") from error
        raise


def _extract_tar(path: Path, members: set[str], write: Callable[[str, IO[bytes]], None]) -> None:
    """In one pass: a compressed archive cannot be read out of order."""
    wanted = set(members)
    with tarfile.open(path, "r|*") as archive:
        for entry in archive:
            if entry.name in wanted and entry.isreg():
                stream = archive.extractfile(entry)
                assert stream is not None
                write(entry.name, stream)
                wanted.remove(entry.name)
                if not wanted:
                    return
    raise DataError(f"{path} is damaged: it has no {', '.join(sorted(wanted))}.")


def _write(file: Path, stream: _Stream) -> None:
    try:
        write_whole(file, lambda temporary: _copy(stream, temporary))
    except LinnaeusError as error:
        if isinstance(error.__cause__, gzip.BadGzipFile):
            raise error.__cause__ from None
        raise


def _copy(stream: _Stream, target: Path) -> None:
    with target.open("wb") as file:
        shutil.copyfileobj(stream, file, 2**20)
