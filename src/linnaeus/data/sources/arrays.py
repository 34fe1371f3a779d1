"""The array source: images in one array and labels in another, as .npy files or in one .npz.

    DATA/X.npy  DATA/y.npy           any of x, data, images and y, labels, targets; with train, val, test in the names
    DATA.npz    x_train, y_train...  likewise; saved as arr_0 and arr_1 they are told by their shapes

Only headers, labels and a small sample are read; images stay where they are. No pickled array is opened.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa

from linnaeus.data.images.arrays import ArrayView, locate
from linnaeus.data.manifest import UNASSIGNED, Manifest
from linnaeus.data.sources.array_labels import ArrayLabels, read_labels
from linnaeus.data.sources.array_layout import StoredArray, view_of
from linnaeus.data.sources.folder import has_class_folders
from linnaeus.data.sources.options import NO_OPTIONS, SourceOptions
from linnaeus.data.sources.table_columns import SPLIT_VALUES
from linnaeus.errors import DataError, LinnaeusError

IMAGE_WORDS = {"x", "data", "image", "images", "img", "imgs", "pixels", "features", "arr"}
LABEL_WORDS = {"y", "label", "labels", "lbl", "target", "targets"}
NAME_WORDS = {"names", "classes"}
NAME_FILES = ("classes.txt", "class_names.txt", "labels.txt", "label_names.txt")


def recognise_arrays(path: Path) -> bool:
    """A .npy or .npz file, or a folder with one .npz or two .npy right inside."""
    if path.is_file():
        return path.suffix.lower() in (".npy", ".npz")
    there = path.is_dir() and (len(list(path.glob("*.npy"))) > 1 or any(path.glob("*.npz")))
    return there and not has_class_folders(path)


def read_arrays(path: Path, options: SourceOptions = NO_OPTIONS) -> Manifest:
    """Rows in the order of the arrays; ids are `NAME/ROW`. Splits are those in the names of the arrays.

    Raises DataError, naming the files and their shapes, for what does not pair or is no array of images.
    """
    folder = path if path.is_dir() else path.parent
    stored = _stored(path)
    names = _stored_names(stored) or class_names(folder)
    pairs, notes = _pair(path, stored)
    parts = []
    for images, labels in pairs:
        where = labels.array.where
        found = read_labels(load_array(labels.array), where, names)
        view, note = view_of(images.array, len(found.targets), options.image_shape)
        notes.append(note + (" (otherwise: --image-shape)" if len(images.array.shape) == 2 else ""))
        split = SPLIT_VALUES[images.split] if images.split else UNASSIGNED
        stem = Path(images.array.member or images.array.path.name).stem
        parts.append(ArrayPart(f"{path.name}/{stem}" if images.array.member else stem, view, found, split))
    return manifest_of_arrays(path, parts, notes)


@dataclass(frozen=True)
class ArrayPart:
    """Images and their labels in one split; `name` begins their ids."""

    name: str
    view: ArrayView
    labels: ArrayLabels
    split: int


def manifest_of_arrays(path: Path, parts: Sequence[ArrayPart], notes: Sequence[str]) -> Manifest:
    """One manifest of all parts, under the union of their classes."""
    task = parts[0].labels.task
    if any(part.labels.task != task for part in parts):
        raise DataError(f"{path}: some labels are one per image, others several.")
    classes = _union([part.labels.classes for part in parts])
    targets: Any = np.concatenate([part.labels.with_classes(classes) for part in parts])
    return Manifest(
        ids=pa.array([f"{part.name}/{row}" for part in parts for row in range(part.view.num_rows)], pa.large_string()),
        uris=pa.array([uri for part in parts for uri in part.view.uris()], pa.large_string()),
        targets=targets,
        splits=np.concatenate([np.full(part.view.num_rows, part.split, np.int8) for part in parts]),
        classes=classes,
        task=task,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Named:
    """A stored array with what its name says: "images", "labels", "names" or "", its split, and all other words."""

    array: StoredArray
    role: str
    split: str
    rest: tuple[str, ...]


def _stored(path: Path) -> list[_Named]:
    if path.is_dir():
        files = sorted([*path.glob("*.npy"), *path.glob("*.npz")])
    else:
        files = [path] if path.suffix.lower() == ".npz" else sorted(path.parent.glob("*.npy"))
    if not files:
        raise DataError(f"There is no .npy or .npz file in {path}.")
    found = []
    for file in files:
        try:
            headers = _npz_headers(file) if file.suffix.lower() == ".npz" else [_npy_header(file)]
        except DataError:
            if path.is_dir() or file == path:
                raise
            continue  # a stranger beside the file that was named
        found += [_named(array, with_file=len(files) > 1) for array in headers]
    return found


def _npy_header(path: Path) -> StoredArray:
    try:
        with path.open("rb") as file:
            return _header(file, path, "")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _npz_headers(path: Path) -> list[StoredArray]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
            if not members:
                raise DataError(f"There are no arrays in {path}.")
            found = []
            for member in members:
                with archive.open(member) as file:
                    found.append(_header(file, path, member))
            return found
    except LinnaeusError:
        raise
    except Exception as error:  # zipfile raises anything on damaged archives: struct.error, zlib.error, KeyError ...
        raise DataError(f"{path} is damaged: {error}") from error


def _header(file: IO[bytes], path: Path, member: str) -> StoredArray:
    name = f"{path}{f' ({member})' if member else ''}"
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
        if dtype.hasobject or dtype.itemsize == 0 or any(size < 0 for size in shape):
            raise ValueError("it holds Python objects, which are not opened: save plain numbers")
        return StoredArray(path, member, file.tell(), dtype, tuple(int(size) for size in shape), bool(fortran))
    except OSError:
        raise
    except Exception as error:  # the header is a Python literal: ast and tokenize raise what they like
        raise DataError(f"{name} is not a .npy array that can be read: {error}") from error


def _named(array: StoredArray, *, with_file: bool) -> _Named:
    stem = Path(array.member).stem if array.member else array.path.stem
    text = f"{array.path.stem} {stem}" if array.member and with_file else stem
    words = re.findall(r"[a-z]+", re.sub(r"(?<![a-z])([xy])(train|test|val|valid)", r"\1 \2", text.lower()))
    roles = {"names": NAME_WORDS, "labels": LABEL_WORDS, "images": IMAGE_WORDS}
    role = next((role for role, known in roles.items() if known & set(words)), "")
    if role == "names" and array.dtype.kind not in "US":
        role = "labels"
    if role == "images" and len(array.shape) < 2:
        role = "labels"  # arr_1
    if not role or (role == "labels" and len(array.shape) > 2):
        role = "images" if len(array.shape) > 1 else "labels"
    split = next((word for word in words if word in SPLIT_VALUES), "")
    known = IMAGE_WORDS | LABEL_WORDS | NAME_WORDS | {split}
    return _Named(array, role, split, tuple(word for word in words if word not in known))


def _pair(path: Path, stored: Sequence[_Named]) -> tuple[list[tuple[_Named, _Named]], list[str]]:
    """Images with their labels, and a note for images without. Raises DataError if it is not clear which belong."""
    images = [item for item in stored if item.role == "images"]
    labels = [item for item in stored if item.role == "labels"]
    if path.suffix.lower() == ".npy" and path.is_file():
        images = [item for item in images if item.array.path == path] or images
    there = "; ".join(item.array.where for item in stored[:8])
    if not images or not labels:
        raise DataError(f"{path}: an array of images and one of labels are needed. There are: {there}.")
    if len(images) == len(labels) == 1:
        return [(images[0], labels[0])], []
    pairs, notes = [], []
    for item in images:
        own = [label for label in labels if (label.split, label.rest) == (item.split, item.rest)]
        if len(own) == 1:
            pairs.append((item, own[0]))
        else:
            notes.append(f"{item.array.name} is left out: it has {len(own)} arrays of labels")
    places = [image.split for image, _ in pairs]
    if not pairs or len(set(places)) < len(places):
        raise DataError(f"{path}: it is not clear which labels belong to which images. There are: {there}.")
    return pairs, notes


def load_array(array: StoredArray) -> np.ndarray:
    """A small array, whole."""
    try:
        file, start = locate(array.path, array.member)
        start += array.offset
        if start + array.dtype.itemsize * int(np.prod(array.shape, dtype=np.float64)) > file.stat().st_size:
            raise DataError(f"{array.where}: the file is truncated.")
        if 0 in array.shape:
            return np.zeros(array.shape, array.dtype)
        order: Literal["F", "C"] = "F" if array.fortran else "C"
        return np.array(np.memmap(file, array.dtype, mode="r", offset=start, shape=array.shape, order=order))
    except (OSError, ValueError, OverflowError) as error:
        raise DataError(f"{array.where} cannot be read: {error}") from error


def _stored_names(stored: Sequence[_Named]) -> tuple[str, ...] | None:
    for item in stored:
        if item.role == "names" and len(item.array.shape) == 1:
            values = load_array(item.array)
            return tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.tolist())
    return None


def class_names(folder: Path) -> tuple[str, ...] | None:
    """The lines of a `classes.txt` or the like; None if there is none."""
    for name in NAME_FILES:
        if (folder / name).is_file():
            try:
                lines = (folder / name).read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"{folder / name} cannot be read: {error}") from error
            return tuple(line.strip() for line in lines if line.strip())
    return None


def _union(parts: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """All names, in the order of the first array and then of what others add; numbers by size."""
    names = list(dict.fromkeys(name for part in parts for name in part))
    if all(name.isdecimal() and name.isascii() and len(name) < 19 for name in names):
        names.sort(key=int)
    return tuple(names)
