"""The table source: CSV, TSV, Parquet or JSON lines with a column that names images and columns that label them.

    DATA/labels.csv  DATA/images/1.jpg      a folder with one table, or the table itself
    DATA/train.csv   DATA/test.csv          tables called like splits are read together

Columns are guessed by `table_columns` and images found by `file_index`. What does not fit together (rows without a
file, files without a row, rows that come twice) is counted and shown with an example, and the rest goes on.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linnaeus.data.manifest import UNASSIGNED, Manifest
from linnaeus.data.sources.boxes import BoxCollector
from linnaeus.data.sources.file_index import AMBIGUOUS, FileIndex
from linnaeus.data.sources.folder import SPLIT_NAMES, has_class_folders
from linnaeus.data.sources.options import NO_OPTIONS, SourceOptions
from linnaeus.data.sources.table_columns import (
    SPLIT_VALUES,
    YES,
    Columns,
    guess_columns,
    literal_list,
    number_of,
)
from linnaeus.data.sources.table_file import TABLE_EXTENSIONS, load_table
from linnaeus.errors import ClassesError, DataError, NoImagesError

PREFERRED_NAMES = ("labels", "metadata", "annotations", "data", "index")
_Labels = npt.NDArray[np.int64] | npt.NDArray[np.uint8]


def recognise_table(path: Path) -> bool:
    """A table, or a folder with one (or with those of its splits) and no class folders beside it."""
    if path.is_file():
        return path.suffix.lower() in TABLE_EXTENSIONS
    return path.is_dir() and bool(_tables_in(path)) and not has_class_folders(path)


def read_table(path: Path, options: SourceOptions = NO_OPTIONS) -> Manifest:
    """Rows in the order of the table; ids are paths of the images below the folder of the table or `image_root`.

    Raises DataError (naming file and row) for a table that cannot be understood, NoImagesError if no row has a file.
    """
    tables = _choose_tables(path)
    folder = tables[0].parent
    index = FileIndex(options.image_root or folder, explicit=options.image_root is not None)
    log = _Log(tables[0])
    loaded = [load_table(table) for table in tables]
    columns = guess_columns(loaded[0], tables[0], index, options)
    needed = [columns.image, *columns.labels]
    log.notes.append(
        f"{tables[0].name}: {columns.describe()} (other choices: --image-column, --label-columns, --image-root)"
    )
    parts: list[_Rows] = []
    for table, content in zip(tables, loaded, strict=True):
        lacking = [name for name in needed if name not in content.column_names]
        if lacking:
            log.notes.append(f"{table.name} is left out: it has no column '{lacking[0]}'")
            continue
        split = SPLIT_NAMES.get(table.stem.lower(), UNASSIGNED) if len(tables) > 1 else UNASSIGNED
        parts.append(_read_rows(content, table, columns, index, split, log))
    return _to_manifest(parts, columns, index, log, options)


@dataclass
class _Log:
    """What is passed over: a count and a first example of each reason."""

    table: Path
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, reason: str, example: str) -> None:
        self.counts[reason] += 1
        self.examples.setdefault(reason, example)

    def sentences(self) -> list[str]:
        return [f"{reason}: {count:,}, such as {self.examples[reason]}" for reason, count in self.counts.items()]


@dataclass(frozen=True)
class _Rows:
    """The rows of one table that have a file and labels."""

    table: Path
    numbers: list[int]
    uris: list[str]
    ids: list[str]
    labels: list[list[str]]
    splits: list[int]
    groups: list[str]
    weights: list[float]
    boxes: list[tuple[float, ...] | None]
    used: set[int]


def _read_rows(table: pa.Table, path: Path, columns: Columns, index: FileIndex, split: int, log: _Log) -> _Rows:
    rows = _Rows(path, [], [], [], [], [], [], [], [], set())
    images = table[columns.image].to_pylist()
    labels = _labels_of(table, columns)
    splits = table[columns.split].to_pylist() if columns.split in table.column_names else None
    groups = table[columns.group].to_pylist() if columns.group in table.column_names else None
    weights = table[columns.weight].to_pylist() if columns.weight in table.column_names else None
    edges = [table[name].to_pylist() for name in columns.box or () if name in table.column_names]
    for number, (image, names) in enumerate(zip(images, labels, strict=True), start=1):
        here = f"row {number} of {path.name} ({image[:80]!r})"
        place = index.find(image, prefer=path.stem.lower())
        found = (index.uri(place), index.paths[place]) if place >= 0 else _elsewhere(image)
        if found is None:
            log.add("rows for which several files fit" if place == AMBIGUOUS else "rows without a file", here)
            continue
        if place >= 0:
            rows.used.add(place)
        if names is None:
            log.add("rows whose labels are no list", here)
            continue
        if columns.kind == "single" and not names:
            log.add("rows without a label", here)
            continue
        if columns.box and len(names) > 1:
            log.add("rows with several labels for one box", here)
            continue
        rows.numbers.append(number)
        rows.uris.append(found[0])
        rows.ids.append(found[1])
        rows.labels.append(names)
        rows.boxes.append(_box([edge[number - 1] for edge in edges], sized=columns.sized) if columns.box else None)
        rows.groups.append(groups[number - 1] if groups else "")
        rows.weights.append(_weight(weights[number - 1], here) if weights else 1.0)
        rows.splits.append(_split(splits[number - 1], here) if splits else split)
    return rows


def _labels_of(table: pa.Table, columns: Columns) -> list[list[str] | None]:
    """The label names of each row; None where a list cannot be read. Equal cells share one list."""
    if columns.kind == "indicators":
        flags = np.array([np.isin(np.array(table[name].to_pylist(), object), YES) for name in columns.labels]).T
        names = np.array(columns.labels, object)
        return [names[row].tolist() for row in flags]
    known: dict[str, list[str] | None] = {}
    values = table[columns.labels[0]].to_pylist()
    for value in values:
        if value in known:
            continue
        if columns.kind == "list":
            known[value] = literal_list(value) if value.strip() else []
        elif columns.kind == "delimited":
            known[value] = [part.strip() for part in value.split(columns.delimiter) if part.strip()]
        else:
            known[value] = [value.strip()] if value.strip() else []
    return [known[value] for value in values]


def _elsewhere(value: str) -> tuple[str, str] | None:
    """(uri, id) of an absolute path that lies outside the folder."""
    if not value.startswith(("/", "~")) or "\0" in value:
        return None
    try:
        path = os.path.abspath(os.path.expanduser(value))  # noqa: PTH100, PTH111 - ten times as fast as Path
        return (path, path) if os.path.isfile(path) else None  # noqa: PTH113
    except (OSError, ValueError):
        return None


def _split(value: str, here: str) -> int:
    try:
        return SPLIT_VALUES[value.strip().lower()]
    except KeyError:
        raise DataError(f"{here}: the split '{value}' is not train, validation or test.") from None


def _weight(value: str, here: str) -> float:
    weight = number_of(value)
    if weight is None or weight < 0:
        raise DataError(f"{here}: the weight '{value[:40]}' is not a number from 0 on.")
    return weight


def _box(edges: list[str], *, sized: bool) -> tuple[float, ...] | None:
    """x0, y0, x1, y1; None for what is not four numbers."""
    try:
        x0, y0, x1, y1 = (float(edge) for edge in edges)
    except ValueError:
        return None
    return (x0, y0, x0 + x1, y0 + y1) if sized else (x0, y0, x1, y1)


def _to_manifest(parts: list[_Rows], columns: Columns, index: FileIndex, log: _Log, options: SourceOptions) -> Manifest:
    """One row per image (or box): repeated rows fall away, rows that contradict each other are told."""
    uris = [uri for part in parts for uri in part.uris]
    if not uris:
        raise NoImagesError(f"{log.table}: no row has an image below {index.root}. {'; '.join(log.sentences())}.")
    labels = [names for part in parts for names in part.labels]
    boxes = [box for part in parts for box in part.boxes]
    heres = [f"row {number} of {part.table.name}" for part in parts for number in part.numbers]
    first: dict[tuple[str, tuple[float, ...] | None], int] = {}
    kept = []
    for row, key in enumerate(zip(uris, boxes, strict=True)):
        before = first.setdefault(key, row)
        if before == row:
            kept.append(row)
        elif set(labels[before]) == set(labels[row]):
            log.add("repeated rows", f"{heres[row]} ({_name(uris[row])})")
        else:
            log.add("rows that contradict an earlier row (left out)", f"{heres[row]} ({_name(uris[row])})")
    beside = index.beside(place for part in parts for place in part.used)
    if beside:
        log.counts["files without a row"] = len(beside)
        log.examples["files without a row"] = index.paths[beside[0]]
    ids = [name for part in parts for name in part.ids]
    groups = [name for part in parts for name in part.groups]
    weights = np.array([weight for part in parts for weight in part.weights], np.float32)
    splits = np.array([split for part in parts for split in part.splits], np.int8)
    if columns.box:
        scenes = groups if columns.group else uris
        return _objects(kept, ids, uris, labels, boxes, splits, scenes, weights, log, options)
    classes = (
        columns.labels if columns.kind == "indicators" else tuple(_sorted({n for row in kept for n in labels[row]}))
    )
    if not classes:
        raise ClassesError(f"{log.table}: no row has a label in '{columns.labels[0]}'.")
    targets, single = _targets([labels[row] for row in kept], classes, columns)
    return Manifest(
        ids=pa.array([ids[row] for row in kept], pa.large_string()),
        uris=pa.array([uris[row] for row in kept], pa.large_string()),
        targets=targets,
        splits=splits[kept],
        classes=classes,
        task="single" if single else "multi",
        groups=_groups([groups[row] for row in kept]) if columns.group else None,
        weights=weights[kept] if columns.weight else None,
        skipped=dict(log.counts),
        notes=(*log.notes, *log.sentences()),
    )


def _objects(
    kept: list[int],
    ids: list[str],
    uris: list[str],
    labels: list[list[str]],
    boxes: list[tuple[float, ...] | None],
    splits: npt.NDArray[np.int8],
    groups: list[str],
    weights: npt.NDArray[np.float32],
    log: _Log,
    options: SourceOptions,
) -> Manifest:
    """A row per box, scene by scene, as the readers of detection formats make them."""
    collector = BoxCollector(log.table)
    group_of = {}
    for row in kept:
        scene = collector.scene(ids[row], Path(uris[row]), split=int(splits[row]))
        label = collector.label(labels[row][0]) if labels[row] else collector.unnamed("")
        collector.add(scene, label, boxes[row], weight=float(weights[row]))
        group_of[uris[row]] = groups[row] or uris[row]
    found = collector.to_manifest(options)
    return dataclasses.replace(
        found,
        groups=_groups([group_of[uri] for uri in found.uris.to_pylist()]),
        skipped={**log.counts, **found.skipped},
        notes=(*log.notes, *log.sentences(), *found.notes),
    )


def _targets(labels: list[list[str]], classes: tuple[str, ...], columns: Columns) -> tuple[_Labels, bool]:
    """int64 [N] where every row has exactly one label, else uint8 [N, K]; and which it is."""
    place = {name: k for k, name in enumerate(classes)}
    if columns.kind == "single" or (columns.kind == "indicators" and all(len(names) == 1 for names in labels)):
        return np.fromiter((place[names[0]] for names in labels), np.int64, len(labels)), True
    targets = np.zeros((len(labels), len(classes)), np.uint8)
    for row, names in enumerate(labels):
        targets[row, [place[name] for name in names]] = 1
    return targets, False


def _groups(names: list[str]) -> npt.NDArray[np.int64]:
    """A number per group; a row without a group is its own."""
    chosen = [name or f"\0{row}" for row, name in enumerate(names)]
    numbers = {name: k for k, name in enumerate(dict.fromkeys(chosen))}
    return np.fromiter((numbers[name] for name in chosen), np.int64, len(chosen))


def _sorted(names: set[str]) -> list[str]:
    """Numbers by size, anything else by name."""
    if all(name.isdecimal() and name.isascii() for name in names):
        return sorted(names, key=lambda name: (int(name) if len(name) < 19 else 10**19, name))
    return sorted(names)


def _name(uri: str) -> str:
    return uri[uri.rfind("/") + 1 :]


def _choose_tables(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    tables = _tables_in(path)
    if not tables:
        raise DataError(f"There is no table (CSV, TSV, Parquet or JSON lines) in {path}.")
    splits = [table for table in tables if table.stem.lower() in SPLIT_NAMES]
    if any(SPLIT_NAMES[table.stem.lower()] == 0 for table in splits):
        return sorted(splits, key=lambda table: SPLIT_NAMES[table.stem.lower()])
    if len(tables) == 1:
        return tables
    preferred = [table for name in PREFERRED_NAMES for table in tables if table.stem.lower() == name]
    if preferred:
        return preferred[:1]
    named = ", ".join(table.name for table in tables[:10])
    raise DataError(f"There are several tables in {path} ({named}). Name one, such as {tables[0]}.")


def _tables_in(path: Path) -> list[Path]:
    try:
        return sorted(
            entry for entry in path.iterdir() if entry.suffix.lower() in TABLE_EXTENSIONS and entry.name[0] != "."
        )
    except OSError as error:
        raise DataError(f"Cannot read the folder {path}: {error.strerror}.") from error
