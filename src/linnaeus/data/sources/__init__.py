"""Sources: where labelled images come from. Each reader turns one layout on disk into a Manifest.

First step in the life of an image. Adding a layout is one file here and one line in SOURCES. Readers look at names
and folders only; no image is decoded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from linnaeus.data.manifest import TEST, Manifest
from linnaeus.data.sources.builtin import read_digits
from linnaeus.data.sources.folder import read_class_folders, read_folder
from linnaeus.errors import ClassesError, DataError, DataNotFoundError, nearest_name

Source = Callable[[Path], Manifest]

SOURCES: Mapping[str, Source] = {"folder": read_folder}
"""Layouts on disk, by the name that `format` takes."""

BUILTIN: Mapping[str, Callable[[], Manifest]] = {"digits": read_digits}
"""Data sets that need no files. `./digits` is a folder, `digits` is this."""


def read_source(source: str, *, format: str | None = None) -> Manifest:
    """Read a built-in name or a path.

    Args:
        source: a name in BUILTIN, or the path of a data set.
        format: a name in SOURCES; None finds it out.

    Raises DataNotFoundError if there is nothing by that name, NoImagesError or ClassesError if what is there is no
    labelled data set, DataError for an unknown format.
    """
    if format is not None and format not in SOURCES:
        raise DataError(f"There is no data format '{format}'.{nearest_name(format, SOURCES)} Known: {_names(SOURCES)}.")
    if format is None and source in BUILTIN:
        return BUILTIN[source]()
    return SOURCES[format or "folder"](_existing(source))


def read_test_source(source: str, classes: tuple[str, ...]) -> Manifest:
    """Read a separate test set, whose classes must be exactly `classes`.

    A folder of class folders, or one with a `test/` folder of them (then only that is read), or a built-in name. Every
    row is TEST, targets are positions in `classes`, and ids begin with `test/` so that they cannot meet those of the
    training data.

    Raises ClassesError naming what each side lacks, and what `read_source` raises.
    """
    found = BUILTIN[source]() if source in BUILTIN else read_class_folders(_existing(source), prefer_test=classes)
    missing = [name for name in classes if name not in found.classes]
    unknown = [name for name in found.classes if name not in classes]
    if missing or unknown:
        parts = [f"the test set has no images of {_names(missing)}"] if missing else []
        parts += [f"the training data does not know {_names(unknown)}"] if unknown else []
        raise ClassesError(f"The classes of the test set {source} do not match: {'; '.join(parts)}.")
    position = np.array([classes.index(name) for name in found.classes], np.int64)
    return dataclasses.replace(
        found,
        ids=pa.array([f"test/{id}" for id in found.ids.to_pylist()], pa.large_string()),
        targets=position[found.targets],
        splits=np.full(len(found), TEST, np.int8),
        classes=classes,
    )


def _existing(source: str) -> Path:
    path = Path(source).expanduser()
    if not path.exists():
        hint = nearest_name(source, BUILTIN)
        raise DataNotFoundError(
            f"There is no folder {source}, nor a built-in data set of that name ({_names(BUILTIN)}).{hint}"
        )
    return path


def _names(names: Mapping[str, object] | list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
