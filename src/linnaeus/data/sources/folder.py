"""The folder source: one folder per class, or `train/`, `val/` and `test/` folders of those.

    DATA/cat/1.jpg                 the folder below DATA names the class; deeper folders do not matter
    DATA/train/cat/1.jpg           `train`, `val` (or `valid`, `validation`) and `test`, in any case, name splits

Only names are looked at, and of files with an unknown extension the first bytes. Nothing is decoded or written.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from linnaeus.data.images.formats import looks_like_image
from linnaeus.data.manifest import SPLITS, TEST, TRAIN, UNASSIGNED, VALIDATION, Manifest
from linnaeus.data.sources.options import NO_OPTIONS, SourceOptions
from linnaeus.errors import ClassesError, DataError, DataNotFoundError, NoImagesError

SPLIT_NAMES = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}
LAYOUT = "Expected: one folder per class with its images inside, or train/, val/ and test/ folders of class folders."
_CLUTTER = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"}

_Found = list[tuple[str, str, str, int]]
"""(id, absolute path, class name, split)"""


def recognise_folder(path: Path) -> bool:
    """Any folder at all: this layout is asked last."""
    return path.is_dir()


def has_class_folders(path: Path) -> bool:
    """Whether a folder is one of class folders, whatever files lie beside these."""
    try:
        if _split_folders(path):
            return True
        folders = [name for name in _folders(path) if name.lower() not in SPLIT_NAMES]
        return sum(_holds_an_image(path / name) for name in folders) > 1
    except DataError:
        return False


def read_folder(path: Path, options: SourceOptions = NO_OPTIONS) -> Manifest:
    """Rows in the order of their sorted names; ids are paths below `path` with forward slashes.

    Files passed over are counted in `skipped` by reason. Symbolic links are followed.

    Raises DataNotFoundError (no such folder), NoImagesError (nothing in it to learn from) or ClassesError (fewer than
    two classes, or a class that has test or validation images and no training images).
    """
    _require_folder(path)
    skipped: Counter[str] = Counter()
    splits = _split_folders(path)
    if splits:
        folders, files = _list(str(path), skipped)
        _count_loose(str(path), files, skipped)
        skipped["a folder beside the splits"] += len(folders) - len(splits)
        found = [row for name in splits for row in _read_classes(path, name, SPLIT_NAMES[name.lower()], skipped)]
        _require_training_images(path, found)
    else:
        found = list(_read_classes(path, "", UNASSIGNED, skipped))
    manifest = _to_manifest(path, found, skipped, splits)
    if manifest.num_classes < 2:
        raise ClassesError(
            f"{path} has one class only ('{manifest.classes[0]}', {len(manifest)} images); "
            f"a classifier needs at least two. {LAYOUT}"
        )
    return manifest


def read_class_folders(path: Path, *, prefer_test: Sequence[str]) -> Manifest:
    """A single set of class folders, even of one class: `path` itself, or its `test/` folder if it has one.

    A folder called `test` is a class all the same if `prefer_test`, the known class names, holds that name.
    """
    _require_folder(path)
    inner = [name for name in _folders(path) if name.lower() == "test" and name not in prefer_test]
    root = path / inner[0] if inner and _holds_only_folders(path / inner[0]) else path
    skipped: Counter[str] = Counter()
    return _to_manifest(root, list(_read_classes(root, "", UNASSIGNED, skipped)), skipped, [])


def walk_images(path: Path) -> Iterator[str]:
    """Paths below `path`, with forward slashes, of all images in it, folder by folder and sorted, without labels.

    Raises DataError for a folder that cannot be read.
    """
    for relative in _walk(str(path), "", (), Counter()):
        yield relative[1:]


def _require_folder(path: Path) -> None:
    if not path.exists():
        raise DataNotFoundError(f"There is no folder {path}.")
    if not path.is_dir():
        archive = path.suffix.lower() in {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"}
        advice = "Unpack it and name the folder." if archive else LAYOUT
        raise DataNotFoundError(f"{path} is a file, not a folder of images. {advice}")


def _split_folders(path: Path) -> list[str]:
    """Sorted names of the split folders if `path` is laid out so, else an empty list.

    A class may be called "train" too. So a split folder holds folders and no images, and either there is a second
    split folder or nothing else beside it.
    """
    folders = _folders(path)
    named = [name for name in folders if name.lower() in SPLIT_NAMES and _holds_only_folders(path / name)]
    alone = len(named) == len(folders)
    if not named or not (alone or len(named) > 1):
        return []
    if not any(SPLIT_NAMES[name.lower()] == TRAIN for name in named):
        if not alone:
            return []
        raise NoImagesError(f"{path} has {' and '.join(f'{name}/' for name in named)} but no train/ folder. {LAYOUT}")
    return named


def _read_classes(
    root: Path, split_folder: str, split: int, skipped: Counter[str]
) -> Iterator[tuple[str, str, str, int]]:
    """Walk the class folders below root/split_folder."""
    base = str((root / split_folder).resolve())
    prefix = f"{split_folder}/" if split_folder else ""
    folders, files = _list(base, skipped)
    _count_loose(base, files, skipped)
    for name in folders:
        label = unicodedata.normalize("NFC", name)  # macOS writes decomposed names, others composed ones
        for relative in _walk(f"{base}/{name}", f"{prefix}{name}", (), skipped):
            yield relative, f"{base}/{relative[len(prefix) :]}", label, split


def _count_loose(folder: str, files: list[str], skipped: Counter[str]) -> None:
    for name in files:
        skipped["outside the class folders" if looks_like_image(f"{folder}/{name}") else "not an image"] += 1


def _walk(folder: str, relative: str, above: tuple[tuple[int, int], ...], skipped: Counter[str]) -> Iterator[str]:
    """Ids of the images in a folder and all folders below it. `above` tells links that lead in a circle."""
    here = _identity(folder)
    if here in above:
        skipped["a link to a folder around it"] += 1
        return
    folders, files = _list(folder, skipped)
    for name in files:
        if looks_like_image(f"{folder}/{name}"):
            yield f"{relative}/{name}"
        else:
            skipped["not an image"] += 1
    for name in folders:
        yield from _walk(f"{folder}/{name}", f"{relative}/{name}", (*above, here), skipped)


def _list(folder: str, skipped: Counter[str]) -> tuple[list[str], list[str]]:
    """Sorted names of the folders and of the files in a folder that are neither hidden nor clutter."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name[0] == "." or name.lower() in _CLUTTER:
                    skipped["hidden"] += 1
                elif not name.isascii() and not _is_unicode(name):
                    skipped["a name that is not UTF-8"] += 1
                elif entry.is_file():
                    files.append(name)
                elif entry.is_dir():
                    folders.append(name)
                else:
                    skipped["a broken link" if entry.is_symlink() else "not an image"] += 1
    except OSError as error:
        raise DataError(f"Cannot read the folder {folder}: {error.strerror}.") from error
    return sorted(folders), sorted(files)


def _identity(folder: str) -> tuple[int, int]:
    status = Path(folder).stat()
    return status.st_dev, status.st_ino


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _folders(path: Path) -> list[str]:
    return _list(str(path), Counter())[0]


def _holds_only_folders(path: Path) -> bool:
    folders, files = _list(str(path), Counter())
    return bool(folders) and not any(looks_like_image(f"{path}/{name}") for name in files)


def _holds_an_image(path: Path) -> bool:
    return any(looks_like_image(f"{path}/{name}") for name in _list(str(path), Counter())[1])


def _require_training_images(path: Path, found: _Found) -> None:
    trained = {label for _, _, label, split in found if split == TRAIN}
    lacking = {label: SPLITS[split] for _, _, label, split in found if label not in trained}
    if lacking:
        named = ", ".join(f"'{label}' (in {split})" for label, split in sorted(lacking.items()))
        raise ClassesError(f"{path}: no training images of {named}. Every class needs a folder in train/ too.")


def _to_manifest(path: Path, found: _Found, skipped: Counter[str], splits: list[str]) -> Manifest:
    counted = {reason: count for reason, count in sorted(skipped.items()) if count}
    if not found:
        raise NoImagesError(_why_empty(path, counted, splits))
    ids, uris, labels, places = zip(*found, strict=True)
    classes = tuple(sorted(set(labels)))
    position = {name: k for k, name in enumerate(classes)}
    return Manifest(
        ids=pa.array(ids, pa.large_string()),
        uris=pa.array(uris, pa.large_string()),
        targets=np.fromiter(map(position.__getitem__, labels), np.int64, len(labels)),
        splits=np.array(places, np.int8),
        classes=classes,
        skipped=counted,
    )


def _why_empty(path: Path, skipped: dict[str, int], splits: list[str]) -> str:
    loose = skipped.get("outside the class folders", 0)
    where = f"{path} ({', '.join(f'{name}/' for name in splits)})" if splits else f"{path}"
    if loose:
        return f"{where} holds {loose} images but no class folders around them. {LAYOUT}"
    folders = _folders(path)
    if not folders and not skipped:
        return f"The folder {where} is empty. {LAYOUT}"
    passed_over = ", ".join(f"{count} {reason}" for reason, count in skipped.items()) or "nothing"
    return f"There are no images in {where}: {len(folders)} folders, and of files {passed_over}. {LAYOUT}"
