"""COCO: boxes in one JSON file per split (Lin et al., 2014, arXiv 1405.0312).

    annotations/instances_train2017.json     images, annotations with bbox [x, y, width, height], categories
    train2017/000000000009.jpg

or `_annotations.coco.json` beside the images in train/, valid/ and test/, or a single JSON file with its images beside
it or in images/. The split is told by the name of the file or its folder. Regions of crowds are no objects and are left
out. The files are read element by element.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linnaeus.data.manifest import UNASSIGNED, Manifest
from linnaeus.data.sources.boxes import BoxCollector
from linnaeus.data.sources.json_arrays import stream_arrays
from linnaeus.data.sources.listing import split_named, visible_files, visible_folders
from linnaeus.data.sources.options import NO_OPTIONS, SourceOptions
from linnaeus.errors import DataError, DataNotFoundError

_HEAD_BYTES, _TAIL_BYTES = 2**16, 2**16
_KEYS = (b'"images"', b'"annotations"', b'"categories"')


def recognise_coco(path: Path) -> bool:
    """Whether `path` is a COCO JSON file or a folder with some; told by their first and last bytes."""
    if path.is_dir():
        return bool(_annotation_files(path))
    return path.suffix.lower() == ".json" and _looks_like_coco(path)


def read_coco(path: Path, options: SourceOptions = NO_OPTIONS) -> Manifest:
    """One row per annotation with a box.

    Args:
        path: a JSON file, or a folder in one of the layouts.
        options: box_padding, min_box_size_px, and image_root, the folder that the file names in the JSON start from.

    A scene that stands in the files of two splits keeps the first; its boxes in the other are counted and left out.
    Raises DataNotFoundError if there is no such file, DataError naming a damaged one, NoImagesError if no box is
    usable.
    """
    files = [path] if path.is_file() else _annotation_files(path)
    if not files:
        raise DataNotFoundError(f"There is no COCO annotation file in {path}, nor in annotations/ or train/ below it.")
    root = path.parent if path.is_file() else path
    collector = BoxCollector(path)
    for file in files:
        _read_file(collector, file, root, options)
    return collector.to_manifest(options)


def _read_file(collector: BoxCollector, file: Path, root: Path, options: SourceOptions) -> None:
    images: dict[Any, str] = {}
    names: dict[Any, str] = {}
    for key, element in stream_arrays(file, ("images", "categories")):
        if isinstance(element, dict) and isinstance(element.get("id"), (int, str)):
            name = element.get("file_name" if key == "images" else "name")
            if isinstance(name, str) and name:
                (images if key == "images" else names)[element["id"]] = name
    split = _split_of(file, root)
    bases = _image_folders(file, root, options.image_root)
    scenes: dict[Any, int] = {}
    for _, annotation in stream_arrays(file, ("annotations",)):
        if not isinstance(annotation, dict) or "bbox" not in annotation:
            collector.skipped["annotations without a box"] += 1
            continue
        if annotation.get("iscrowd") == 1:
            collector.skipped["regions of crowds"] += 1
            continue
        image_id, category = _key(annotation.get("image_id")), _key(annotation.get("category_id"))
        if image_id not in scenes:
            scenes[image_id] = _scene(collector, images.get(image_id), image_id, bases, root, split)
        if collector.split_of(scenes[image_id]) != split:
            collector.skipped["boxes of a scene that stands in another split too"] += 1
            continue
        name = names.get(category)
        label = collector.unnamed(annotation.get("category_id")) if name is None else collector.label(name)
        collector.add(scenes[image_id], label, _corners(annotation["bbox"]))


def _scene(
    collector: BoxCollector, name: str | None, image_id: object, bases: list[Path], root: Path, split: int
) -> int:
    if name is None:
        return collector.scene(f"image {image_id}", None, split=split)
    for base in bases:
        try:
            if (base / name).is_file():
                path = base / name
                below = path.is_relative_to(root)
                return collector.scene(path.relative_to(root).as_posix() if below else name, path, split=split)
        except (OSError, ValueError):  # a name too long, or with a zero byte
            continue
    return collector.scene(name, None, split=split)


def _key(value: Any) -> Any:
    """An id as it can be looked up; lists and the like name nothing."""
    return value if isinstance(value, (int, str)) else None


def _corners(box: Any) -> list[float] | None:
    if not isinstance(box, list) or len(box) != 4 or not all(type(number) in (int, float) for number in box):
        return None
    try:
        x, y, width, height = (float(number) for number in box)
    except OverflowError:
        return None
    return [x, y, x + width, y + height]


def _annotation_files(folder: Path) -> list[Path]:
    """`instances_*` in annotations/ if there are any, else every file in one of the places that looks like COCO."""
    inner = folder / "annotations"
    places = [folder, *([inner] if inner.is_dir() else [])]
    places += [place for place in visible_folders(folder) if split_named(place.name) != UNASSIGNED]
    found = [file for place in places for file in visible_files(place, ".json") if _looks_like_coco(file)]
    instances = [file for file in found if file.name.startswith("instances_")]
    return instances or found


def _looks_like_coco(file: Path) -> bool:
    """By the keys in its first and last bytes; `annotations` of a large file may begin in its middle."""
    try:
        with file.open("rb") as stream:
            ends = stream.read(_HEAD_BYTES)
            stream.seek(max(stream.seek(0, 2) - _TAIL_BYTES, 0))
            ends += stream.read()
    except OSError:
        return False
    known = sum(key in ends for key in _KEYS)
    return ends.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and known >= 2


def _split_of(file: Path, root: Path) -> int:
    """From `instances_val2017.json`, `train.json`, or the folder around `_annotations.coco.json`."""
    for part in reversed(file.stem.replace("-", "_").replace(".", "_").split("_")):
        if split_named(part) != UNASSIGNED:
            return split_named(part)
    return split_named(file.parent.name) if file.parent != root else UNASSIGNED


def _image_folders(file: Path, root: Path, image_root: Path | None) -> list[Path]:
    """Where the file names of the JSON may start from, the most likely first."""
    if image_root is not None:
        if not image_root.is_dir():
            raise DataError(f"There is no folder {image_root} of images.")
        return [image_root]
    last = file.stem.rpartition("_")[2]
    bases = [file.parent, root / last, root / "images" / last, root / "images", root, file.parent / "images"]
    around = file.parent.parent
    bases += [around / last, around / "images" / last, around / "images", around]
    return list(dict.fromkeys(base for base in bases if base.is_dir()))
