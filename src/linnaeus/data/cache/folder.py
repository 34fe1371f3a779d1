"""The folder of all caches: where it lies, what is in it, and one lock for each cache.

    images-KEY     decoded images          (`images`)
    features-KEY   what a frozen backbone gave for them
    extracted-KEY  members of compressed archives

Knows nothing of how any of them is made or read.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from linnaeus.errors import OutputError
from linnaeus.progress import Progress

INFO = "info.json"
_NAME = re.compile(r"images-[0-9a-f]{32}")
_EXTRACTED = re.compile(r"extracted-[0-9a-f]{32}")
_FEATURES = re.compile(r"features-[0-9a-f]{24}")


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
