"""Boxes: objects found in scenes become rows of a Manifest, and what cannot become one is counted by its cause.

Between the readers of detection formats and the manifest in the life of an image. A reader tells a `BoxCollector` what
an annotation file says, as it stands there; everything that is the same for all formats is done here: sizes from the
headers of the scenes, clipping, padding, specks. No pixel is decoded.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from linnaeus.data.images.header import read_size
from linnaeus.data.manifest import UNASSIGNED, Manifest
from linnaeus.data.sources.options import SourceOptions
from linnaeus.errors import NoImagesError, UnreadableImageError

_EXAMPLES = 3
_NO_NUMBERS = (float("nan"),) * 4

_Rows = npt.NDArray[np.int64]
_Corners = npt.NDArray[np.float64]


class BoxCollector:
    """What an annotation file says, box by box, as far as it can be said in numbers.

    Attributes:
        relative: whether corners are fractions of the scene's width and height instead of pixels.
    """

    def __init__(self, source: Path, *, relative: bool = False) -> None:
        self.source, self.relative = source, relative
        self.skipped: Counter[str] = Counter()
        self.notes: list[str] = []
        self._scenes: dict[str, int] = {}
        self._paths: list[str | None] = []
        self._splits = array("b")
        self._labels: dict[str, int] = {}
        self._unnamed: Counter[str] = Counter()
        self._scene_of, self._label_of, self._corners = array("q"), array("q"), array("d")
        self._weights = array("f")

    def scene(self, name: str, path: Path | None, *, split: int = UNASSIGNED) -> int:
        """The number of a scene; `name` tells it from others, `path` is None where its file is missing."""
        name, given = _printable(name), name
        if name not in self._scenes:
            self._scenes[name] = len(self._paths)
            self._paths.append(None if path is None or name != given else str(path.absolute()))
            self._splits.append(split)
        return self._scenes[name]

    def split_of(self, scene: int) -> int:
        """As it was given with the scene first."""
        return self._splits[scene]

    def label(self, name: str) -> int:
        """The number of a class."""
        return self._labels.setdefault(_printable(name), len(self._labels))

    def unnamed(self, identity: object, *, num_boxes: int = 1) -> int:
        """The number of all classes without a name; `identity` is how the annotations call this one."""
        self._unnamed[_printable(str(identity))[:40]] += num_boxes
        return -1

    def add(self, scene: int, label: int, corners: Sequence[float] | None, *, weight: float = 1.0) -> None:
        """One box: x0, y0, x1, y1, None where the annotation holds no four numbers; and how much it counts."""
        self._scene_of.append(scene)
        self._label_of.append(label)
        self._corners.extend(_NO_NUMBERS if corners is None else corners)
        self._weights.append(weight)

    def add_all(self, scenes: _Rows, labels: _Rows, corners: _Corners, weights: npt.NDArray[np.float32]) -> None:
        """Many boxes: int64 [n] of scenes and of classes, float64 [n, 4] with NaN for what is no four numbers, and
        float32 [n].
        """
        for column, values in (
            (self._scene_of, scenes),
            (self._label_of, labels),
            (self._corners, corners),
            (self._weights, weights),
        ):
            column.frombytes(np.ascontiguousarray(values, column.typecode).tobytes())

    def to_manifest(self, options: SourceOptions, *, columns: Mapping[str, pa.Array] | None = None) -> Manifest:
        """The usable boxes, scene by scene; ids are `scene#number`, counted through all boxes of the scene.

        `columns`: what else is known of each box, in the order in which they were added.

        Raises NoImagesError if no box is usable.
        """
        scene_of = np.frombuffer(self._scene_of, np.int64) if self._scene_of else np.zeros(0, np.int64)
        order = np.argsort(scene_of, kind="stable")
        scene_of = scene_of[order]
        labels = np.frombuffer(self._label_of, np.int64)[order] if len(order) else scene_of
        corners = np.frombuffer(self._corners, np.float64).reshape(-1, 4)[order] if len(order) else np.zeros((0, 4))
        _, starts, sizes = np.unique(scene_of, return_index=True, return_counts=True)
        number = np.arange(len(order)) - np.repeat(starts, sizes) + 1

        rows = _BoxFilter(self, scene_of, number)
        extent = self._extents(rows, scene_of)
        kept, boxes = _to_pixels(corners, extent, rows, labels, options, relative=self.relative)
        if len(kept) == 0:
            raise NoImagesError(self._why_empty())
        weights = np.array(self._weights, np.float32)[order][kept]
        told = {name: column.take(pa.array(order[kept])) for name, column in (columns or {}).items()}
        found = dataclasses.replace(self._build(kept, boxes, scene_of, number, labels), columns=told)
        return found if (weights == 1).all() else dataclasses.replace(found, weights=weights)

    def _extents(self, rows: _BoxFilter, scene_of: _Rows) -> _Corners:
        """float64 [M, 4]: width, height, width, height of each box's scene. Boxes without a scene are dropped."""
        sizes = np.zeros((len(self._paths), 2))
        missing, unreadable = np.zeros(len(sizes), bool), np.zeros(len(sizes), bool)
        for scene in np.unique(scene_of).tolist():
            path = self._paths[scene]
            try:
                if path is None:
                    missing[scene] = True
                else:
                    sizes[scene] = read_size(path)
            except UnreadableImageError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    missing[scene] = True
                else:
                    unreadable[scene] = True
        rows.drop("boxes whose scene is missing", missing[scene_of])
        rows.drop("boxes in a scene that cannot be read", unreadable[scene_of])
        return np.tile(sizes[scene_of], 2)

    def _build(
        self, kept: _Rows, boxes: npt.NDArray[np.int32], scene_of: _Rows, number: _Rows, labels: _Rows
    ) -> Manifest:
        names, places = pa.array(list(self._scenes), pa.large_string()), pa.array(scene_of[kept])
        occurring = np.unique(labels[kept]).tolist()
        known = list(self._labels)
        classes = tuple(sorted(known[label] for label in occurring))
        position = np.zeros(len(known), np.int64)
        for k, name in enumerate(classes):
            position[self._labels[name]] = k
        if self._unnamed:
            listed = ", ".join(f"{identity} ({count:,})" for identity, count in self._unnamed.most_common(10))
            self.notes.append(f"Classes without a name, with their boxes: {listed}.")
        return Manifest(
            ids=pc.binary_join_element_wise(
                names.take(places), pa.array(number[kept]).cast(pa.large_string()), pa.scalar("#", pa.large_string())
            ),
            uris=pa.array(self._paths, pa.large_string()).take(places),
            targets=position[labels[kept]],
            splits=np.frombuffer(self._splits, np.int8)[scene_of[kept]],
            classes=classes,
            boxes=boxes,
            groups=scene_of[kept],
            skipped={why: count for why, count in self.skipped.items() if count},
            notes=tuple(self.notes),
        )

    def _why_empty(self) -> str:
        causes = ", ".join(f"{count:,} {why}" for why, count in self.skipped.items() if count) or "no boxes at all"
        return f"There are no usable boxes in {self.source}: {causes}. {' '.join(self.notes)}".rstrip()


def _printable(name: str) -> str:
    """Half of a surrogate pair, which JSON can hold, is no text that could be written anywhere."""
    return name.encode("utf-8", "replace").decode()


class _BoxFilter:
    """Which boxes are still in, and why the others are not."""

    def __init__(self, collector: BoxCollector, scene_of: _Rows, number: _Rows) -> None:
        self.collector, self.scene_of, self.number = collector, scene_of, number
        self.names = list(collector._scenes)
        self.inside = np.ones(len(scene_of), bool)

    def drop(self, why: str, where: Any) -> None:
        """Take out, count and list those boxes of `where`, bool [M], that are still in."""
        dropped = np.flatnonzero(self.inside & where)
        self.inside[dropped] = False
        if len(dropped):
            self.collector.skipped[why] += len(dropped)
            self.note(f"{why}, left out: {len(dropped):,}", dropped)

    def note(self, what: str, rows: _Rows) -> None:
        examples = ", ".join(f"{self.names[self.scene_of[row]]}#{self.number[row]}" for row in rows[:_EXAMPLES])
        such = "such as " if len(rows) > _EXAMPLES else ""
        self.collector.notes.append(f"{what[:1].upper()}{what[1:]} ({such}{examples}).")


def _to_pixels(
    corners: _Corners, extent: _Corners, rows: _BoxFilter, labels: _Rows, options: SourceOptions, *, relative: bool
) -> tuple[_Rows, npt.NDArray[np.int32]]:
    """The boxes that stay and int32 [n, 4] of their corners: rounded, clipped to their scene, padded."""
    rows.drop("boxes that are not four numbers", ~np.isfinite(corners).all(axis=1))
    rows.drop("boxes of a class without a name", labels < 0)
    rows.drop("boxes with swapped corners", (corners[:, 2:] < corners[:, :2]).any(axis=1))
    with np.errstate(over="ignore", invalid="ignore"):  # of rows that are out already
        edges = np.rint(corners * extent if relative else corners)
        rows.drop("boxes without area", (edges[:, 2:] == edges[:, :2]).any(axis=1))
        inner = np.clip(edges, 0, extent)
        rows.drop("boxes outside their scene", (inner[:, 2:] <= inner[:, :2]).any(axis=1))
        clipped = np.flatnonzero(rows.inside & (inner != edges).any(axis=1))
        if len(clipped):
            rows.note(f"boxes that reach outside their scene, clipped: {len(clipped):,}", clipped)
        sides = inner[:, 2:] - inner[:, :2]
        if options.min_box_size_px is not None:
            rows.drop(
                f"boxes with a side under {options.min_box_size_px:g} px", (sides < options.min_box_size_px).any(axis=1)
            )
        if options.box_padding is not None:
            margin = (edges[:, 2:] - edges[:, :2]) * options.box_padding
            inner = np.clip(np.rint(np.concatenate([edges[:, :2] - margin, edges[:, 2:] + margin], axis=1)), 0, extent)
    kept = np.flatnonzero(rows.inside)
    return kept, inner[kept].astype(np.int32)
