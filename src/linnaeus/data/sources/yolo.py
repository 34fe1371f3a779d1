"""YOLO: one text file of boxes per image, in fractions of its sides (Redmon et al., 2016; the layout of Ultralytics).

    data.yaml                      names: [cat, dog], and where train, val and test images lie
    images/train/1.jpg             or train/images/1.jpg, or images/1.jpg without splits
    labels/train/1.txt             lines of: class, centre x, centre y, width, height

More than four numbers after the class are the corners of a polygon, of which the box around it is taken. Without names
in a YAML file they are looked for in classes.txt, one a line.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from linnaeus.data.manifest import UNASSIGNED, Manifest
from linnaeus.data.sources.boxes import BoxCollector
from linnaeus.data.sources.listing import read_text, split_named, visible_files, visible_folders, visible_images
from linnaeus.data.sources.options import NO_OPTIONS, SourceOptions
from linnaeus.errors import DataError, DataNotFoundError

_YAML = (".yaml", ".yml")
_NAME_LISTS = ("classes.txt", "obj.names", "labels/classes.txt")
_MAX_YAML_CHARS = 2**20


def recognise_yolo(path: Path) -> bool:
    """Whether `path` is a folder with labels/ beside images/ in one of the layouts, or the YAML file in one.

    Lists of images per label may lie so too. In YOLO's layout there are class names, or text files called like images.
    """
    if path.is_dir():
        named = any((path / name).is_file() for name in _NAME_LISTS) or bool(visible_files(path, *_YAML))
        return any(named or _called_alike(images, labels) for images, labels, _ in _pairs(path))
    return path.suffix.lower() in _YAML and any(_pairs(path.parent))


def read_yolo(path: Path, options: SourceOptions = NO_OPTIONS) -> Manifest:
    """One row per line of the label files.

    Args:
        path: the folder, or the YAML file in it.
        options: box_padding and min_box_size_px.

    The split of an image is told by train, val and test of the YAML file, else by the folder it lies in. Raises
    DataNotFoundError if there are no label files or no class names, DataError for a damaged YAML file, NoImagesError if
    no box is usable.
    """
    root = path.parent if path.is_file() else path
    pairs = list(_pairs(root))
    if not pairs:
        raise DataNotFoundError(f"There are no folders images/ and labels/ with text files in {root}.")
    names = _class_names(path, root)
    told = _told_splits(path, root)
    collector = BoxCollector(path, relative=True)
    for image_folder, label_folder, split in pairs:
        images = {image.stem: image for image in visible_images(image_folder)}
        for file in visible_files(label_folder, ".txt"):
            if file.name != "classes.txt":
                image = images.get(file.stem)
                told_split = split if image is None else _split_of(image, told, split)
                _read_labels(collector, file, image, names, root=root, split=told_split)
    return collector.to_manifest(options)


def _called_alike(images: Path, labels: Path) -> bool:
    stems = {image.stem for image in visible_images(images)}
    return any(file.stem in stems for file in visible_files(labels, ".txt"))


def _pairs(root: Path) -> Iterator[tuple[Path, Path, int]]:
    """(folder of images, folder of label files, split) of every part of the data set that has both."""
    images, labels = root / "images", root / "labels"
    if images.is_dir() and labels.is_dir():
        if visible_files(labels, ".txt"):
            yield images, labels, UNASSIGNED
        for folder in visible_folders(images):
            if (labels / folder.name).is_dir():
                yield folder, labels / folder.name, split_named(folder.name)
    for folder in visible_folders(root):
        if (folder / "images").is_dir() and (folder / "labels").is_dir():
            yield folder / "images", folder / "labels", split_named(folder.name)


def _class_names(path: Path, root: Path) -> dict[int, str]:
    for file in [path] if path.is_file() else visible_files(root, *_YAML):
        names = _names_in(file)
        if names:
            return names
    for name in _NAME_LISTS:
        if (root / name).is_file():
            lines = read_text(root / name).rstrip().splitlines()
            return {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    raise DataNotFoundError(
        f"There are no class names in {root}: a file data.yaml with `names: [cat, dog]`, or classes.txt, is needed."
    )


def _names_in(file: Path) -> dict[int, str]:
    """`names` of a YAML file, a list or a mapping from numbers; empty if it has none."""
    given = _content(file).get("names")
    entries = (
        list(given.items()) if isinstance(given, dict) else list(enumerate(given if isinstance(given, list) else []))
    )
    names: dict[int, str] = {}
    for number, name in entries:
        if not isinstance(name, (str, int, float)) or not str(number).isascii() or not str(number).isdigit():
            raise DataError(f"{file}: `names` must be a list of names, or give a name to each number.")
        names[int(number)] = str(name)
    return names


def _content(file: Path) -> dict[Any, Any]:
    """What a YAML file holds; nothing where that is no mapping."""
    text = read_text(file)
    try:
        if len(text) > _MAX_YAML_CHARS:
            raise ValueError("it is too large")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{file} is damaged: {why}.") from error
    return content if isinstance(content, dict) else {}


def _told_splits(path: Path, root: Path) -> dict[Path, int]:
    """The split of each folder or image that the YAML file names under train, val and test.

    Each names a folder, a text file of images, or a list of such, below `path` of the file or beside the file itself.
    """
    told: dict[Path, int] = {}
    for file in [path] if path.is_file() else visible_files(root, *_YAML):
        content = _content(file)
        base = content.get("path")
        bases = [root / base, root] if isinstance(base, str) else [root]
        for key, value in content.items():
            split = split_named(key) if isinstance(key, str) else UNASSIGNED
            for entry in value if isinstance(value, list) else [value]:
                if split != UNASSIGNED and isinstance(entry, str) and entry:
                    for place in _places(entry, bases):
                        told.setdefault(place, split)
    return told


def _places(entry: str, bases: list[Path]) -> Iterator[Path]:
    """The folder, or the images listed in the text file, that an entry of the YAML file means."""
    found = next((base / entry for base in bases if (base / entry).exists()), None)
    if found is None:
        return
    if found.is_dir():
        yield found.resolve()
    elif found.suffix.lower() == ".txt":
        for line in read_text(found).splitlines():
            if line.strip():
                beside = found.parent / line.strip()
                inside = next((base / line.strip() for base in bases if (base / line.strip()).exists()), beside)
                yield (beside if beside.exists() else inside).resolve()


def _split_of(image: Path, told: dict[Path, int], otherwise: int) -> int:
    """By the nearest folder that is named, or by the image itself."""
    place = image.resolve()
    return next((told[part] for part in (place, *place.parents) if part in told), otherwise)


def _read_labels(
    collector: BoxCollector, file: Path, image: Path | None, names: dict[int, str], *, root: Path, split: int
) -> None:
    shown = (image or file.with_suffix("")).relative_to(root).as_posix()
    scene = collector.scene(shown, image, split=split)
    for line in read_text(file).splitlines():
        words = line.split()
        if words:
            number = int(words[0]) if words[0].isascii() and words[0].isdigit() and len(words[0]) < 10 else -1
            label = collector.label(names[number]) if number in names else collector.unnamed(words[0])
            collector.add(scene, label, _corners(words[1:]))


def _corners(words: list[str]) -> list[float] | None:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None
    if len(numbers) == 4:
        x, y, width, height = numbers
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        return [min(numbers[0::2]), min(numbers[1::2]), max(numbers[0::2]), max(numbers[1::2])]
    return None
