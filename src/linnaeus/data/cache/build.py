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

from linnaeus.atomic import write_json
from linnaeus.data.cache.folder import INFO
from linnaeus.data.cache.tasks import Task, plan_tasks
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.images.decode import PILLOW_RULES, crop, read_image
from linnaeus.data.manifest import Manifest
from linnaeus.errors import UnreadableImageError
from linnaeus.progress import Progress

PIXELS, STATE, PROBLEMS = "pixels.u8", "state.u8", "problems.jsonl"

NOT_YET, GOOD, BAD, BAD_FOR_NOW = 0, 1, 2, 3
"""States of a row. What the system refused (no permission, a lost network drive) is tried again at the next opening;
the image itself may be fine, and its size and time would not change."""
UNFINISHED = (NOT_YET, BAD_FOR_NOW)

_CHUNK_BYTES, _CHUNK_ROWS = 32 * 2**20, 4096
_TASK_ROWS = 32
"""A chunk is what a kill can cost; a task is what a thread does at a time."""
_MOST_CHUNK_BYTES = 256 * 2**20
"""A chunk may grow to this until every thread has a scene of its own."""

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
        write_json(
            path / INFO,
            {
                "holds": f"{num_rows:,} images of {spec.width} x {spec.height} px",
                "num_images": num_rows,
                "height": spec.height,
                "width": spec.width,
                "resize": spec.resize,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
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
    chunks = plan_tasks(
        manifest,
        todo,
        chunk_rows=chunk_rows,
        task_rows=max(1, min(_TASK_ROWS, chunk_rows // (2 * threads))),
        min_tasks=2 * threads,
        most_rows=_MOST_CHUNK_BYTES // row_bytes,
    )
    known = read_problems(path, state)
    executor = ThreadPoolExecutor(threads, thread_name_prefix="linnaeus-decode")
    with (
        PILLOW_RULES,
        (path / PIXELS).open("r+b") as pixels_file,
        (path / STATE).open("r+b") as state_file,
        (path / PROBLEMS).open("ab") as problems_file,
        progress.task("Reading images", total=len(todo), unit="images") as bar,
    ):

        def submit(tasks: list[Task]) -> list[Future[_Decoded]]:
            return [executor.submit(_decode_task, manifest.take(task.rows), task, spec) for task in tasks]

        try:
            upcoming = submit(next(chunks))
            while upcoming:
                # The next chunk is decoded while this one is on its way to the disk.
                current, upcoming = upcoming, submit(next(chunks, []))
                rows = []
                for future in current:
                    done = future.result()
                    _write_pixels(pixels_file, done, row_bytes)
                    _write_problems(problems_file, done, known)
                    state[done.rows] = done.states
                    rows.append(done.rows)
                    bar.advance(len(done.rows))
                _to_disk(pixels_file)
                _to_disk(problems_file)
                for run in _runs(np.sort(np.concatenate(rows))):
                    state_file.seek(int(run[0]))
                    state_file.write(state[run].tobytes())
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


def _decode_task(part: Manifest, task: Task, spec: ImageSpec) -> _Decoded:
    """`part` is the manifest of the task's rows."""
    pixels = np.zeros((len(part), spec.height, spec.width, 3), np.uint8)
    states = np.full(len(part), GOOD, np.uint8)
    problems = {}
    for place, uri in enumerate(part.uris.to_pylist()):
        try:
            if task.scene is None:
                image = read_image(uri)
            else:
                assert part.boxes is not None
                image = crop(task.scene.pixels(), part.boxes[place].tolist(), uri)
            pixels[place] = spec.fit(image)
        except UnreadableImageError as error:
            states[place] = BAD_FOR_NOW if _is_passing(error.__cause__) else BAD
            problems[int(task.rows[place])] = str(error).removeprefix(f"{uri}: ")
    if task.scene is not None:
        task.scene.done()
    return _Decoded(task.rows, pixels, states, problems)


def _is_passing(cause: BaseException | None) -> bool:
    """Whether the system, not the image, was the reason. Pillow's own OSErrors carry no errno."""
    return isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno is not None)


def _write_pixels(file: BinaryIO, done: _Decoded, row_bytes: int) -> None:
    place = 0
    for run in _runs(done.rows):
        file.seek(int(run[0]) * row_bytes)
        file.write(done.pixels[place : place + len(run)].data)
        place += len(run)


def _runs(rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Ascending rows, cut where they do not follow one another."""
    return np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)


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
