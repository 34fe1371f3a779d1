"""xView: one GeoJSON of boxes over a folder of large TIFF scenes (Lam et al., 2018, arXiv 1802.07856).

    xView_train.geojson        features with the properties bounds_imcoords "xmin,ymin,xmax,ymax", image_id, type_id
    train_images/2355.tif
    class_labels.txt           lines of id:name; without such a file the 60 classes of xView

The GeoJSON is read feature by feature. Ids without a name (75 and 82 in the real files) are counted and left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from linnaeus.data.manifest import Manifest
from linnaeus.data.sources.boxes import BoxCollector
from linnaeus.data.sources.json_arrays import stream_arrays
from linnaeus.data.sources.listing import read_text, visible_files, visible_folders, visible_images
from linnaeus.data.sources.options import NO_OPTIONS, SourceOptions
from linnaeus.errors import DataError, DataNotFoundError

# fmt: off
XVIEW_CLASSES = {
    11: "Fixed-wing Aircraft", 12: "Small Aircraft", 13: "Cargo Plane", 15: "Helicopter", 17: "Passenger Vehicle",
    18: "Small Car", 19: "Bus", 20: "Pickup Truck", 21: "Utility Truck", 23: "Truck", 24: "Cargo Truck",
    25: "Truck w/Box", 26: "Truck Tractor", 27: "Trailer", 28: "Truck w/Flatbed", 29: "Truck w/Liquid",
    32: "Crane Truck", 33: "Railway Vehicle", 34: "Passenger Car", 35: "Cargo Car", 36: "Flat Car", 37: "Tank car",
    38: "Locomotive", 40: "Maritime Vessel", 41: "Motorboat", 42: "Sailboat", 44: "Tugboat", 45: "Barge",
    47: "Fishing Vessel", 49: "Ferry", 50: "Yacht", 51: "Container Ship", 52: "Oil Tanker", 53: "Engineering Vehicle",
    54: "Tower crane", 55: "Container Crane", 56: "Reach Stacker", 57: "Straddle Carrier", 59: "Mobile Crane",
    60: "Dump Truck", 61: "Haul Truck", 62: "Scraper/Tractor", 63: "Front loader/Bulldozer", 64: "Excavator",
    65: "Cement Mixer", 66: "Ground Grader", 71: "Hut/Tent", 72: "Shed", 73: "Building", 74: "Aircraft Hangar",
    76: "Damaged Building", 77: "Facility", 79: "Construction Site", 83: "Vehicle Lot", 84: "Helipad",
    86: "Storage Tank", 89: "Shipping container lot", 91: "Shipping Container", 93: "Pylon", 94: "Tower",
}
# fmt: on
_LABEL_LINE = re.compile(r"\s*(\d{1,9})\s*:\s*(\S.*?)\s*")


def recognise_xview(path: Path) -> bool:
    """Whether `path` is a GeoJSON file, or a folder with one in it."""
    if path.is_dir():
        return bool(_geojsons(path))
    return path.suffix.lower() == ".geojson"


def read_xview(path: Path, options: SourceOptions = NO_OPTIONS) -> Manifest:
    """One row per box.

    Args:
        path: the GeoJSON file, or the folder with it.
        options: box_padding, min_box_size_px, and image_root, the folder of the scenes; otherwise they are looked for
            beside the GeoJSON and one folder below.

    Raises DataNotFoundError if there is no GeoJSON file, DataError if it or the label file is damaged, NoImagesError
    if no box is usable.
    """
    geojson, root = _locate(path)
    names = _read_class_names(root)
    collector = BoxCollector(geojson)
    if names is None:
        names = XVIEW_CLASSES
        collector.notes.append("There is no file of class names; those of xView are used.")
    scenes = _index_scenes(options.image_root or root)
    nameless = 0
    for _, feature in stream_arrays(geojson, ("features",)):
        properties = feature.get("properties") if isinstance(feature, dict) else None
        image = properties.get("image_id") if isinstance(properties, dict) else None
        if not isinstance(properties, dict) or not isinstance(image, str) or not image:
            nameless += 1
            continue
        type_id = _whole_number(properties.get("type_id"))
        name = None if type_id is None else names.get(type_id)
        label = collector.unnamed(properties.get("type_id")) if name is None else collector.label(name)
        collector.add(
            collector.scene(image, scenes.get(image)), label, parse_corners(properties.get("bounds_imcoords"))
        )
    if nameless:
        collector.skipped["features that name no scene"] = nameless
    return collector.to_manifest(options)


def parse_corners(value: Any) -> list[float] | None:
    """Four numbers from "1,2,3,4" or [1, 2, 3, 4]; None from anything else."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or len(parts) != 4 or any(isinstance(part, (bool, list, dict)) for part in parts):
        return None
    try:
        return [float(part) for part in parts]
    except (TypeError, ValueError, OverflowError):
        return None


def _whole_number(value: Any) -> int | None:
    try:
        return int(value) if not isinstance(value, bool) and float(value) == int(value) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _locate(path: Path) -> tuple[Path, Path]:
    """(the GeoJSON file, the folder around it)."""
    if path.is_file():
        return path, path.parent
    found = _geojsons(path)
    if len(found) != 1:
        listed = f" ({', '.join(file.name for file in found[:5])}). Name one of them" if found else ""
        raise DataNotFoundError(f"{path} holds {len(found)} .geojson files{listed}; xView has one with all its boxes.")
    return found[0], path


def _geojsons(folder: Path) -> list[Path]:
    return visible_files(folder, ".geojson")


def _index_scenes(root: Path) -> dict[str, Path]:
    """Name -> path of the images in a folder and in the folders in it; the upper wins, then the first by name."""
    if not root.is_dir():
        raise DataNotFoundError(f"There is no folder {root} of scenes.")
    found: dict[str, Path] = {}
    for folder in (root, *visible_folders(root)):
        for file in visible_images(folder):
            found.setdefault(file.name, file)
    return found


def _read_class_names(folder: Path) -> dict[int, str] | None:
    """From the one text file in which every line is `id:name`; None if there is none.

    A file whose name speaks of labels or classes must be such a file: a wrong name for a class would go unnoticed.
    """
    for file in visible_files(folder, ".txt"):
        expected = "label" in file.name.lower() or "class" in file.name.lower()
        names: dict[int, str] = {}
        for number, line in enumerate(read_text(file).splitlines(), 1):
            match = _LABEL_LINE.fullmatch(line)
            if match is not None:
                names[int(match[1])] = match[2]
            elif line.strip() and expected:
                raise DataError(
                    f"{file}, line {number}: '{line.strip()[:60]}' is not of the form id:name, as 18:Small Car."
                )
            elif line.strip():
                names = {}
                break
        if names:
            return names
    return None
