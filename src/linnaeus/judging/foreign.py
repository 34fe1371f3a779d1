"""Predictions of a model that Linnaeus did not train: a CSV or Parquet file in, a ScoreTable out.

    path        target      probability:cat   probability:dog
    a.jpg       cat         0.9               0.1

Several labels per image have `|` between them in `target`, and their probabilities need not sum to 1. A column `group`
names images that belong together; all other columns become slices. It is what `linnaeus predict --all-probabilities`
writes, with a column `target` added. The file is read in pieces and its probabilities are kept in a temporary file,
column by column, so that memory does not grow with rows times classes: it is that of the rest of the table, of a few
numbers per image, and of one piece. Where images have several labels, their true ones take a byte per image and class.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from scipy import sparse

from linnaeus.errors import ClassesError, DataError, DataNotFoundError
from linnaeus.judging.column_file import DISK_FULL, ColumnFile, nameless_file, open_column_file
from linnaeus.judging.score_table import CELLS_AT_ONCE, ScoreTable
from linnaeus.metrics.classification import FloatArray, IntArray

PREFIX, TARGET, GROUP = "probability:", "target", "group"
_IDS = ("path", "id")
_NOT_SLICES = {*_IDS, TARGET, "error", "label", "labels", "probability"}
_SUM_TOLERANCE = 1e-3
_EXACT_CELLS = 50_000_000
"""Up to this many probabilities are kept as float64 (400 MB on disk), more as float32."""
CSV_BYTES_AT_ONCE = 4 << 20
"""Arrow reads 32 such pieces ahead."""


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

    Raises DataNotFoundError, DataError (naming file, row and column) or ClassesError if it cannot be understood,
    OutputError if there is no room for temporary files.
    """
    if not path.is_file():
        raise DataNotFoundError(f"There is no file {path}.")
    with ExitStack() as stack:
        source: Path | IO[bytes] = path
        if path.suffix.lower() == ".csv":
            source = stack.enter_context(nameless_file())
            _to_parquet(path, source)
        elif path.suffix.lower() != ".parquet":
            raise DataError(f"{path}: predictions are read from .csv and .parquet files.")
        try:
            # Reading ahead would keep every byte of the file until it is closed.
            file = pq.ParquetFile(source, pre_buffer=False)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        yield _read(path, file, stack)


def _to_parquet(path: Path, parquet: IO[bytes]) -> None:
    pieces = pacsv.ReadOptions(block_size=CSV_BYTES_AT_ONCE)
    try:
        with pacsv.open_csv(path, read_options=pieces) as reader:
            names = reader.schema.names
        # Types are guessed from the first piece, and probabilities may all be 0 or 1 there.
        types = {name: pa.float64() for name in names if name.startswith(PREFIX)}
        types |= {name: pa.string() for name in (*_IDS, TARGET, GROUP)}
        options = pacsv.ConvertOptions(column_types=types)
        with (
            pacsv.open_csv(path, read_options=pieces, convert_options=options) as reader,
            pq.ParquetWriter(parquet, reader.schema, write_statistics=False) as writer,
        ):
            waiting: list[pa.RecordBatch] = []
            for batch in reader:
                waiting.append(batch)
                if sum(len(piece) for piece in waiting) * len(batch.schema) >= CELLS_AT_ONCE:
                    writer.write_table(pa.Table.from_batches(waiting))
                    waiting = []
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting))
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None) in DISK_FULL:
            raise
        raise DataError(f"{path} cannot be read: {error}") from error


def _read(path: Path, file: pq.ParquetFile, stack: ExitStack) -> ForeignPredictions:
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
    exact = num_rows * len(classes) <= _EXACT_CELLS
    kept = stack.enter_context(open_column_file(num_rows, len(classes), np.float64 if exact else np.float32))
    try:
        facts = file.read(columns=[TARGET, *others])
        targets = _targets(path, facts[TARGET], classes)
        single = targets.ndim == 1
        sums = _keep(path, file, columns, kept, single=single)
    except pa.ArrowException as error:
        raise DataError(f"{path} cannot be read: {error}") from error

    def rows(start: int, stop: int) -> FloatArray:
        found = kept.rows(start, stop)
        return np.divide(found, sums[start:stop, None], out=found) if single else found

    def column(k: int) -> FloatArray:
        found = kept.column(k)
        return np.divide(found, sums, out=found) if single else found

    groups = None
    if GROUP in others:
        groups = pd.factorize(facts[GROUP].cast(pa.string()).to_pandas(), use_na_sentinel=False)[0].astype(np.int64)
    slices = {name: facts[name].to_pandas().to_numpy() for name in others}
    return ForeignPredictions(ScoreTable(classes, targets, rows, column), groups, slices)


def _targets(path: Path, values: pa.ChunkedArray, classes: tuple[str, ...]) -> npt.NDArray[Any]:
    """int64 [N], or uint8 [N, K] where any row has several labels or none."""
    known = {name: k for k, name in enumerate(classes)}
    plain = values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
    found = plain.combine_chunks().dictionary_encode(null_encoding="encode")
    places = found.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    sets: list[list[int]] = []
    for place, value in enumerate(found.dictionary.to_pylist()):
        text = "" if value is None else str(value)
        parts = [text] if text in known else [part for part in text.split("|") if part]
        for part in parts:
            if part not in known:
                row = int(np.argmax(places == place)) + 1
                raise ClassesError(f"{path}, row {row}: the target '{part}' has no column '{PREFIX}{part}'.")
        sets.append([known[part] for part in parts])
    if all(len(parts) == 1 for parts in sets):
        return np.asarray(np.array([parts[0] for parts in sets], np.int64)[places])
    starts = np.cumsum([0, *(len(labels) for labels in sets)])
    labels = np.fromiter(itertools.chain(*sets), np.int64, starts[-1])
    once = np.ones(len(labels), np.uint8)
    each = sparse.csr_array((once, labels, starts), shape=(len(sets), len(classes)))
    return np.asarray(each[places].toarray().clip(max=1))


def _keep(path: Path, file: pq.ParquetFile, columns: list[str], kept: ColumnFile, *, single: bool) -> FloatArray:
    """Copy the probabilities, a few columns of a few row groups at a time, and check every one of them.

    Returns float64 [N], the sum of each row as it was kept.
    """
    sums, start = np.zeros(kept.num_rows), 0
    for groups, num_rows in _runs(file, len(columns)):
        bad: list[tuple[int, int, float]] = []
        own_sums = sums[start : start + num_rows]
        step = max(1, CELLS_AT_ONCE // max(num_rows, 1))
        for first in range(0, len(columns), step):
            piece = file.read_row_groups(groups, columns=columns[first : first + step], use_threads=False)
            for k, column in enumerate(piece.columns, start=first):
                values = column.to_numpy().astype(kept.dtype)
                inside = (values >= 0) & (values <= 1)
                if not inside.all():
                    row = int(np.argmin(inside))
                    bad.append((row, k, float(values[row])))
                kept.write(k, start, values)
                own_sums += values
        if bad:
            row, k, value = min(bad)
            raise DataError(f"{path}, row {start + row + 1}: '{columns[k]}' is {value:g}, not a probability.")
        off = np.flatnonzero(np.abs(own_sums - 1) > _SUM_TOLERANCE)
        if single and len(off):
            raise DataError(
                f"{path}, row {start + off[0] + 1}: the probabilities sum to {own_sums[off[0]]:.4f}, not to 1. Where "
                "images have several labels, write them with | between them, and an empty target for none."
            )
        start += num_rows
    return sums


def _runs(file: pq.ParquetFile, num_columns: int) -> Iterator[tuple[list[int], int]]:
    """Consecutive row groups that are read together, and their rows: few large ones, or many small ones."""
    groups: list[int] = []
    num_rows = 0
    for group in range(file.num_row_groups):
        more = file.metadata.row_group(group).num_rows
        if groups and (num_rows + more) * num_columns > CELLS_AT_ONCE:
            yield groups, num_rows
            groups, num_rows = [], 0
        groups.append(group)
        num_rows += more
    if groups:
        yield groups, num_rows
