"""What lies in a folder, for the readers of detection formats: without hidden files, sorted, errors told as ours.

Archives made on a Mac bring a hidden `._2355.tif` for every `2355.tif`; hidden files are never data.
"""

from __future__ import annotations

from pathlib import Path

from linnaeus.data.images.formats import IMAGE_EXTENSIONS
from linnaeus.data.manifest import UNASSIGNED
from linnaeus.data.sources.folder import SPLIT_NAMES
from linnaeus.errors import DataError

_MAX_TEXT_BYTES = 64 * 2**20


def visible_files(folder: Path, *suffixes: str) -> list[Path]:
    """Files of a folder, sorted; only those with one of these suffixes (lower case) if any are given.

    Raises DataError if the folder cannot be read.
    """
    return [path for path in _visible(folder) if (not suffixes or path.suffix.lower() in suffixes) and path.is_file()]


def visible_folders(folder: Path) -> list[Path]:
    """Folders in a folder, sorted. Raises DataError if it cannot be read."""
    return [path for path in _visible(folder) if path.is_dir()]


def visible_images(folder: Path) -> list[Path]:
    """Files with the extension of an image, sorted; none if there is no such folder."""
    return visible_files(folder, *IMAGE_EXTENSIONS) if folder.is_dir() else []


def read_text(file: Path) -> str:
    """The text of a small file; what is not UTF-8 is replaced. Raises DataError if it cannot be read or is huge."""
    try:
        if file.stat().st_size > _MAX_TEXT_BYTES:
            raise DataError(f"{file} is too large for a text of its kind.")
        return file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise DataError(f"Cannot read {file}: {error.strerror or error}.") from error


def split_named(name: str) -> int:
    """TRAIN, VALIDATION or TEST from a name such as `train`, `valid` or `val2017`; else UNASSIGNED."""
    letters = name.lower().rstrip("0123456789")
    return SPLIT_NAMES.get(letters, UNASSIGNED)


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"Cannot read the folder {folder}: {error.strerror}.") from error
