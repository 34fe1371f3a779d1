"""Predictions of a model that Linnaeus did not train: a CSV or Parquet file in, a ScoreTable out.

    path        target      probability:cat   probability:dog
    a.jpg       cat         0.9               0.1

Several labels per image have `|` between them in `target`, and their probabilities need not sum to 1. A column `group`
names images that belong together; all other columns become slices. It is what `linnaeus predict --all-probabilities`
writes, with a column `target` added. The file is read in pieces and its probabilities are kept in a temporary file,
column by column, so that memory does not grow with rows times classes.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from linnaeus.errors import ClassesError, DataError, DataNotFoundError
from linnaeus.evaluation.score_table import CELLS_AT_ONCE, ScoreTable
from linnaeus.metrics.classification import FloatArray, IntArray

PREFIX, TARGET, GROUP = "probability:", "target", "group"
_IDS = ("path", "id")
_NOT_SLICES = {*_IDS, TARGET, "error", "label", "labels", "probability"}
_SUM_TOLERANCE = 1e-3
_EXACT_CELLS = 50_000_000
"""Up to this many probabilities are kept as float64 (400 MB on disk), more as float32."""


@dataclass(frozen=True)
class ForeignPredictions:
    """What a file holds.

    Attributes:
        table: its probabilities and targets.
        groups: int64 [N], or None.
        columns: what else it says about each image, N values each.
    """

    table: ScoreTable
    groups: IntArray | None
    columns: dict[str, npt.NDArray[Any]]


@contextmanager
def open_predictions(path: Path) -> Iterator[ForeignPredictions]:
    """The predictions in a `.csv` or `.parquet` file, as long as the block lasts.

    Raises DataNotFoundError, DataError (naming file, row and column) or ClassesError if it cannot be understood.
    """
    if not path.is_file():
        raise DataNotFoundError(f"There is no file {path}.")
    with tempfile.TemporaryDirectory(prefix="linnaeus-") as folder:
        parquet = path
        if path.suffix.lower() == ".csv":
            parquet = Path(folder) / "predictions.parquet"
            _to_parquet(path, parquet)
        elif path.suffix.lower() != ".parquet":
            raise DataError(f"{path}: predictions are read from .csv and .parquet files.")
        try:
            file = pq.ParquetFile(parquet)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        yield _read(path, file, Path(folder) / "probabilities")


def _to_parquet(path: Path, parquet: Path) -> None:
    texts = {name: pa.string() for name in (*_IDS, TARGET, GROUP)}
    try:
        options = pacsv.ConvertOptions(column_types=texts)
        with (
            pacsv.open_csv(path, convert_options=options) as reader,
            pq.ParquetWriter(parquet, reader.schema) as writer,
        ):
            for batch in reader:
                writer.write_batch(batch)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _read(path: Path, file: pq.ParquetFile, place: Path) -> ForeignPredictions:
    names = file.schema_arrow.names
    columns = [name for name in names if name.startswith(PREFIX)]
    classes = tuple(name.removeprefix(PREFIX) for name in columns)
    if TARGET not in names or len(classes) < 2:
        raise DataError(
            f"{path} needs a column '{TARGET}' and one column '{PREFIX}CLASS' for each of two classes or more. It has "
            f"{', '.join(names[:8])}{' ...' if len(names) > 8 else ''}."
        )
    for name in columns:
        kind = file.schema_arrow.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise DataError(f"{path}: the column '{name}' holds something that is no number ({kind}).")
    num_rows = file.metadata.num_rows
    if not num_rows:
        raise DataError(f"{path} has no rows.")
    others = [n for n in names if n not in columns and n not in _NOT_SLICES and not n.startswith(("label_", PREFIX))]
    try:
        facts = file.read(columns=[TARGET, *others])
        targets = _targets(path, facts[TARGET].to_pylist(), classes)
        dtype = np.float64 if num_rows * len(classes) <= _EXACT_CELLS else np.float32
        kept_sums = _keep(path, file, columns, place, dtype=dtype, single=targets.ndim == 1)
    except pa.ArrowException as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    shape = (num_rows, len(classes))

    def rows(start: int, stop: int) -> FloatArray:
        # Opened and closed each time, so that no more than these pages count as ours.
        kept = np.memmap(place, dtype, mode="r", shape=shape, order="F")
        found = kept[start:stop].astype(np.float64)
        return np.asarray(found / found.sum(axis=1, keepdims=True) if targets.ndim == 1 else found, np.float64)

    sums = kept_sums if targets.ndim == 1 else None

    def column(k: int) -> FloatArray:
        kept = np.memmap(place, dtype, mode="r", shape=shape, order="F")
        found = np.array(kept[:, k], np.float64)
        return found if sums is None else np.asarray(found / sums, np.float64)

    groups = None
    if GROUP in others:
        _, places = np.unique(np.array([str(v) for v in facts[GROUP].to_pylist()]), return_inverse=True)
        groups = places.astype(np.int64)
    slices = {name: facts[name].to_pandas().to_numpy() for name in others}
    return ForeignPredictions(ScoreTable(classes, targets, rows, column), groups, slices)


def _targets(path: Path, values: list[Any], classes: tuple[str, ...]) -> npt.NDArray[Any]:
    """int64 [N], or uint8 [N, K] where any row has several labels or none."""
    known = {name: k for k, name in enumerate(classes)}
    split: dict[Any, list[int]] = {}
    for row, value in enumerate(values, start=1):
        if value in split:
            continue
        text = "" if value is None else str(value)
        parts = [text] if text in known else [part for part in text.split("|") if part]
        for part in parts:
            if part not in known:
                raise ClassesError(f"{path}, row {row}: the target '{part}' has no column '{PREFIX}{part}'.")
        split[value] = [known[part] for part in parts]
    if all(len(parts) == 1 for parts in split.values()):
        return np.fromiter((split[value][0] for value in values), np.int64, len(values))
    targets = np.zeros((len(values), len(classes)), np.uint8)
    lengths = [len(split[value]) for value in values]
    targets[np.repeat(np.arange(len(values)), lengths), list(itertools.chain(*(split[v] for v in values)))] = 1
    return targets


def _keep(path: Path, file: pq.ParquetFile, columns: list[str], place: Path, *, dtype: Any, single: bool) -> FloatArray:
    """Copy the probabilities to `place`, column after column, and check every one of them; float64 [N], their sums."""
    shape, start = (file.metadata.num_rows, len(columns)), 0
    kept_sums = np.empty(shape[0])
    for batch in file.iter_batches(batch_size=max(1, CELLS_AT_ONCE // len(columns)), columns=columns):
        block = np.stack([batch.column(k).to_numpy(zero_copy_only=False) for k in range(len(columns))], axis=1)
        block = block.astype(np.float64)
        bad = ~((block >= 0) & (block <= 1))
        if bad.any():
            row, k = np.argwhere(bad)[0]
            raise DataError(f"{path}, row {start + row + 1}: '{columns[k]}' is {block[row, k]:g}, not a probability.")
        sums = block.sum(axis=1)
        off = np.flatnonzero(np.abs(sums - 1) > _SUM_TOLERANCE)
        if single and len(off):
            raise DataError(
                f"{path}, row {start + off[0] + 1}: the probabilities sum to {sums[off[0]]:.4f}, not to 1. Where "
                "images have several labels, write them with | between them, and an empty target for none."
            )
        kept = np.memmap(place, dtype, mode="r+" if start else "w+", shape=shape, order="F")
        kept[start : start + len(block)] = block
        kept.flush()
        del kept
        kept_sums[start : start + len(block)] = block.astype(dtype).astype(np.float64).sum(axis=1)
        start += len(block)
    return kept_sums
