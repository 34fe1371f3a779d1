"""What a thread does at a time while a cache is built: some images, or the objects of one scene.

The planning half of `cache_build`. A scene is opened and decoded once however many objects it has, and not more scenes
than threads (and one) are in memory at any time, for the tasks of a scene follow one another.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linnaeus.data.images.scenes import read_scene
from linnaeus.data.manifest import Manifest
from linnaeus.errors import UnreadableImageError

_Rows = npt.NDArray[np.int64]


class SharedScene:
    """One scene, decoded when its first task asks for it and let go when its last task is done."""

    def __init__(self, uri: str, boxes: npt.NDArray[np.int32], num_tasks: int) -> None:
        self.uri, self._boxes, self._left = uri, boxes, num_tasks
        self._lock = threading.Lock()
        self._pixels: npt.NDArray[np.uint8] | None = None
        self._error: UnreadableImageError | None = None

    def pixels(self) -> npt.NDArray[np.uint8]:
        """As `read_scene` gives them; what it raised once it raises again."""
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._pixels is None:
                try:
                    self._pixels = read_scene(self.uri, self._boxes)
                except UnreadableImageError as error:
                    self._error = error
                    raise
            return self._pixels

    def done(self) -> None:
        """Said by every task at its end."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._pixels = None


@dataclass(frozen=True)
class Task:
    """Rows of the manifest, ascending; those of one scene, or whole images if `scene` is None."""

    rows: _Rows
    scene: SharedScene | None


def plan_tasks(
    manifest: Manifest, rows: _Rows, *, chunk_rows: int, task_rows: int, min_tasks: int, most_rows: int
) -> Iterator[list[Task]]:
    """All rows, in chunks of tasks.

    Args:
        rows: ascending.
        chunk_rows: in a chunk, at most, unless that makes fewer tasks than `min_tasks`.
        task_rows: in a task of whole images.
        min_tasks, most_rows: a chunk of scenes grows up to so many tasks, but not beyond so many rows.
    """
    if manifest.boxes is None:
        for start in range(0, len(rows), chunk_rows):
            chunk = rows[start : start + chunk_rows]
            yield [Task(chunk[a : a + task_rows], None) for a in range(0, len(chunk), task_rows)]
        return
    gathered: list[Task] = []
    num_rows = 0
    for task in _scene_tasks(manifest, rows, chunk_rows):
        after = num_rows + len(task.rows)
        if gathered and after > (chunk_rows if len(gathered) >= min_tasks else max(chunk_rows, most_rows)):
            yield gathered
            gathered, after = [], len(task.rows)
        gathered.append(task)
        num_rows = after
    if gathered:
        yield gathered


def _scene_tasks(manifest: Manifest, rows: _Rows, chunk_rows: int) -> Iterator[Task]:
    """Scene by scene in the order in which they first occur; a scene of very many objects makes several tasks."""
    assert manifest.boxes is not None
    encoded = manifest.uris.take(pa.array(rows)).dictionary_encode()
    scene_of = encoded.indices.to_numpy()
    order = np.argsort(scene_of, kind="stable")
    bounds = np.searchsorted(scene_of[order], np.arange(len(encoded.dictionary) + 1))
    for scene, uri in enumerate(encoded.dictionary.to_pylist()):
        here = rows[order[bounds[scene] : bounds[scene + 1]]]
        parts = [here[a : a + chunk_rows] for a in range(0, len(here), chunk_rows)]
        shared = SharedScene(uri, manifest.boxes[here], len(parts))
        yield from (Task(part, shared) for part in parts)
