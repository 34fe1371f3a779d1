"""IDX, the format of MNIST and its family: one file of images, one of labels, plain or gzipped.

    train-images-idx3-ubyte[.gz]  train-labels-idx1-ubyte[.gz]  t10k-images-idx3-ubyte[.gz]  t10k-labels-idx1-ubyte[.gz]

Format: http://yann.lecun.com/exdb/mnist/ (two zero bytes, type, number of axes, their sizes, values; big-endian).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from linnaeus.data.images.arrays import GZIPPED, locate
from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, VALIDATION, Manifest
from linnaeus.data.sources.array_labels import read_labels
from linnaeus.data.sources.array_layout import StoredArray, view_of
from linnaeus.data.sources.arrays import ArrayPart, class_names, load_array, manifest_of_arrays
from linnaeus.data.sources.options import NO_OPTIONS, SourceOptions
from linnaeus.errors import DataError

TYPES = {8: "|u1", 9: "|i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_IDX_NAME = re.compile(r".*(idx\d?[-.]?ubyte|\.idx\d?)(\.gz)?", re.IGNORECASE)
_ROLE = re.compile(r"(images?|labels?|idx\d?|ubyte|gz)", re.IGNORECASE)
_SPLITS = {"train": TRAIN, "t10k": TEST, "test": TEST, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION}


def recognise_idx(path: Path) -> bool:
    """A file with a name of IDX, or a folder with two of them right inside."""
    if path.is_file():
        return bool(_IDX_NAME.fullmatch(path.name))
    return path.is_dir() and len(_files(path)) > 1


def read_idx(path: Path, options: SourceOptions = NO_OPTIONS) -> Manifest:
    """Rows in the order of the files, training before test; ids are `FILE/ROW`.

    Raises DataError, naming the file, for one that is damaged or has no partner.
    """
    folder = path if path.is_dir() else path.parent
    arrays = {file: _stored(file) for file in _files(folder)}
    images = {_key(file.name): array for file, array in arrays.items() if len(array.shape) > 2}
    labels = {_key(file.name): array for file, array in arrays.items() if len(array.shape) == 1}
    keys = [key for key in images if key in labels]
    if path.is_file():
        keys = [key for key in keys if key == _key(path.name)]
    if not keys:
        there = ", ".join(file.name for file in arrays) or "none"
        raise DataError(f"{path}: a file of images and one of labels are needed. Files of IDX there: {there}.")
    keys.sort(key=lambda key: (_split(key) % 4, key))
    if len({_split(key) for key in keys}) < len(keys):
        raise DataError(f"{path}: several sets of images ({', '.join(keys)}). Name the file of images of one.")
    names = class_names(folder)
    parts, notes = [], []
    for key in keys:
        found = read_labels(load_array(labels[key]), labels[key].where, names)
        view, note = view_of(images[key], len(found.targets), options.image_shape)
        notes.append(note)
        parts.append(ArrayPart(images[key].path.name.removesuffix(".gz"), view, found, _split(key)))
    return manifest_of_arrays(path, parts, notes)


def _files(folder: Path) -> list[Path]:
    """The files of IDX in a folder; of one that is there plain and gzipped, the plain one."""
    try:
        found = {file.name: file for file in folder.iterdir() if _IDX_NAME.fullmatch(file.name) and file.is_file()}
    except OSError as error:
        raise DataError(f"Cannot read the folder {folder}: {error.strerror}.") from error
    return [found[name] for name in sorted(found) if name.removesuffix(".gz") == name or name[:-3] not in found]


def _key(name: str) -> str:
    """What is left of a name without the words for images and labels: "train", "emnist letters t10k"."""
    return " ".join(part for part in re.split(r"[-._\s]+", _ROLE.sub(" ", name.lower())) if part)


def _split(key: str) -> int:
    return next((_SPLITS[word] for word in key.split() if word in _SPLITS), UNASSIGNED)


def _stored(path: Path) -> StoredArray:
    member = GZIPPED if path.suffix.lower() == ".gz" else ""
    try:
        file, _ = locate(path, member)
        with file.open("rb") as stream:
            start = stream.read(4)
            if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES or not 1 <= start[3] <= 4:
                raise DataError(f"{path} is no file of IDX: it begins with {start.hex(' ')}.")
            sizes = stream.read(4 * start[3])
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(sizes) < 4 * start[3]:
        raise DataError(f"{path}: the file is truncated.")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    return StoredArray(path.absolute(), member, 4 + len(sizes), np.dtype(TYPES[start[2]]), shape)
