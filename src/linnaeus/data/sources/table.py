"""The table source: CSV, TSV, Parquet or JSON lines with a column that names images and columns that label them.

    DATA/labels.csv  DATA/images/1.jpg      a folder with one table, or the table itself
    DATA/train.csv   DATA/test.csv          tables called like splits are read together

Columns are guessed by `table_columns` and images found by `file_index`. What does not fit together (rows without a
file, files without a row, rows that come twice) is counted and shown with an example, and the rest goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from linnaeus.data.manifest import UNASSIGNED, Manifest
from linnaeus.data.sources.boxes import BoxCollector
from linnaeus.data.sources.file_index import FileIndex
from linnaeus.data.sources.folder import SPLIT_NAMES, has_class_folders
from linnaeus.data.sources.options import NO_OPTIONS, SourceOptions
from linnaeus.data.sources.table_columns import Columns, guess_columns
from linnaeus.data.sources.table_extra import collect_extra
from linnaeus.data.sources.table_file import TABLE_EXTENSIONS, load_table
from linnaeus.data.sources.table_rows import Log, Numbers, Rows, Words, read_rows
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
    log = Log(tables[0])
    loaded = [load_table(table) for table in tables]
    columns = guess_columns(loaded[0], tables[0], index, options)
    needed = [columns.image, *columns.labels]
    log.notes.append(
        f"{tables[0].name}: {columns.describe()} (other choices: --image-column, --label-columns, --image-root)"
    )
    words = Words(index)
    parts: list[Rows] = []
    for table, content in zip(tables, loaded, strict=True):
        lacking = [name for name in needed if name not in content.column_names]
        if lacking:
            log.notes.append(f"{table.name} is left out: it has no column '{lacking[0]}'")
            continue
        split = SPLIT_NAMES.get(table.stem.lower(), UNASSIGNED) if len(tables) > 1 else UNASSIGNED
        parts.append(read_rows(content, table, columns, words, split, log))
    return _to_manifest(parts, columns, words, log, options)


def _to_manifest(parts: list[Rows], columns: Columns, words: Words, log: Log, options: SourceOptions) -> Manifest:
    """One row per image (or box): repeated rows fall away, rows that contradict each other are told."""
    index = words.index
    if not any(len(part.files) for part in parts):
        raise NoImagesError(f"{log.table}: no row has an image below {index.root}. {'; '.join(log.sentences())}.")
    files, labels, splits, groups, weights = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("files", "labels", "splits", "groups", "weights")
    )
    boxes = np.concatenate([part.boxes for part in parts if part.boxes is not None]) if columns.box else None
    first = _first_of_equals(files, boxes)
    again = first != np.arange(len(files))
    same = labels == labels[first]
    starts = np.cumsum([0, *(len(part.files) for part in parts)])
    ids, uris = _names_of_files(words)
    for reason, where in (
        ("repeated rows", again & same),
        ("rows that contradict an earlier row (left out)", again & ~same),
    ):
        if where.any():
            row = int(np.flatnonzero(where)[0])
            part = int(np.searchsorted(starts, row, side="right")) - 1
            name = Path(uris[int(files[row])].as_py()).name
            log.add(reason, int(where.sum()), f"{parts[part].here(row - int(starts[part]))} ({name})")
    unnamed = np.ones(len(ids), np.bool_)
    unnamed[np.concatenate([part.named for part in parts])] = False
    beside = np.flatnonzero(unnamed[: len(index.paths)])
    if len(beside):
        log.add("files without a row", len(beside), index.paths[int(beside[0])])
    kept = np.flatnonzero(~again)
    files, labels, splits, groups, weights = files[kept], labels[kept], splits[kept], groups[kept], weights[kept]
    extra = collect_extra([part.extra for part in parts], kept)
    if boxes is not None:
        known = _Objects(files, list(words.labels), labels, boxes[kept], splits, groups, weights, extra)
        return _objects(known, ids, uris, log, options, grouped=columns.group is not None)
    sets = list(words.labels)
    occurring = [sets[k] for k in np.unique(labels).tolist()]
    classes = (
        columns.labels if columns.kind == "indicators" else tuple(_sorted({n for names in occurring for n in names}))
    )
    if not classes:
        raise ClassesError(f"{log.table}: no row has a label in '{columns.labels[0]}'.")
    targets, single = _targets(sets, labels, classes, columns)
    return Manifest(
        ids=ids.take(pa.array(files)),
        uris=uris.take(pa.array(files)),
        targets=targets,
        splits=splits,
        classes=classes,
        task="single" if single else "multi",
        groups=_groups(groups) if columns.group else None,
        weights=weights if columns.weight else None,
        columns=extra,
        skipped=dict(log.counts),
        notes=(*log.notes, *log.sentences()),
    )


def _first_of_equals(files: Numbers, boxes: npt.NDArray[np.float64] | None) -> Numbers:
    """int64 [N]: the first row with the same file (and box) as each row."""
    keys: dict[str, npt.NDArray[Any]] = {"file": files}
    if boxes is not None:
        keys |= {f"corner {k}": boxes[:, k] for k in range(4)}
    numbers = pd.DataFrame(keys, copy=False).groupby(list(keys), sort=False, dropna=False).ngroup().to_numpy()
    # Groups are numbered in the order of their first rows, so each first row is where a new largest number stands.
    firsts = np.flatnonzero(np.diff(np.maximum.accumulate(numbers), prepend=-1))
    return np.asarray(firsts[numbers], np.int64)


def _names_of_files(words: Words) -> tuple[pa.LargeStringArray, pa.LargeStringArray]:
    """Ids and uris of all files by their numbers."""
    paths, elsewhere = (
        pa.array(words.index.paths, pa.large_string()),
        pa.array(list(words.elsewhere), pa.large_string()),
    )
    root, empty = (pa.scalar(text, pa.large_string()) for text in (f"{words.index.root}/", ""))
    uris = pc.binary_join_element_wise(root, paths, empty)
    return pa.concat_arrays([paths, elsewhere]), pa.concat_arrays([uris, elsewhere])


@dataclass(frozen=True)
class _Objects:
    """Rows with boxes, as columns of numbers like those of `Rows`."""

    files: Numbers
    sets: list[tuple[str, ...]]
    labels: Numbers
    boxes: npt.NDArray[np.float64]
    splits: npt.NDArray[np.int8]
    groups: Numbers
    weights: npt.NDArray[np.float32]
    columns: Mapping[str, pa.Array]


def _objects(
    rows: _Objects,
    ids: pa.LargeStringArray,
    uris: pa.LargeStringArray,
    log: Log,
    options: SourceOptions,
    *,
    grouped: bool,
) -> Manifest:
    """A row per box, scene by scene, as the readers of detection formats make them."""
    collector = BoxCollector(log.table)
    _, firsts, scene_of = np.unique(rows.files, return_index=True, return_inverse=True)
    order = np.argsort(firsts)  # scenes are numbered as they come
    numbers = np.zeros(len(firsts), np.int64)
    group_of_scene = np.zeros(len(firsts), np.int64)
    for place in order.tolist():
        row = int(firsts[place])
        name, path = (column[int(rows.files[row])].as_py() for column in (ids, uris))
        numbers[place] = scene = collector.scene(name, Path(path), split=int(rows.splits[row]))
        group_of_scene[scene] = rows.groups[row] if grouped else scene
    num_rows = np.bincount(rows.labels, minlength=len(rows.sets)).tolist()
    labels = np.array(
        [
            (collector.label(names[0]) if names else collector.unnamed("", num_boxes=count)) if count else -1
            for names, count in zip(rows.sets, num_rows, strict=True)
        ],
        np.int64,
    )
    collector.add_all(numbers[scene_of], labels[rows.labels], rows.boxes, rows.weights)
    found = collector.to_manifest(options, columns=rows.columns)
    assert found.groups is not None
    # A scene of no group is its own.
    alone = group_of_scene.max() + 1 + np.arange(len(group_of_scene))
    groups = np.where(group_of_scene < 0, alone, group_of_scene)
    return dataclasses.replace(
        found,
        groups=_groups(groups[found.groups]),
        skipped={**log.counts, **found.skipped},
        notes=(*log.notes, *log.sentences(), *found.notes),
    )


def _targets(
    sets: list[tuple[str, ...]], labels: Numbers, classes: tuple[str, ...], columns: Columns
) -> tuple[_Labels, bool]:
    """int64 [N] where every row has exactly one label, else uint8 [N, K]; and which it is."""
    place = {name: k for k, name in enumerate(classes)}
    sizes = np.array([len(names) for names in sets])
    if columns.kind == "single" or (columns.kind == "indicators" and (sizes[labels] == 1).all()):
        return np.array([place.get(names[0], -1) if names else -1 for names in sets], np.int64)[labels], True
    table = np.zeros((len(sets), len(classes)), np.uint8)
    for row, names in enumerate(sets):
        table[row, [place[name] for name in names if name in place]] = 1
    return table[labels], False


def _groups(numbers: Numbers) -> Numbers:
    """A number per group, in the order of their first rows; a row of no group (-1) is its own."""
    alone = np.flatnonzero(numbers < 0)
    numbers = numbers.copy()
    numbers[alone] = numbers.max(initial=-1) + 1 + np.arange(len(alone))
    return np.asarray(pd.factorize(numbers)[0], np.int64)


def _sorted(names: set[str]) -> list[str]:
    """Numbers by size, anything else by name."""
    if all(name.isdecimal() and name.isascii() for name in names):
        return sorted(names, key=lambda name: (int(name) if len(name) < 19 else 10**19, name))
    return sorted(names)


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
