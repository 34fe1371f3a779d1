"""Building a cache: decode in parallel, write in order, and mark a row only when its pixels are on the disk.

The working half of `cache`, which holds the lock while any of this runs. Killed at any moment, it goes on where the
last mark stands and ends with the same bytes.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from linnaeus.data.decode import PILLOW_RULES, crop, read_image
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.manifest import Manifest
from linnaeus.errors import UnreadableImageError
from linnaeus.progress import Progress
from linnaeus.rundir import write_json

PIXELS, STATE, PROBLEMS, INFO = "pixels.u8", "state.u8", "problems.jsonl", "info.json"

NOT_YET, GOOD, BAD, BAD_FOR_NOW = 0, 1, 2, 3
"""States of a row. What the system refused (no permission, a lost network drive) is tried again at the next opening;
the image itself may be fine, and its size and time would not change."""
UNFINISHED = (NOT_YET, BAD_FOR_NOW)

_CHUNK_BYTES, _CHUNK_ROWS = 32 * 2**20, 4096
_TASK_ROWS = 32
"""A chunk is what a kill can cost; a task is what a thread does at a time."""

_States = npt.NDArray[np.uint8]


def read_state(path: Path, shape: tuple[int, ...]) -> _States | None:
    """uint8 [N], or None if there is no cache of this shape in `path`."""
    try:
        if not (path / INFO).is_file() or (path / PIXELS).stat().st_size != int(np.prod(shape)):
            return None
        state = np.fromfile(path / STATE, np.uint8)
    except FileNotFoundError:
        return None
    return state if len(state) == shape[0] else None


def read_problems(path: Path, state: _States) -> dict[int, str]:
    """Row -> reason, for every bad row. Lines that a kill tore are of rows not marked bad."""
    bad = np.flatnonzero((state == BAD) | (state == BAD_FOR_NOW)).tolist()
    problems = dict.fromkeys(bad, "it could not be decoded")
    if bad:
        for line in (path / PROBLEMS).read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row, reason = json.loads(line)
            except ValueError:
                continue
            if row in problems:
                problems[row] = reason
    return problems


def create(path: Path, spec: ImageSpec, num_rows: int) -> _States:
    """Lay out an empty cache in `path`, replacing what is there; returns its states, all NOT_YET.

    All space is taken now: a memory map over a full disk would kill the process. Raises OSError, and then leaves
    nothing behind.
    """
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        _allocate(path / PIXELS, num_rows * spec.height * spec.width * 3)
        _allocate(path / STATE, num_rows)
        (path / PROBLEMS).touch()
        facts = {"num_images": num_rows, "height": spec.height, "width": spec.width, "resize": spec.resize}
        write_json(path / INFO, facts | {"created": datetime.now(UTC).isoformat(timespec="seconds")})
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return np.zeros(num_rows, np.uint8)


def _allocate(path: Path, num_bytes: int) -> None:
    with path.open("wb") as file:
        if shutil.disk_usage(path.parent).free < num_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, num_bytes)
            return
        zeros = bytes(2**20)
        for start in range(0, num_bytes, len(zeros)):
            file.write(zeros[: num_bytes - start])


def build(path: Path, manifest: Manifest, spec: ImageSpec, state: _States, *, threads: int, progress: Progress) -> None:
    """Decode every row that `state` says is unfinished, and bring `state` and the files up to date."""
    todo = np.flatnonzero(np.isin(state, UNFINISHED))
    if len(todo) == 0:
        return
    row_bytes = spec.height * spec.width * 3
    chunk_rows = int(np.clip(_CHUNK_BYTES // row_bytes, 2 * threads, _CHUNK_ROWS))
    chunks = [todo[start : start + chunk_rows] for start in range(0, len(todo), chunk_rows)]
    task_rows = max(1, min(_TASK_ROWS, chunk_rows // (2 * threads)))
    known = read_problems(path, state)
    executor = ThreadPoolExecutor(threads, thread_name_prefix="linnaeus-decode")
    with (
        PILLOW_RULES,
        (path / PIXELS).open("r+b") as pixels_file,
        (path / STATE).open("r+b") as state_file,
        (path / PROBLEMS).open("ab") as problems_file,
        progress.task("Reading images", total=len(todo), unit="images") as bar,
    ):

        def submit(rows: npt.NDArray[np.int64]) -> list[Future[_Decoded]]:
            parts = (rows[start : start + task_rows] for start in range(0, len(rows), task_rows))
            return [executor.submit(_decode_rows, manifest.take(part), part, spec) for part in parts]

        try:
            upcoming = submit(chunks[0])
            for position, rows in enumerate(chunks):
                # The next chunk is decoded while this one is on its way to the disk.
                tasks, upcoming = upcoming, submit(chunks[position + 1]) if position + 1 < len(chunks) else []
                for task in tasks:
                    done = task.result()
                    _write_pixels(pixels_file, done, row_bytes)
                    _write_problems(problems_file, done, known)
                    state[done.rows] = done.states
                    bar.advance(len(done.rows))
                _to_disk(pixels_file)
                _to_disk(problems_file)
                state_file.seek(int(rows[0]))
                state_file.write(state[rows[0] : rows[-1] + 1].tobytes())
                _to_disk(state_file)
        finally:
            executor.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Decoded:
    """What one task made of its rows: uint8 [n, H, W, 3] and their states; bad rows are black."""

    rows: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint8]
    states: _States
    problems: dict[int, str]


def _decode_rows(part: Manifest, rows: npt.NDArray[np.int64], spec: ImageSpec) -> _Decoded:
    pixels = np.zeros((len(rows), spec.height, spec.width, 3), np.uint8)
    states = np.full(len(rows), GOOD, np.uint8)
    problems = {}
    open_uri, image = "", None
    for place, uri in enumerate(part.uris.to_pylist()):
        try:
            if uri != open_uri or image is None:  # a scene with many objects is decoded once
                open_uri, image = uri, None
                image = read_image(uri)
            cut = image if part.boxes is None else crop(image, part.boxes[place].tolist(), uri)
            pixels[place] = spec.fit(cut)
        except UnreadableImageError as error:
            states[place] = BAD_FOR_NOW if _is_passing(error.__cause__) else BAD
            problems[int(rows[place])] = str(error).removeprefix(f"{uri}: ")
    return _Decoded(rows, pixels, states, problems)


def _is_passing(cause: BaseException | None) -> bool:
    """Whether the system, not the image, was the reason. Pillow's own OSErrors carry no errno."""
    return isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno is not None)


def _write_pixels(file: BinaryIO, done: _Decoded, row_bytes: int) -> None:
    if done.rows[-1] - done.rows[0] == len(done.rows) - 1:
        file.seek(int(done.rows[0]) * row_bytes)
        file.write(done.pixels.data)
        return
    for row, pixels in zip(done.rows.tolist(), done.pixels, strict=True):
        file.seek(row * row_bytes)
        file.write(pixels.data)


def _write_problems(file: BinaryIO, done: _Decoded, known: dict[int, str]) -> None:
    """The newline comes first, so that a line torn by a kill ends before the next begins."""
    for row, reason in done.problems.items():
        if known.get(row) != reason:
            file.write(f"\n{json.dumps([row, reason])}".encode())


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def format_bytes(count: int) -> str:
    """Decimal units, one digit: 1.2 GB."""
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
