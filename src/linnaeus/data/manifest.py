"""The Manifest: what we have. One row per sample; the first of the two tables everything else is a function of.

Second step in the life of an image: sources -> MANIFEST -> split -> decode. Columns, not objects: ids and uris are
Arrow strings, the rest are NumPy arrays, so that ten million rows fit in memory. Knows nothing of pixels or models.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from linnaeus.atomic import write_whole
from linnaeus.errors import ClassesError, DataError

SPLITS = ("train", "validation", "test")
"""Split names; `Manifest.splits` holds their positions, or UNASSIGNED."""
TRAIN, VALIDATION, TEST, UNASSIGNED = 0, 1, 2, -1

Task = Literal["single", "multi"]
_COLUMN = "column:"


@dataclass(frozen=True)
class Manifest:
    """N samples with their targets.

    Attributes:
        ids: unique name of each sample, such as its path below the data folder.
        uris: where its pixels are: an absolute file path, or `builtin://NAME/ROW`.
        boxes: int32 [N, 4] x0, y0, x1, y1 in pixels, or None where a sample is a whole image.
        targets: int64 [N], positions in `classes` (task "single"), or uint8 [N, K] of 0 and 1 ("multi").
        splits: int8 [N], positions in SPLITS or UNASSIGNED.
        groups: int64 [N]; samples of one group never stand in two splits. None where every sample is its own.
        weights: float32 [N], finite and not negative: how much each sample counts in the loss of training, beside the
            others. None where all count the same. Scores never look at them.
        columns: what else the table said of each sample, by the column's name: float64 [N] (null where unknown) or
            strings as a dictionary array [N]. Training never looks at them; the test is sliced by them.
        classes: K names. Everything matches by name.
        task: one label per image, or several.
        skipped: why files were passed over, with their number, such as {"no image": 3, "hidden": 1}.
        notes: what the reader guessed or found, in sentences with examples, for the person who brought the data.
    """

    ids: pa.LargeStringArray
    uris: pa.LargeStringArray
    targets: npt.NDArray[np.int64] | npt.NDArray[np.uint8]
    splits: npt.NDArray[np.int8]
    classes: tuple[str, ...]
    task: Task = "single"
    boxes: npt.NDArray[np.int32] | None = None
    groups: npt.NDArray[np.int64] | None = None
    weights: npt.NDArray[np.float32] | None = None
    columns: Mapping[str, pa.Array] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        num_rows = len(self.ids)
        for name in ("uris", "targets", "splits", "boxes", "groups", "weights"):
            column = getattr(self, name)
            assert column is None or len(column) == num_rows, f"{name} has {len(column)} rows, ids has {num_rows}"
        assert all(len(column) == num_rows for column in self.columns.values()), "a column has other rows than ids"
        if len(set(self.classes)) != len(self.classes):
            raise ClassesError(f"Class names must be unique: {', '.join(self.classes)}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)

    def rows(self, split: int) -> npt.NDArray[np.int64]:
        """Row numbers, ascending, of TRAIN, VALIDATION, TEST or UNASSIGNED."""
        return np.flatnonzero(self.splits == split)

    def rows_of(self, *splits: int) -> npt.NDArray[np.int64]:
        """Row numbers, ascending, of several splits."""
        return np.flatnonzero(np.isin(self.splits, splits))

    def class_counts(self, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """int64 [K]: samples per class among `rows` (all rows if None)."""
        targets = self.targets if rows is None else self.targets[rows]
        if self.task == "multi":
            return np.asarray(targets.sum(axis=0), np.int64)
        return np.bincount(targets, minlength=self.num_classes).astype(np.int64)

    def take(self, rows: npt.NDArray[np.int64]) -> Manifest:
        """The manifest of these rows, in this order, with the same classes."""
        return dataclasses.replace(
            self,
            ids=self.ids.take(pa.array(rows)),
            uris=self.uris.take(pa.array(rows)),
            targets=self.targets[rows],
            splits=self.splits[rows],
            boxes=None if self.boxes is None else self.boxes[rows],
            groups=None if self.groups is None else self.groups[rows],
            weights=None if self.weights is None else self.weights[rows],
            columns={name: column.take(pa.array(rows)) for name, column in self.columns.items()},
        )

    def known_of(self, rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """`columns` of these rows as arrays: float64 with NaN, or objects that are strings or None."""
        told = {name: column.take(pa.array(rows)) for name, column in self.columns.items()}
        return {
            name: column.to_numpy(zero_copy_only=False)
            if pa.types.is_floating(column.type)
            else np.array(column.to_pylist(), object)
            for name, column in told.items()
        }

    def with_splits(self, splits: npt.NDArray[np.int8]) -> Manifest:
        """The same rows, divided otherwise."""
        return dataclasses.replace(self, splits=splits.astype(np.int8))

    def loss_weights(self) -> npt.NDArray[np.float32] | None:
        """float32 [N]: the weights, scaled to a mean of 1 over the training rows; None where all count the same.

        Raises DataError if no training row counts at all.
        """
        if self.weights is None:
            return None
        training = self.weights[self.rows(TRAIN)]
        mean = float(training.mean(dtype=np.float64)) if len(training) else 1.0
        if mean == 0:
            raise DataError("Every training image has a weight of 0, so there is nothing to learn from.")
        return np.asarray(self.weights / mean, np.float32)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over classes, ids, targets, boxes, weights and splits (not over where the files lie)."""
        digest = hashlib.sha256(json.dumps([self.task, self.classes], ensure_ascii=False).encode())
        for buffer in pa.concat_arrays([self.ids]).buffers():
            if buffer is not None:
                digest.update(buffer)
        for column in (self.targets, self.splits, self.boxes, self.weights):
            if column is not None:
                digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()[:16]

    def to_frame(self) -> pd.DataFrame:
        """One row per sample: id, uri, split, label (or one 0/1 column per class); box, group, weight if there are."""
        names = np.array([*SPLITS, ""], dtype=object)
        columns: dict[str, object] = {
            "id": self.ids.to_pandas(),
            "uri": self.uris.to_pandas(),
            "split": names[self.splits],
        }
        if self.task == "single":
            columns["label"] = np.array(self.classes, dtype=object)[self.targets]
        else:
            columns |= {f"label:{name}": self.targets[:, k] for k, name in enumerate(self.classes)}
        if self.boxes is not None:
            columns |= {name: self.boxes[:, k] for k, name in enumerate(("x0", "y0", "x1", "y1"))}
        if self.groups is not None:
            columns["group"] = self.groups
        if self.weights is not None:
            columns["weight"] = self.weights
        return pd.DataFrame(columns)

    def save(self, path: Path) -> None:
        """Write one Parquet file, whole or not at all."""
        columns: dict[str, pa.Array] = {"id": self.ids, "uri": self.uris, "split": pa.array(self.splits)}
        if self.task == "single":
            columns["target"] = pa.array(self.targets)
        else:
            flat = pa.array(self.targets.reshape(-1))
            columns["target"] = pa.FixedSizeListArray.from_arrays(flat, self.num_classes)
        if self.boxes is not None:
            columns["box"] = pa.FixedSizeListArray.from_arrays(pa.array(self.boxes.reshape(-1)), 4)
        if self.groups is not None:
            columns["group"] = pa.array(self.groups)
        if self.weights is not None:
            columns["weight"] = pa.array(self.weights)
        columns |= {f"{_COLUMN}{name}": column for name, column in self.columns.items()}
        facts = {"format": 1, "task": self.task, "classes": self.classes, "skipped": dict(self.skipped)}
        facts["notes"] = self.notes
        table = pa.table(columns).replace_schema_metadata({"linnaeus": json.dumps(facts, ensure_ascii=False)})
        write_whole(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))

    @staticmethod
    def load(path: Path) -> Manifest:
        """Read what `save` wrote; raises DataError if the file is damaged or is another kind of Parquet."""
        try:
            table = pq.read_table(path)
            facts = json.loads((table.schema.metadata or {})[b"linnaeus"])
            return _from_table(table, facts)
        except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError, AssertionError) as error:
            raise DataError(f"{path} is not a manifest that Linnaeus wrote: {error}") from error


def _from_table(table: pa.Table, facts: dict[str, Any]) -> Manifest:
    """What `save` wrote. Raises anything if it is not whole: KeyError, ValueError, TypeError, AssertionError."""

    def column(name: str, width: int | None = None) -> np.ndarray | None:
        if name not in table.column_names:
            return None
        values = table[name].combine_chunks()
        if width is None:
            return np.asarray(values.to_numpy(zero_copy_only=False))
        return np.asarray(values.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)

    multi = facts["task"] == "multi"
    if multi and table.num_rows and table.schema.field("target").type.list_size != len(facts["classes"]):
        raise ValueError("the labels do not fit the classes")
    targets = column("target", len(facts["classes"]) if multi else None)
    splits = column("split")
    assert targets is not None and splits is not None
    if len(targets) and not (targets.min() >= 0 and targets.max() < (2 if multi else len(facts["classes"]))):
        raise ValueError("a label is out of range")
    if len(splits) and not (splits.min() >= UNASSIGNED and splits.max() <= TEST):
        raise ValueError("a split is out of range")
    weights = column("weight")
    if weights is not None and not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("a weight is out of range")
    return Manifest(
        ids=table["id"].combine_chunks().cast(pa.large_string()),
        uris=table["uri"].combine_chunks().cast(pa.large_string()),
        targets=targets,
        splits=splits,
        classes=tuple(facts["classes"]),
        task=facts["task"],
        boxes=column("box", 4),
        groups=column("group"),
        weights=weights,
        columns={
            name.removeprefix(_COLUMN): table[name].combine_chunks()
            for name in table.column_names
            if name.startswith(_COLUMN)
        },
        skipped=facts["skipped"],
        notes=tuple(facts.get("notes", ())),
    )


def _plain(column: pa.Array) -> pa.Array:
    """The same values, not as a dictionary."""
    return column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column


def concatenate(first: Manifest, second: Manifest) -> Manifest:
    """The rows of both; they share classes and task, and no id stands in both. Weights of one half only are 1 in the
    other.
    """
    assert first.classes == second.classes and first.task == second.task

    def both(name: str) -> np.ndarray | None:
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None) == (other is None), f"{name} is given for one half only"
        return None if one is None else np.concatenate([one, other])

    known = {**second.columns, **first.columns}
    for name in set(first.columns) & set(second.columns):
        if _plain(first.columns[name]).type != _plain(second.columns[name]).type:
            del known[name]  # numbers in one half, words in the other: not one column
    weights = None
    if first.weights is not None or second.weights is not None:
        halves = (np.ones(len(half), np.float32) if half.weights is None else half.weights for half in (first, second))
        weights = np.concatenate(list(halves))
    columns = {
        name: pa.concat_arrays(
            [_plain(half.columns.get(name, pa.nulls(len(half), _plain(known[name]).type))) for half in (first, second)]
        )
        for name in known
    }
    targets, splits = both("targets"), both("splits")
    assert targets is not None and splits is not None
    skipped = Counter(first.skipped) + Counter(second.skipped)
    return Manifest(
        ids=pa.concat_arrays([first.ids, second.ids]),
        uris=pa.concat_arrays([first.uris, second.uris]),
        targets=targets,
        splits=splits,
        classes=first.classes,
        task=first.task,
        boxes=both("boxes"),
        groups=both("groups"),
        weights=weights,
        columns=columns,
        skipped=dict(skipped),
        notes=first.notes + tuple(note for note in second.notes if note not in first.notes),
    )


def manifest_from_columns(
    ids: Sequence[str],
    uris: Sequence[str],
    labels: Sequence[str],
    *,
    splits: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
    classes: Sequence[str] | None = None,
    skipped: Mapping[str, int] | None = None,
) -> Manifest:
    """Build a single-label manifest from plain sequences of equal length.

    `labels` are class names; `classes` fixes their order and defaults to the sorted names that occur.
    """
    names = tuple(sorted(set(labels)) if classes is None else classes)
    position = {name: k for k, name in enumerate(names)}
    return Manifest(
        ids=pa.array(ids, pa.large_string()),
        uris=pa.array(uris, pa.large_string()),
        targets=np.fromiter((position[label] for label in labels), np.int64, len(labels)),
        splits=np.full(len(ids), UNASSIGNED, np.int8) if splits is None else np.asarray(splits, np.int8),
        classes=names,
        weights=None if weights is None else np.asarray(weights, np.float32),
        skipped=dict(skipped or {}),
    )
