"""The cache: every image decoded once, brought to the network's size, and kept as memory-mapped uint8.

Between decode and loader in the life of an image. One folder per set of images and geometry, below `cache_folder()`:

    images-KEY/pixels.u8        uint8 [N, H, W, 3], nothing else
               state.u8         one byte per row: not yet, good, bad, or bad for now
               problems.jsonl   row and reason of each bad row
               info.json        what the other files are; written last, its time is that of the last use
    images-KEY.lock             held while one process builds

The key covers ids, sizes and times of the files, boxes and geometry, so a changed file is seen and a moved data set is
found again. Building may be killed at any moment: a row is marked only after its pixels are on the disk. Knows nothing
of labels, splits or devices, and writes nothing into the user's data.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs

from linnaeus.data.array_images import file_of
from linnaeus.data.cache_build import (
    INFO,
    PIXELS,
    UNFINISHED,
    build,
    create,
    format_bytes,
    read_problems,
    read_state,
)
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.manifest import Manifest
from linnaeus.data.sources.builtin import SCHEME
from linnaeus.errors import OutputError
from linnaeus.machine import usable_cores
from linnaeus.progress import SILENT, Progress

FORMAT = 1
"""Raised when the same files would give other pixels; caches of another format are not found any more."""
_NAME = re.compile(r"images-[0-9a-f]{32}")
_EXTRACTED = re.compile(r"extracted-[0-9a-f]{32}")
_FEATURES = re.compile(r"features-[0-9a-f]{24}")


@dataclass(frozen=True)
class CachedImages:
    """The decoded images of a manifest, row by row.

    Attributes:
        path: the folder of this cache.
        pixels: uint8 [N, H, W, 3], 0-255, a copy-on-write memory map: nothing written to it reaches the file.
        readable: bool [N]; the pixels of other rows mean nothing and must not be used.
        problems: row number -> why it is not readable.
    """

    path: Path
    pixels: npt.NDArray[np.uint8]
    readable: npt.NDArray[np.bool_]
    problems: dict[int, str]


@dataclass(frozen=True)
class CacheEntry:
    """One cache on disk, as `linnaeus cache` lists it; times are aware, in UTC."""

    path: Path
    num_images: int
    height: int
    width: int
    num_bytes: int
    created: datetime
    last_used: datetime


def cache_folder() -> Path:
    """Where caches are kept: $LINNAEUS_CACHE, or `linnaeus` in the user's cache folder."""
    override = os.environ.get("LINNAEUS_CACHE")
    return Path(override).expanduser() if override else platformdirs.user_cache_path("linnaeus", appauthor=False)


def open_cache(
    manifest: Manifest,
    spec: ImageSpec,
    *,
    folder: Path | None = None,
    threads: int = 0,
    progress: Progress = SILENT,
) -> CachedImages:
    """The images of a manifest at the size of `spec`; decodes those that no earlier run has decoded.

    Args:
        manifest: at least one row.
        spec: height, width, resize and interpolation count; mean and std do not.
        folder: where caches are kept; `cache_folder()` if None.
        threads: that decode; 0 takes every core the process may use.
        progress: hears of the images decoded, and of waiting for another process that builds the same.

    Raises OutputError if the folder cannot be written or the disk is full. Unreadable images are no error here; they
    are told in `readable` and `problems`.
    """
    assert len(manifest) > 0, "a manifest without rows"
    root = cache_folder() if folder is None else folder
    path = root / f"images-{cache_key(manifest, spec)}"
    shape = (len(manifest), spec.height, spec.width, 3)
    needed = int(np.prod(shape))
    try:
        state = read_state(path, shape)
        if state is None or np.isin(state, UNFINISHED).any():
            root.mkdir(parents=True, exist_ok=True)
            with locked(path, progress, work="building the cache of these images"):
                state = read_state(path, shape)
                if state is None:
                    state = create(path, spec, len(manifest))
                build(path, manifest, spec, state, threads=threads or usable_cores(), progress=progress)
        with contextlib.suppress(OSError):  # somebody else's cache may be used but not touched
            os.utime(path / INFO)
        pixels = np.memmap(path / PIXELS, np.uint8, mode="c", shape=shape)
        problems = read_problems(path, state)
    except OSError as error:
        raise OutputError(_explain(error, root, needed)) from error
    return CachedImages(path, pixels, state == 1, problems)


def cache_key(manifest: Manifest, spec: ImageSpec) -> str:
    """32 hex digits over the ids in their order, size and modification time of each file, boxes and geometry."""
    geometry = [FORMAT, len(manifest), spec.height, spec.width, spec.resize, spec.interpolation]
    digest = hashlib.sha256(json.dumps(geometry).encode())
    digest.update("\0".join(manifest.ids.to_pylist()).encode())
    digest.update(_file_marks(manifest.uris.to_pylist()).tobytes())
    if manifest.boxes is not None:
        digest.update(np.ascontiguousarray(manifest.boxes).tobytes())
    return digest.hexdigest()[:32]


def _file_marks(uris: list[str]) -> npt.NDArray[np.int64]:
    """int64 [N, 2]: bytes and modification time in ns of each file; -1 for one that is not there, 0 for built-ins."""
    marks = np.zeros((len(uris), 2), np.int64)
    previous = ""
    for row, uri in enumerate(uris):
        if uri == previous:  # objects of one scene
            marks[row] = marks[row - 1]
        elif not uri.startswith(SCHEME):
            try:
                status = os.stat(file_of(uri))  # noqa: PTH116 - a Path for each of a million files would take seconds
                marks[row] = status.st_size, status.st_mtime_ns
            except (OSError, ValueError):
                marks[row] = -1
        previous = uri
    return marks


def list_caches(folder: Path | None = None) -> list[CacheEntry]:
    """All caches in `folder` (`cache_folder()` if None), last used first; half-built ones too."""
    entries = []
    for path in _cache_paths(folder):
        try:
            info = json.loads((path / INFO).read_text(encoding="utf-8"))
            used = datetime.fromtimestamp((path / INFO).stat().st_mtime, UTC)
            size, created = (info["num_images"], info["height"], info["width"]), datetime.fromisoformat(info["created"])
        except (OSError, ValueError, KeyError):
            continue  # killed before it began, or being deleted
        entries.append(CacheEntry(path, *size, _num_bytes(path), created, used))
    return sorted(entries, key=lambda entry: entry.last_used, reverse=True)


def clear_caches(folder: Path | None = None) -> int:
    """Delete all caches in `folder` (`cache_folder()` if None) except those being built; returns the bytes freed.

    Files extracted from archives and features go too. Nothing but caches is touched, whatever else the folder holds. A
    run that is reading a cache keeps its map.
    Raises OutputError if one cannot be deleted.
    """
    freed = 0
    for path in _extracted_paths(folder):
        freed += _num_bytes(path)
        shutil.rmtree(path, ignore_errors=True)
    for path in (*_cache_paths(folder), *_feature_paths(folder)):
        try:
            with locked(path, None):
                num_bytes = _num_bytes(path)
                shutil.rmtree(path)
                _lock_path(path).unlink(missing_ok=True)
                freed += num_bytes
        except BlockingIOError:
            continue
        except OSError as error:
            raise OutputError(f"Cannot delete {path}: {error.strerror or error}.") from error
    return freed


def _cache_paths(folder: Path | None) -> list[Path]:
    root = cache_folder() if folder is None else folder
    return sorted(path for path in root.glob("images-*") if _NAME.fullmatch(path.name) and path.is_dir())


def _extracted_paths(folder: Path | None) -> list[Path]:
    """What was taken out of compressed archives; it is extracted again when it is needed."""
    root = cache_folder() if folder is None else folder
    return sorted(path for path in root.glob("extracted-*") if _EXTRACTED.fullmatch(path.name) and path.is_dir())


def _feature_paths(folder: Path | None) -> list[Path]:
    root = cache_folder() if folder is None else folder
    return sorted(path for path in root.glob("features-*") if _FEATURES.fullmatch(path.name) and path.is_dir())


def feature_bytes(folder: Path | None = None) -> int:
    """What the features of frozen backbones take on disk."""
    return sum(_num_bytes(path) for path in _feature_paths(folder))


def _num_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file())


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


@contextlib.contextmanager
def locked(path: Path, progress: Progress | None, *, work: str = "") -> Iterator[None]:
    """Hold the lock of one cache; the system drops it when the process dies.

    With a progress, waits for whoever holds it, and says which `work` that is doing; without, raises BlockingIOError.
    Where the system has no flock (Windows) there is no lock.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    while True:
        with _lock_path(path).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if progress is None:
                    raise
                progress.say(f"Another process is {work}; waiting for it.")
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_same_file(file.fileno(), _lock_path(path)):
                continue  # it was deleted with its cache while we waited
            yield
            return


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _explain(error: OSError, root: Path, needed: int) -> str:
    advice = "Name another folder with the environment variable LINNAEUS_CACHE."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(root).free
        return (
            f"The disk is full: the image cache in {root} needs {format_bytes(needed)}, {format_bytes(free)} are free. "
            f"Free some space (linnaeus cache clear deletes all caches) or choose a smaller --image-size. {advice}"
        )
    return f"Cannot write the image cache in {root}: {error.strerror or error}. {advice}"
