"""The folder of all caches: where it lies, and what is in it, of every kind.

    images-KEY        decoded images                              (`images`)
    features-KEY      what a frozen backbone gave for them        (`training.features`)
    extracted-KEY     members of compressed archives              (`data.images.arrays`)
    torchvision-NAME  a data set from the network, as class folders (`data.sources.hub`)
    hf-NAME           likewise

Whoever builds one holds its lock (`atomic.locked`), and may say in its `info.json` what it `holds`. Knows nothing of
how any of them is made or read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from linnaeus.atomic import locked
from linnaeus.errors import OutputError

INFO = "info.json"
KINDS = {
    "images": r"[0-9a-f]{32}",
    "features": r"[0-9a-f]{24}",
    "extracted": r"[0-9a-f]{32}",
    "torchvision": r"[A-Za-z0-9._-]+",
    "hf": r"[A-Za-z0-9._-]+",
}
"""What stands before the dash in the name of a cache, and how the rest looks; other folders are none of ours."""
_NAME = re.compile("|".join(f"{kind}-{rest}" for kind, rest in KINDS.items()))


@dataclass(frozen=True)
class CacheEntry:
    """One cache on disk, as `linnaeus cache` lists it.

    Attributes:
        path: its folder.
        kind: of KINDS.
        holds: what is in it, for people; "" where it does not say.
        num_bytes: on disk.
        last_used: aware, in UTC.
    """

    path: Path
    kind: str
    holds: str
    num_bytes: int
    last_used: datetime


def cache_folder() -> Path:
    """Where caches are kept: $LINNAEUS_CACHE, or `linnaeus` in the user's cache folder."""
    override = os.environ.get("LINNAEUS_CACHE")
    return Path(override).expanduser() if override else platformdirs.user_cache_path("linnaeus", appauthor=False)


def unfinished(path: Path) -> Path:
    """Where a cache that is renamed to `path` when it is whole is built; whoever builds holds the lock of `path`."""
    return path.with_name(f".{path.name}.part")


def list_caches(folder: Path | None = None) -> list[CacheEntry]:
    """All caches of every kind in `folder` (`cache_folder()` if None), last used first; half-built ones too."""
    entries = []
    for path, whole in _caches(folder):
        try:
            holds, used = _described(path)
            entries.append(CacheEntry(path, whole.name.partition("-")[0], holds, _num_bytes(path), used))
        except OSError:
            continue  # it is being deleted
    return sorted(entries, key=lambda entry: entry.last_used, reverse=True)


def clear_caches(folder: Path | None = None) -> int:
    """Delete all caches in `folder` (`cache_folder()` if None) except those being built; returns the bytes freed.

    Nothing but caches is touched, whatever else the folder holds. A run that is reading a cache keeps its map.
    Raises OutputError if one cannot be deleted.
    """
    freed = 0
    for path, whole in _caches(folder):
        try:
            with locked(whole, None):
                num_bytes = _num_bytes(path)
                shutil.rmtree(path)
                freed += num_bytes
        except (BlockingIOError, FileNotFoundError):  # it is being built, or somebody else has just deleted it
            continue
        except OSError as error:
            raise OutputError(f"Cannot delete {path}: {error.strerror or error}.") from error
    return freed


def _caches(folder: Path | None) -> Iterator[tuple[Path, Path]]:
    """Every cache, and the path that it has when it is whole."""
    root = cache_folder() if folder is None else folder
    for path in sorted(root.glob("*")):
        whole = path.with_name(path.name[1:].removesuffix(".part")) if path.name.startswith(".") else path
        if path in (whole, unfinished(whole)) and _NAME.fullmatch(whole.name) and path.is_dir():
            yield path, whole


def _described(path: Path) -> tuple[str, datetime]:
    """What a cache says it holds, and the time of its last use. Raises OSError if it is gone."""
    try:
        used = (path / INFO).stat().st_mtime
        holds = str(json.loads((path / INFO).read_text(encoding="utf-8"))["holds"])
    except FileNotFoundError:  # killed before it began, or a data set, which has nothing but images in it
        used, holds = path.stat().st_mtime, ""
    except (ValueError, KeyError, TypeError):
        holds = ""
    return holds, datetime.fromtimestamp(used, UTC)


def _num_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
