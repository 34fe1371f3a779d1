"""What commands are told about labelled images, the same for all of them; written once.

Between a command line and the section `data` of the configuration. Imports nothing that is slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from linnaeus.errors import ConfigError


@Parameter(name="*")
@dataclass(frozen=True)
class DataOptions:
    """How to read the data, where a reader would guess, and what of it to take.

    Parameters
    ----------
    test_data
        Separate test data with the same classes. The images of DATA are then used for training and validation only.
    format
        Layout of the data, such as table, where it is not recognised.
    image_column
        Column of the table that holds the paths or ids of the images.
    label_columns
        Label column(s) of the table: one column of class names, or a comma-separated list of 0/1 columns, one per
        label.
    image_root
        Folder that the image paths of a table start from.
    image_shape
        Shape of one sample of an array, such as 300,300,3.
    classes
        Comma-separated list of classes to keep; all others are left out.
    top_classes
        Keep only this many of the most frequent classes.
    box_padding
        Enlarge every bounding box on each side by this fraction of its width and height, such as 0.2.
    min_box_size
        Leave out bounding boxes with a side shorter than this, such as 4px.
    """

    test_data: str | None = None
    format: str | None = None
    image_column: str | None = None
    label_columns: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    image_root: str | None = None
    image_shape: str | None = None
    classes: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    top_classes: int | None = None
    box_padding: float | None = None
    min_box_size: str | None = None

    def page(self, source: str) -> dict[str, Any]:
        """The section `data` of a configuration: `source` and whatever was given.

        Raises ConfigError for a shape or a number of pixels that is none.
        """
        given = {
            "test_data": self.test_data,
            "format": self.format,
            "image_column": self.image_column,
            "label_columns": split_names(self.label_columns),
            "image_root": self.image_root,
            "image_shape": None if self.image_shape is None else parse_shape(self.image_shape),
            "classes": split_names(self.classes),
            "top_classes": self.top_classes,
            "box_padding": self.box_padding,
            "min_box_size_px": None if self.min_box_size is None else parse_pixels(self.min_box_size),
        }
        return {"source": source} | {name: value for name, value in given.items() if value is not None}


AS_IT_IS = DataOptions()
"""Nothing was said about the data."""


def split_names(given: tuple[str, ...]) -> list[str] | None:
    """ "a,b" or several such; None if nothing was given. Names with commas inside: --set."""
    return [name.strip() for text in given for name in text.split(",") if name.strip()] or None


def parse_shape(text: str) -> list[int]:
    """ "300,300,3" or "300x300x3"; raises ConfigError for anything else."""
    parts = text.replace("x", ",").split(",")
    if not 2 <= len(parts) <= 3 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--image-shape takes two or three numbers such as 300,300,3, not '{text}'.")
    return [int(part) for part in parts]


def parse_pixels(text: str) -> float:
    """ "4px" or "4"; raises ConfigError for anything else."""
    try:
        pixels = float(text.strip().removesuffix("px"))
    except ValueError:
        pixels = -1.0
    if not 0 <= pixels < float("inf"):
        raise ConfigError(f"--min-box-size takes a number of pixels such as 4px, not '{text}'.")
    return pixels
