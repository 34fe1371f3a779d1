"""The rows of a table as columns of numbers: every different cell is looked at once, however many rows hold it.

Between `table_columns`, which says what the columns mean, and `table`, which makes a manifest of them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linnaeus.data.sources.file_index import AMBIGUOUS, FileIndex
from linnaeus.data.sources.table_columns import SPLIT_VALUES, YES, Columns, literal_list, number_of
from linnaeus.errors import DataError

Numbers = npt.NDArray[np.int64]
_NO_SPLIT = -2
_CELLS = 65536


@dataclass
class Log:
    """What is passed over: a count and a first example of each reason."""

    table: Path
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, reason: str, count: int, example: str) -> None:
        """So many more; of several examples the first is shown."""
        self.counts[reason] += count
        self.examples.setdefault(reason, example)

    def sentences(self) -> list[str]:
        """One for each reason."""
        return [f"{reason}: {count:,}, such as {self.examples[reason]}" for reason, count in self.counts.items()]


@dataclass
class Words:
    """What cells mean, each once for however many rows: these hold only numbers of it.

    Attributes:
        index: the files; those from `len(index.paths)` on are `elsewhere`.
        elsewhere: absolute paths outside the folder.
        labels: sets of label names, sorted.
        groups: names.
    """

    index: FileIndex
    elsewhere: dict[str, int] = field(default_factory=dict)
    labels: dict[tuple[str, ...], int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)

    def file(self, value: str, prefer: str) -> int:
        """The number of the file that a cell names; MISSING or AMBIGUOUS as `FileIndex.find` says it."""
        place = self.index.find(value, prefer=prefer)
        path = _elsewhere(value) if place < 0 else None
        if path is None:
            return place
        return len(self.index.paths) + self.elsewhere.setdefault(path, len(self.elsewhere))

    def label_set(self, names: Iterable[str] | None) -> int:
        """The number of a set of labels; -1 for None."""
        return -1 if names is None else self.labels.setdefault(tuple(sorted(set(names))), len(self.labels))


@dataclass(frozen=True)
class Rows:
    """The rows of a table that have a file and labels: their numbers, from 1, and what `Words` has for each cell.

    `boxes` is float64 [n, 4], NaN where there are no four numbers; None without columns of boxes. `named` are the files
    that any row names, with labels or without. `extra` is the text of all columns that mean nothing to training.
    """

    table: Path
    numbers: Numbers
    files: Numbers
    labels: Numbers
    splits: npt.NDArray[np.int8]
    groups: Numbers
    weights: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float64] | None
    named: Numbers
    extra: dict[str, pa.Array]

    def here(self, row: int) -> str:
        """How a person finds the row."""
        return f"row {self.numbers[row]} of {self.table.name}"


def read_rows(table: pa.Table, path: Path, columns: Columns, words: Words, split: int, log: Log) -> Rows:
    """Look at every row of a table; those without a file or labels are counted in the log.

    `split` is that of all rows where the table has no column of splits. Raises DataError, naming the row, for a split
    or a weight that is none.
    """
    images = table[columns.image]
    files = _each(images, lambda value: words.file(value, path.stem.lower()), np.int64)
    labels = _labels_of(table, columns, words)
    num_names = np.array([*(len(names) for names in words.labels), 0])[labels]
    kept = np.ones(table.num_rows, np.bool_)

    def here(row: int) -> str:
        return f"row {row + 1} of {path.name} ({images[row].as_py()[:80]!r})"

    def drop(reason: str, where: npt.NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(kept & where)
        if len(rows):
            log.add(reason, len(rows), here(int(rows[0])))
            kept[rows] = False

    drop("rows for which several files fit", files == AMBIGUOUS)
    drop("rows without a file", files < 0)
    drop("rows whose labels are no list", labels < 0)
    if columns.kind == "single":
        drop("rows without a label", num_names == 0)
    if columns.box:
        drop("rows with several labels for one box", num_names > 1)
    rows = np.flatnonzero(kept)

    def cells(name: str | None, convert: Callable[[str], float], absent: float) -> npt.NDArray[np.float64]:
        """What a column that may not be there says of the kept rows, as numbers."""
        if name is None or name not in table.column_names:
            return np.full(len(rows), absent)
        return _each(table[name], convert, np.float64)[rows]

    splits = cells(columns.split, lambda value: SPLIT_VALUES.get(value.strip().lower(), _NO_SPLIT), split)
    weights = cells(columns.weight, lambda value: _or_nan(number_of(value)), 1.0)
    for wrong, name, what in (
        (splits == _NO_SPLIT, columns.split, "the split '{}' is not train, validation or test."),
        (~(weights >= 0), columns.weight, "the weight '{}' is not a number from 0 on."),
    ):
        if wrong.any():
            row = int(rows[np.flatnonzero(wrong)[0]])
            raise DataError(f"{here(row)}: {what.format(table[name][row].as_py()[:40])}")
    corners = [cells(name, _number, np.nan) for name in columns.box or ()]
    boxes = np.stack(corners, axis=1) if corners else None
    if boxes is not None:
        boxes[np.isnan(boxes).any(axis=1)] = np.nan
        boxes[:, 2:] += boxes[:, :2] if columns.sized else 0.0
    groups = cells(columns.group, lambda value: words.groups.setdefault(value, len(words.groups)) if value else -1, -1)
    return Rows(
        path,
        numbers=rows + 1,
        files=files[rows],
        labels=labels[rows],
        splits=splits.astype(np.int8),
        groups=groups.astype(np.int64),
        weights=weights.astype(np.float32),
        boxes=boxes,
        named=np.unique(files[files >= 0]),
        extra={name: table[name].combine_chunks().take(pa.array(rows)) for name in columns.extra(table.column_names)},
    )


def _each(column: pa.ChunkedArray, convert: Callable[[str], float], kind: type[np.generic]) -> npt.NDArray[Any]:
    """A number for every cell; equal cells are converted once, and never are all of them Python strings together."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    values = encoded.dictionary
    parts = (values.slice(start, _CELLS).to_pylist() for start in range(0, len(values), _CELLS))
    numbers = np.fromiter((convert(value) for part in parts for value in part), kind, len(values))
    return np.asarray(numbers[encoded.indices.to_numpy(zero_copy_only=False)])


def _labels_of(table: pa.Table, columns: Columns, words: Words) -> Numbers:
    """int64 [N]: the set of labels of each row; -1 where a list cannot be read."""
    if columns.kind == "indicators":
        flags = np.stack([_each(table[name], lambda value: value in YES, np.bool_) for name in columns.labels], axis=1)
        packed, inverse = np.unique(np.packbits(flags, axis=1), axis=0, return_inverse=True)
        names = np.array(columns.labels, object)
        sets = np.unpackbits(packed, axis=1, count=len(names)).astype(np.bool_)
        return np.array([words.label_set(names[row]) for row in sets], np.int64)[inverse.reshape(-1)]

    def read(value: str) -> int:
        if columns.kind == "list":
            return words.label_set(literal_list(value) if value.strip() else [])
        parts = value.split(columns.delimiter) if columns.kind == "delimited" else [value]
        return words.label_set(part.strip() for part in parts if part.strip())

    return _each(table[columns.labels[0]], read, np.int64)


def _elsewhere(value: str) -> str | None:
    """An absolute path that lies outside the folder, if there is such a file."""
    if not value.startswith(("/", "~")) or "\0" in value:
        return None
    try:
        path = os.path.abspath(os.path.expanduser(value))  # noqa: PTH100, PTH111 - ten times as fast as Path
        return path if os.path.isfile(path) else None  # noqa: PTH113
    except (OSError, ValueError):
        return None


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return np.nan


def _or_nan(number: float | None) -> float:
    return np.nan if number is None else number
