"""Pascal VOC: one XML file of boxes per image (Everingham et al., 2010).

    Annotations/000005.xml     objects with a name and xmin, ymin, xmax, ymax; what else is said of an object (pose,
                               truncated, difficult, occluded) becomes a column by which the test is sliced
    JPEGImages/000005.jpg
    ImageSets/Main/train.txt   names of images, one a line; likewise val.txt and test.txt, or trainval.txt

or XML files beside their images, in one folder or in train/, valid/ and test/. Corners are taken as they stand, as most
tools write and read them today: x from xmin up to xmax, counted from 0. A document type, and with it every entity, is
refused.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

import numpy as np
import pyarrow as pa

from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, VALIDATION, Manifest
from linnaeus.data.sources.boxes import BoxCollector
from linnaeus.data.sources.listing import read_text, split_named, visible_files, visible_folders, visible_images
from linnaeus.data.sources.options import NO_OPTIONS, SourceOptions
from linnaeus.data.sources.table_extra import collect_extra
from linnaeus.errors import DataError, DataNotFoundError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_TOLD = ("pose", "truncated", "difficult", "occluded")
_MAX_XML_BYTES = 16 * 2**20
_HEAD_BYTES = 1024


def recognise_voc(path: Path) -> bool:
    """Whether `path` is a folder with XML annotations in one of the layouts."""
    if not path.is_dir():
        return False
    first = next((files[0] for files, _, _ in _layout(path) if files), None)
    if first is None:
        return False
    try:
        with first.open("rb") as file:
            return b"<annotation" in file.read(_HEAD_BYTES)
    except OSError:
        return False


def read_voc(path: Path, options: SourceOptions = NO_OPTIONS) -> Manifest:
    """One row per object.

    Args:
        path: the folder.
        options: box_padding, min_box_size_px, and image_root, the folder of the images if it is another than usual.

    An image in several lists is in the test split before validation before training. Raises DataNotFoundError if there
    are no annotations, DataError naming the file of a damaged one, NoImagesError if no box is usable.
    """
    if not path.is_dir():
        raise DataNotFoundError(f"{path} is no folder. Pascal VOC is a folder with Annotations/ and JPEGImages/.")
    collector = BoxCollector(path)
    told: dict[str, list[str]] = {name: [] for name in _TOLD}
    listed = _image_sets(path)
    found = False
    for files, image_folders, split in _layout(path):
        folders = [options.image_root] if options.image_root else image_folders
        images = {image.stem: image for folder in reversed(folders) for image in visible_images(folder)}
        for file in files:
            found = True
            _read_annotation(collector, told, file, images, path, listed.get(file.stem, split))
    if not found:
        raise DataNotFoundError(f"There are no XML annotations in {path}, nor in {path / 'Annotations'}.")
    columns = {name: pa.array(texts, pa.large_string()) for name, texts in told.items()}
    return collector.to_manifest(options, columns=collect_extra([columns], np.arange(len(columns["pose"]))))


def _layout(path: Path) -> Iterator[tuple[list[Path], list[Path], int]]:
    """(XML files, folders of their images, split) of each part of the data set."""
    if (path / "Annotations").is_dir():
        yield visible_files(path / "Annotations", ".xml"), [path / "JPEGImages", path / "images", path], UNASSIGNED
        return
    yield visible_files(path, ".xml"), [path, path / "images"], UNASSIGNED
    for folder in visible_folders(path):
        if split_named(folder.name) != UNASSIGNED:
            yield visible_files(folder, ".xml"), [folder], split_named(folder.name)


def _image_sets(path: Path) -> dict[str, int]:
    """Name of an image -> its split, from ImageSets/Main; lists of single classes (cat_train.txt) are no splits."""
    folder = path / "ImageSets" / "Main"
    splits: dict[str, int] = {}
    for name, split in (("trainval", TRAIN), ("train", TRAIN), ("val", VALIDATION), ("test", TEST)):
        if (folder / f"{name}.txt").is_file():
            for line in read_text(folder / f"{name}.txt").splitlines():
                if line.strip():
                    splits[line.split()[0]] = split
    return splits


def _read_annotation(
    collector: BoxCollector,
    told: dict[str, list[str]],
    file: Path,
    images: dict[str, Path],
    root: Path,
    split: int,
) -> None:
    tree = _parse(file)
    named = (tree.findtext("filename") or "").replace("\\", "/").rpartition("/")[2]
    image = images.get(file.stem) or images.get(named.rpartition(".")[0] or named)
    name = file.relative_to(root).with_suffix("").as_posix().removeprefix("Annotations/")
    scene = collector.scene(
        name if image is None else image.relative_to(_base(image, root)).as_posix(), image, split=split
    )
    for item in tree.iter("object"):
        label = (item.findtext("name") or "").strip()
        box = item.find("bndbox")
        corners = None if box is None else _numbers([box.findtext(corner) for corner in _CORNERS])
        collector.add(scene, collector.label(label) if label else collector.unnamed("an empty name"), corners)
        for tag, texts in told.items():
            texts.append(item.findtext(tag) or "")


def _base(image: Path, root: Path) -> Path:
    """Ids begin below the folder of all images: `000005.jpg#1`, but `train/000005.jpg#1`."""
    return root if image.is_relative_to(root) and split_named(image.parent.name) != UNASSIGNED else image.parent


def _numbers(texts: list[str | None]) -> list[float] | None:
    try:
        return [float(text) for text in texts if text is not None] if None not in texts else None
    except ValueError:
        return None


def _parse(file: Path) -> ElementTree.Element:
    """The tree of an annotation; a document type is refused, for with it come entities that grow without end."""
    builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise DataError(f"{file} declares a document type, which an annotation has no need of; it is not read.")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        if file.stat().st_size > _MAX_XML_BYTES:
            raise DataError(f"{file} is too large for the annotation of one image.")
        parser.Parse(file.read_bytes(), True)
        tree = builder.close()
    except expat.ExpatError as error:
        raise DataError(f"{file} is damaged: {error}.") from error
    except (ValueError, LookupError) as error:  # an encoding that does not exist
        raise DataError(f"{file} cannot be read: {error}.") from error
    except OSError as error:
        raise DataError(f"Cannot read {file}: {error.strerror or error}.") from error
    if tree.tag != "annotation":
        raise DataError(f"{file} is no Pascal VOC annotation: its root is <{tree.tag}>.")
    return tree
