"""Reading a table as text: every cell a string exactly as it stands, so that `N/A`, `None` and `nan` stay names.

CSV and TSV (the delimiter is looked for in the header), Parquet and JSON lines. Knows nothing of what columns mean.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from linnaeus.errors import DataError

TABLE_EXTENSIONS = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
_BLOCK_BYTES = 16 * 2**20
_HEADER_BYTES = 2**20


def load_table(path: Path) -> pa.Table:
    """A table of which every column is strings; missing values are empty strings.

    Lists become list literals, `true` and `false` 1 and 0, and whole floats integers. Columns of other things (nested
    records, encoded images) are left out. Raises DataError naming the file, and the row where there is one.
    """
    try:
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            table = _load_json_lines(path)
        elif path.suffix.lower() == ".parquet":
            found = pq.read_table(path)
            found.validate(full=True)  # a damaged file can hold strings that are no UTF-8
            columns = {name: _as_text(found[name]) for name in found.column_names}
            table = pa.table({name: column for name, column in columns.items() if column is not None})
        else:
            table = _load_csv(path)
    except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from error
    if table.num_rows == 0 or table.num_columns == 0:
        raise DataError(f"{path} is empty: it has {table.num_columns} columns and {table.num_rows} rows.")
    return table


def _load_csv(path: Path) -> pa.Table:
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    if not start.strip():
        raise DataError(f"{path} is empty.")
    try:
        start.decode("utf-8-sig")
        encoding = "utf8"
    except UnicodeDecodeError as error:
        # The end of the sample may cut a character in two.
        encoding = "utf8" if error.start > len(start) - 4 and len(start) == _HEADER_BYTES else "cp1252"
    first_line = start.decode("utf-8-sig" if encoding == "utf8" else encoding, errors="replace").lstrip("\r\n")
    first_line = re.split(r"[\r\n]", first_line, maxsplit=1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=first_line.count)
    header = next(csv.reader([first_line], delimiter=delimiter), [])
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: the header has the column '{repeated[0]}' more than once.")
    try:
        return _parse_csv(path, delimiter, header, encoding)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise
        return _parse_csv(path, delimiter, header, "cp1252")


def _parse_csv(path: Path, delimiter: str, header: list[str], encoding: str) -> pa.Table:
    table = pa_csv.read_csv(
        path,
        # One thread: then messages carry the number of the row.
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, encoding=encoding),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False, quoted_strings_can_be_null=False
        ),
    )
    strange = next((name for name in table.column_names if not pa.types.is_string(table[name].type)), None)
    if strange is not None:
        raise DataError(f"{path}: the header cannot be understood at {strange!r}.")
    return table


def _load_json_lines(path: Path) -> pa.Table:
    records: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number} is not JSON: {error}") from error
            if not isinstance(record, dict):
                raise DataError(f"{path}, line {number} is not a JSON object but {line.strip()[:40]!r}.")
            records.append(record)
            names |= dict.fromkeys(record)
    columns = {name: [_text_of(record.get(name)) for record in records] for name in names}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items() if None not in values})


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind):
        return column.cast(pa.large_string()).fill_null("")
    values = [_text_of(value) for value in column.to_pylist()]
    return None if None in values else pa.chunked_array([pa.array(values, pa.large_string())])


def _text_of(value: Any) -> str | None:
    """None for what has no plain text."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return str(int(value))
        case int():
            return str(value)
        case float():
            return str(int(value)) if value.is_integer() else str(value)
        case list() if all(isinstance(item, (str, int, float)) for item in value):
            return repr(value)
        case _:
            return None
