"""Sources: where labelled images come from. Each reader turns one layout on disk into a Manifest.

First step in the life of an image. Adding a layout is one file here and one line in SOURCES. A layout is recognised
from names and first bytes, or named with `--format`. No image is decoded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from linnaeus.data.manifest import TEST, Manifest
from linnaeus.data.sources.arrays import read_arrays, recognise_arrays
from linnaeus.data.sources.builtin import read_digits
from linnaeus.data.sources.cifar import read_cifar, recognise_cifar
from linnaeus.data.sources.coco import read_coco, recognise_coco
from linnaeus.data.sources.folder import read_class_folders, read_folder, recognise_folder
from linnaeus.data.sources.hub import is_hub, read_hub
from linnaeus.data.sources.idx import read_idx, recognise_idx
from linnaeus.data.sources.label_lists import read_label_lists, recognise_label_lists
from linnaeus.data.sources.options import NO_OPTIONS, SourceOptions
from linnaeus.data.sources.saved import read_saved, recognise_saved
from linnaeus.data.sources.table import read_table, recognise_table
from linnaeus.data.sources.voc import read_voc, recognise_voc
from linnaeus.data.sources.xview import read_xview, recognise_xview
from linnaeus.data.sources.yolo import read_yolo, recognise_yolo
from linnaeus.errors import ClassesError, DataError, DataNotFoundError, nearest_name
from linnaeus.run_folder import RunDir


@dataclass(frozen=True)
class Source:
    """One layout on disk: how it is recognised, and how it is read."""

    read: Callable[[Path, SourceOptions], Manifest]
    recognise: Callable[[Path], bool]


SOURCES: Mapping[str, Source] = {
    "saved": Source(read_saved, recognise_saved),
    "cifar": Source(read_cifar, recognise_cifar),
    "idx": Source(read_idx, recognise_idx),
    "arrays": Source(read_arrays, recognise_arrays),
    "table": Source(read_table, recognise_table),
    "xview": Source(read_xview, recognise_xview),
    "coco": Source(read_coco, recognise_coco),
    "voc": Source(read_voc, recognise_voc),
    "yolo": Source(read_yolo, recognise_yolo),
    "label_lists": Source(read_label_lists, recognise_label_lists),
    "folder": Source(read_folder, recognise_folder),
}
"""Layouts by the name that `format` takes. The first that recognises a path reads it, so the particular stand before
the general: class folders are last."""

BUILTIN: Mapping[str, Callable[[], Manifest]] = {"digits": read_digits}
"""Data sets that need no files. `./digits` is a folder, `digits` is this."""


def read_source(source: str, *, format: str | None = None, options: SourceOptions = NO_OPTIONS) -> Manifest:
    """Read a built-in name or a path.

    Args:
        source: a name in BUILTIN, the path of a data set, or `torchvision:NAME` or `hf:NAME` in the network.
        format: a name in SOURCES; None finds it out.
        options: what to take instead of a guess.

    Raises DataNotFoundError if there is nothing by that name, NoImagesError or ClassesError if what is there is no
    labelled data set, DataError for an unknown format or the folder of a run.
    """
    if format is not None and format not in SOURCES:
        raise DataError(f"There is no data format '{format}'.{nearest_name(format, SOURCES)} Known: {_names(SOURCES)}.")
    if format is None and source in BUILTIN:
        return choose_classes(BUILTIN[source](), options)
    if format is None and is_hub(source):
        return choose_classes(read_hub(source), options)
    path = _existing(source)
    if RunDir(path).evaluation.is_file() and RunDir(path).predictions.is_file():
        raise DataError(
            f"{path} is the folder of a run, with its model and scores, and no labelled images. Give those that it was "
            "trained on."
        )
    return choose_classes(SOURCES[format or recognise(path)].read(path, options), options)


def recognise(path: Path) -> str:
    """The name in SOURCES of what lies at `path`; "folder", which explains what it expects, if nothing fits."""
    return next((name for name, source in SOURCES.items() if source.recognise(path)), "folder")


def read_test_source(
    source: str, classes: tuple[str, ...], *, format: str | None = None, options: SourceOptions = NO_OPTIONS
) -> Manifest:
    """Read a separate test set, whose classes must be exactly `classes`.

    Of a set that brings its own splits only the test rows are taken, if it has any. Class folders may be those of one
    class only. Every row is TEST, targets are positions in `classes`, and ids begin with `test/` so that they cannot
    meet those of the training data.

    Raises ClassesError naming what each side lacks, and what `read_source` raises.
    """
    if format is None and (source in BUILTIN or is_hub(source)):
        found = read_source(source)
    else:
        path = _existing(source)
        all_classes = dataclasses.replace(options, classes=(), top_classes=None)
        if (format or recognise(path)) == "folder":
            found = read_class_folders(path, prefer_test=classes)
        else:
            found = read_source(source, format=format, options=all_classes)
            rows = found.rows(TEST)
            found = found.take(rows) if len(rows) else found
    if options.classes or options.top_classes:
        shared = tuple(name for name in classes if name in found.classes)
        found = choose_classes(found, SourceOptions(classes=shared))
    missing = [name for name in classes if name not in found.classes]
    unknown = [name for name in found.classes if name not in classes]
    if missing or unknown:
        parts = [f"the test set has no images of {_names(missing)}"] if missing else []
        parts += [f"the training data does not know {_names(unknown)}"] if unknown else []
        raise ClassesError(f"The classes of the test set {source} do not match: {'; '.join(parts)}.")
    return dataclasses.replace(
        found,
        ids=pa.array([f"test/{id}" for id in found.ids.to_pylist()], pa.large_string()),
        targets=_as_positions(found, classes),
        splits=np.full(len(found), TEST, np.int8),
        classes=classes,
    )


def choose_classes(manifest: Manifest, options: SourceOptions) -> Manifest:
    """Keep the classes that the options name, and of those the most frequent; nothing changes without such options.

    Rows of other classes are left out and counted; where an image has several labels, the other labels are.
    Raises ClassesError, with the nearest name, for a class that does not occur.
    """
    for name in options.classes:
        if name not in manifest.classes:
            hint = nearest_name(name, manifest.classes)
            raise ClassesError(
                f"There is no class '{name}'.{hint} The data has {_names(list(manifest.classes)[:100])}."
            )
    kept = options.classes or manifest.classes
    if options.top_classes is not None and options.top_classes < len(kept):
        counts = dict(zip(manifest.classes, manifest.class_counts().tolist(), strict=True))
        frequent = sorted(kept, key=lambda name: -counts[name])[: options.top_classes]
        kept = tuple(name for name in kept if name in frequent)
    if set(kept) == set(manifest.classes):
        return manifest
    if manifest.task == "multi":
        return dataclasses.replace(manifest, targets=_as_positions(manifest, kept), classes=tuple(kept))
    rows = np.flatnonzero(np.isin(manifest.targets, [manifest.classes.index(name) for name in kept]))
    skipped = {**manifest.skipped, "of classes not asked for": len(manifest) - len(rows)}
    chosen = manifest.take(rows)
    return dataclasses.replace(chosen, targets=_as_positions(chosen, kept), classes=tuple(kept), skipped=skipped)


def _as_positions(manifest: Manifest, classes: Sequence[str]) -> np.ndarray:
    """The targets of `manifest` as they are under another order of its classes; those not in `classes` fall away."""
    if manifest.task == "multi":
        return np.ascontiguousarray(manifest.targets[:, [manifest.classes.index(name) for name in classes]])
    place = {name: k for k, name in enumerate(classes)}
    return np.array([place.get(name, -1) for name in manifest.classes], np.int64)[manifest.targets]


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
