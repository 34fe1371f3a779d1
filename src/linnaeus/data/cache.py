"""The cache: every image decoded once, brought to the network's size, and kept as memory-mapped uint8."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs


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
