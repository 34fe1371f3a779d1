"""Label lists, as MIRFLICKR has them: a folder of images, and one text file per label that lists its images.

    DATA/images/im1.jpg ...     DATA/annotations/sea.txt: 17, 230, 512, one per line

Entries are numbers (17 is im17.jpg), names or paths. Images that no list has carry no label; they stay in. Files
called train.txt, val.txt and test.txt divide the images into splits.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

from linnaeus.data.images.formats import IMAGE_EXTENSIONS
from linnaeus.data.manifest import UNASSIGNED, Manifest
from linnaeus.data.sources.file_index import AMBIGUOUS, MISSING, FileIndex
from linnaeus.data.sources.folder import SPLIT_NAMES, has_class_folders
from linnaeus.data.sources.options import NO_OPTIONS, SourceOptions
from linnaeus.errors import DataError, NoImagesError

_NO_LISTS = {"readme", "license", "licence", "classes", "class_names", "labels", "label_names", "names", "requirements"}
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


def recognise_label_lists(path: Path) -> bool:
    """A folder with two lists of numbers or of image names, in it or one folder below, and no class folders."""
    if not path.is_dir() or (path / "Annotations").is_dir() or has_class_folders(path):
        return False
    return sum(_begins_like_a_list(file) for file in _lists(path)[:20]) > 1


def read_label_lists(path: Path, options: SourceOptions = NO_OPTIONS) -> Manifest:
    """Every image below the folder (or `image_root`) with the labels whose lists have it; ids are paths below it.

    Entries without an image are counted, with an example. Raises NoImagesError if there are no images, DataError if
    there are no lists or none leads to an image.
    """
    index = FileIndex(options.image_root or path, explicit=options.image_root is not None)
    if not index.paths:
        raise NoImagesError(f"There are no images in {index.root}. Name their folder with --image-root.")
    numbers = _by_number(index)
    labels: dict[str, list[int]] = {}
    splits = np.full(len(index.paths), UNASSIGNED, np.int8)
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    notes = []
    for file in _lists(path):
        found = []
        for number, entry in _entries(file):
            place = _find(entry, index, numbers)
            if place >= 0:
                found.append(place)
                continue
            why = "entries that fit several images" if place == AMBIGUOUS else "entries without an image"
            counts[why] += 1
            examples.setdefault(why, f"line {number} of {file.name} ({entry[:60]!r})")
        if not found:
            notes.append(f"{file.name} is left out: none of its lines names an image")
        elif file.stem.lower() in SPLIT_NAMES:
            splits[found] = SPLIT_NAMES[file.stem.lower()]
        elif file.stem in labels:
            raise DataError(f"{path}: there are two lists {file.name}.")
        else:
            labels[file.stem] = found
    if not labels:
        raise DataError(f"{path}: no text file lists images by number or name. {' '.join(notes[:3])}".rstrip())
    targets = np.zeros((len(index.paths), len(labels)), np.uint8)
    for k, places in enumerate(labels.values()):
        targets[places, k] = 1
    bare = int((targets.sum(axis=1) == 0).sum())
    told = [f"{why}: {count:,}, such as {examples[why]}" for why, count in counts.items()]
    return Manifest(
        ids=pa.array(index.paths, pa.large_string()),
        uris=pa.array([index.uri(place) for place in range(len(index.paths))], pa.large_string()),
        targets=targets,
        splits=splits,
        classes=tuple(labels),
        task="multi",
        skipped=dict(counts),
        notes=(f"{len(labels)} labels from text files; {bare:,} images have none", *told, *notes),
    )


def _lists(path: Path) -> list[Path]:
    try:
        folders = [path, *sorted(entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] != ".")]
        found = [file for folder in folders for file in sorted(folder.glob("*.txt")) if file.is_file()]
    except OSError as error:
        raise DataError(f"Cannot read the folder {path}: {error.strerror}.") from error
    return [file for file in found if file.stem.lower() not in _NO_LISTS and file.name[0] != "."]


def _begins_like_a_list(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            words = stream.readline(1000).decode("utf-8", "replace").split()
    except OSError:
        return False
    return len(words) == 1 and (words[0].isdecimal() or Path(words[0]).suffix.lower() in IMAGE_EXTENSIONS)


def _entries(file: Path) -> list[tuple[int, str]]:
    """(line number, entry); numbers may stand several to a line."""
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    entries = []
    for number, line in enumerate(lines, start=1):
        words = line.replace(",", " ").split()
        if all(word.isdecimal() for word in words):
            entries += [(number, word) for word in words]
        else:
            entries.append((number, line.strip()))
    return entries


def _by_number(index: FileIndex) -> dict[int, int]:
    """The last number in a file's name -> its place, or AMBIGUOUS."""
    numbers: dict[int, int] = {}
    for place, path in enumerate(index.paths):
        name = path[path.rfind("/") + 1 :]
        match = _LAST_NUMBER.search(name[: name.rfind(".")] if "." in name else name)
        if match and len(match[1]) < 19 and match[1].isascii():
            number = int(match[1])
            numbers[number] = AMBIGUOUS if number in numbers else place
    return numbers


def _find(entry: str, index: FileIndex, numbers: dict[int, int]) -> int:
    place = index.find(entry)
    if place == MISSING and entry.isdecimal() and entry.isascii() and len(entry) < 19:
        return numbers.get(int(entry), MISSING)
    return place
