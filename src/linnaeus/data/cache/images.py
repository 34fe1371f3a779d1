"""The cache: every image decoded once, brought to the network's size, and kept as memory-mapped uint8.

Between decode and loader in the life of an image. One folder per set of images and geometry, below `cache_folder()`:

    images-KEY/pixels.u8        uint8 [N, H, W, 3], nothing else
               state.u8         one byte per row: not yet, good, bad, or bad for now
               problems.jsonl   row and reason of each bad row
               info.json        what the other files are; written last, its time is that of the last use
    images-KEY.lock             held while one process builds

The key covers everything that shapes a pixel: ids, what the uris say beyond the folder the data lies in (a row's layout
in its array, its member of an archive), sizes, times and a sample of the content of the files, boxes and geometry. So a
changed file or another reading of it is seen, and a moved data set is found again. Building may be killed at any
moment: a row is marked only after its pixels are on the disk. Knows nothing of labels, splits or devices, and writes
nothing into the user's data.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from linnaeus.atomic import locked
from linnaeus.data.cache.build import (
    PIXELS,
    UNFINISHED,
    build,
    create,
    format_bytes,
    read_problems,
    read_state,
)
from linnaeus.data.cache.folder import INFO, cache_folder
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.images import arrays, builtin
from linnaeus.data.images.arrays import file_of
from linnaeus.data.manifest import Manifest
from linnaeus.errors import OutputError
from linnaeus.machine import usable_cores
from linnaeus.progress import SILENT, Progress

FORMAT = 2
"""Raised when the same files would give other pixels; caches of another format are not found any more."""
_SAMPLED_FILES, _SAMPLED_BYTES = 32, 1024
"""Folders unpacked from archives can agree in every name, size and time; some bytes of some files tell them apart."""


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
    """32 hex digits over all that shapes a pixel: ids and uris in their order, the files behind them, boxes, geometry.

    Of a uri everything counts but the folder that all files share, of a file its size, its modification time and, of
    a sample of the files, a few bytes.
    """
    uris: list[str] = manifest.uris.to_pylist()
    geometry = [FORMAT, len(manifest), spec.height, spec.width, spec.resize, spec.interpolation]
    digest = hashlib.sha256(json.dumps(geometry).encode())
    for names in (manifest.ids.to_pylist(), _without_folder(uris)):
        digest.update("\0".join(names).encode() + b"\0\0")
    digest.update(_file_marks(uris).tobytes())
    digest.update(_sampled_content(uris))
    if manifest.boxes is not None:
        digest.update(np.ascontiguousarray(manifest.boxes).tobytes())
    return digest.hexdigest()[:32]


def _without_folder(uris: list[str]) -> list[str]:
    """The uris less the folder that all their files share: a moved data set keeps these."""
    starts = [len(arrays.SCHEME) if uri.startswith(arrays.SCHEME) else 0 for uri in uris]
    ends = [uri.index("?") if start else len(uri) for start, uri in zip(starts, uris, strict=True)]
    inside = [uri.startswith(builtin.SCHEME) for uri in uris]
    places = [uri[start:end] for uri, start, end, own in zip(uris, starts, ends, inside, strict=True) if not own]
    folder = os.path.commonprefix(places).rpartition("/")[0]  # noqa: RUF071 - commonpath splits a million paths
    return [
        uri if own else uri[:start] + uri[start + len(folder) :]
        for uri, start, own in zip(uris, starts, inside, strict=True)
    ]


def _file_marks(uris: list[str]) -> npt.NDArray[np.int64]:
    """int64 [N, 2]: bytes and modification time in ns of each file; -1 for one that is not there, 0 for built-ins."""
    marks = np.zeros((len(uris), 2), np.int64)
    previous = ""
    for row, uri in enumerate(uris):
        if uri == previous:  # objects of one scene
            marks[row] = marks[row - 1]
        elif not uri.startswith(builtin.SCHEME):
            try:
                status = os.stat(file_of(uri))  # noqa: PTH116 - a Path for each of a million files would take seconds
                marks[row] = status.st_size, status.st_mtime_ns
            except (OSError, ValueError):
                marks[row] = -1
        previous = uri
    return marks


def _sampled_content(uris: list[str]) -> bytes:
    """A digest over beginning, middle and end of some files, evenly spread; unreadable ones count as empty."""
    digest = hashlib.sha256()
    chosen = np.unique(np.linspace(0, len(uris) - 1, _SAMPLED_FILES).astype(np.int64)).tolist()
    for uri in dict.fromkeys(file_of(uris[row]) for row in chosen if not uris[row].startswith(builtin.SCHEME)):
        with contextlib.suppress(OSError, ValueError), Path(uri).open("rb") as file:
            num_bytes = file.seek(0, os.SEEK_END)
            for place in (0, num_bytes // 2, max(0, num_bytes - _SAMPLED_BYTES)):
                file.seek(place)
                digest.update(file.read(_SAMPLED_BYTES))
    return digest.digest()


def _explain(error: OSError, root: Path, needed: int) -> str:
    advice = "Name another folder with the environment variable LINNAEUS_CACHE."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(root).free
        return (
            f"The disk is full: the image cache in {root} needs {format_bytes(needed)}, {format_bytes(free)} are free. "
            f"Free some space (linnaeus cache clear deletes all caches) or choose a smaller --image-size. {advice}"
        )
    return f"Cannot write the image cache in {root}: {error.strerror or error}. {advice}"
