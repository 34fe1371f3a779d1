"""CIFAR-10 and CIFAR-100 as distributed: the python and the binary version, unpacked or as the .tar.gz.

    cifar-10-batches-py/data_batch_1 ... test_batch, batches.meta       cifar-100-python/train, test, meta
    cifar-10-batches-bin/data_batch_1.bin ... test_batch.bin            cifar-100-binary/train.bin, test.bin

Images stay in these files (an archive's members are extracted into the user's cache folder). CIFAR-100 comes with its
100 fine labels; `--label-columns coarse_labels` takes the 20 coarse ones.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.data.images.arrays import ArrayView, extract
from linnaeus.data.manifest import TEST, TRAIN, Manifest
from linnaeus.data.sources.array_labels import number_labels
from linnaeus.data.sources.arrays import ArrayPart, manifest_of_arrays
from linnaeus.data.sources.options import NO_OPTIONS, SourceOptions
from linnaeus.data.sources.plain_pickle import PickledArray, read_plain_pickle, text_of
from linnaeus.errors import DataError

FOLDERS = ("cifar-10-batches-py", "cifar-10-batches-bin", "cifar-100-python", "cifar-100-binary")
_TRAIN_FILE = re.compile(r"(data_batch_\d+|train)(\.bin)?")
_TEST_FILE = re.compile(r"(test_batch|test)(\.bin)?")
_NAME_FILES = ("batches.meta", "meta", "batches.meta.txt", "fine_label_names.txt", "coarse_label_names.txt")
_SIDE_PX, _PIXEL_BYTES = 32, 32 * 32 * 3


def recognise_cifar(path: Path) -> bool:
    """One of the four folders, a folder around one, or the archive of one."""
    if path.is_file():
        return path.name.lower().endswith((".tar.gz", ".tgz")) and _first_member(path).startswith("cifar-10")
    return path.is_dir() and _folder(path) is not None


def read_cifar(path: Path, options: SourceOptions = NO_OPTIONS) -> Manifest:
    """60,000 rows (or what there is), the training batches before the test batch; ids are `FILE/ROW`.

    Raises DataError, naming the file, for one that is missing, damaged, or asks for more than data.
    """
    files = _archive_files(path) if path.is_file() else _folder_files(path)
    coarse = bool(options.label_columns) and options.label_columns[0].lower().startswith("coarse")
    batches = [name for name in files if _TRAIN_FILE.fullmatch(name)] + [n for n in files if _TEST_FILE.fullmatch(n)]
    if not batches:
        raise DataError(f"There is no batch of CIFAR in {path}, such as data_batch_1 or train.")
    names = _names(files, coarse)
    parts = []
    for batch in batches:
        lies_in, member, file = files[batch]
        read = _read_binary if batch.endswith(".bin") else _read_python
        where = f"{lies_in}{f' ({member})' if member else ''}"
        view, numbers = read(lies_in, member, file, where, coarse=coarse, hundred=batch.startswith(("train", "test.")))
        labels = number_labels(numbers, where, names)
        parts.append(ArrayPart(batch, view, labels, TEST if _TEST_FILE.fullmatch(batch) else TRAIN))
    return manifest_of_arrays(path, parts, [])


_Files = dict[str, tuple[Path, str, Path]]
"""File name -> (what the user has, the member of it or "", a file with the content)."""


def _first_member(path: Path) -> str:
    try:
        with tarfile.open(path, "r|*") as archive:
            entry = archive.next()
            return "" if entry is None else entry.name.removeprefix("./")
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        return ""


def _folder(path: Path) -> Path | None:
    """Where the batches lie: here or in the one folder of CIFAR below."""
    for folder in (path, *(path / name for name in FOLDERS)):
        there = {"python": folder / "data_batch_1", "binary": folder / "data_batch_1.bin"}
        hundred = all((folder / name).is_file() for name in ("train", "test", "meta"))
        hundred_binary = (folder / "train.bin").is_file() and (folder / "fine_label_names.txt").is_file()
        if hundred or hundred_binary or any(file.is_file() for file in there.values()):
            return folder
    return None


def _folder_files(path: Path) -> _Files:
    folder = _folder(path) or path
    try:
        found = sorted(file for file in folder.iterdir() if file.is_file() and _is_ours(file.name))
    except OSError as error:
        raise DataError(f"Cannot read the folder {folder}: {error.strerror}.") from error
    return {file.name: (file.absolute(), "", file) for file in found}


def _archive_files(path: Path) -> _Files:
    try:
        with tarfile.open(path, "r|*") as archive:
            members = sorted(entry.name for entry in archive if entry.isreg() and _is_ours(Path(entry.name).name))
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    extracted = extract(path, members) if members else {}
    return {Path(member).name: (path.absolute(), member, extracted[member]) for member in members}


def _is_ours(name: str) -> bool:
    return bool(_TRAIN_FILE.fullmatch(name) or _TEST_FILE.fullmatch(name)) or name in _NAME_FILES


def _names(files: _Files, coarse: bool) -> tuple[str, ...] | None:
    """The class names; None where no file tells them."""
    for name in ("batches.meta", "meta"):
        if name in files:
            where = str(files[name][0])
            content = read_plain_pickle(files[name][2], where)
            for key in ("coarse_label_names",) if coarse else ("fine_label_names", "label_names"):
                if isinstance(content, dict) and key in content:
                    return tuple(text_of(item) for item in _list(content[key], where))
    for name in ("coarse_label_names.txt",) if coarse else ("fine_label_names.txt", "batches.meta.txt"):
        if name in files:
            try:
                lines = files[name][2].read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"{files[name][0]} cannot be read: {error}") from error
            return tuple(line.strip() for line in lines if line.strip())
    return None


def _read_python(
    lies_in: Path, member: str, file: Path, where: str, *, coarse: bool, hundred: bool
) -> tuple[ArrayView, Any]:
    content = read_plain_pickle(file, where)
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, PickledArray) or data.shape[1:] != (_PIXEL_BYTES,) or data.dtype != "|u1":
        raise DataError(f"{where} is no batch of CIFAR: it has no array 'data' of bytes, {_PIXEL_BYTES} per image.")
    key = ("coarse_labels" if coarse else "fine_labels") if "fine_labels" in content else "labels"
    numbers = [item for item in _list(content.get(key), where) if isinstance(item, int) and abs(item) < 2**31]
    if len(numbers) != data.shape[0]:
        raise DataError(f"{where}: {data.shape[0]} images, but {len(numbers)} '{key}'.")
    return _view(lies_in, member, data.start, data.shape[0], _PIXEL_BYTES), np.array(numbers, np.int64)


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{where} is no file of CIFAR: it has no list of labels.")
    return value


def _read_binary(
    lies_in: Path, member: str, file: Path, where: str, *, coarse: bool, hundred: bool
) -> tuple[ArrayView, Any]:
    num_labels = 2 if hundred else 1
    row_bytes = num_labels + _PIXEL_BYTES
    content = np.fromfile(file, np.uint8) if file.stat().st_size == 0 else np.memmap(file, np.uint8, mode="r")
    if len(content) == 0 or len(content) % row_bytes:
        raise DataError(f"{where} is damaged: {len(content):,} bytes are no multiple of {row_bytes}.")
    place = num_labels - 1 if not coarse else 0
    numbers = np.array(content[place::row_bytes], np.int64)
    return _view(lies_in, member, num_labels, len(content) // row_bytes, row_bytes), numbers


def _view(path: Path, member: str, offset: int, num_rows: int, row_bytes: int) -> ArrayView:
    """Red, green and blue planes of 32 x 32 bytes."""
    shape = (_SIDE_PX, _SIDE_PX, 3)
    return ArrayView(path, member, offset, num_rows, "|u1", shape, (row_bytes, _SIDE_PX, 1, _SIDE_PX**2))
