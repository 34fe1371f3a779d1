"""What the data is, in the few numbers that the plan is made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from linnaeus.data.images.decode import read_image
from linnaeus.data.manifest import TRAIN, Manifest, Task
from linnaeus.data.statistics import sample_rows
from linnaeus.errors import UnreadableImageError

_MAX_SIZES = 200


@dataclass(frozen=True)
class Fingerprint:
    """What the plan is made from.

    Attributes:
        num_train: training images.
        num_classes: K.
        width, height: medians in pixels over a sample of the training images, or over their boxes.
        task: one label per image, or several.
    """

    num_train: int
    num_classes: int
    width: int
    height: int
    task: Task = "single"


def take_fingerprint(manifest: Manifest) -> Fingerprint:
    """Look at labels, and at the sizes of boxes or of up to 200 training images (their headers only)."""
    rows = manifest.rows(TRAIN)
    sizes = [] if manifest.boxes is None else [(x1 - x0, y1 - y0) for x0, y0, x1, y1 in manifest.boxes[rows].tolist()]
    for row in sample_rows(rows, most=_MAX_SIZES) if manifest.boxes is None else []:
        try:
            sizes.append(_image_size(manifest.uris[int(row)].as_py()))
        except (UnreadableImageError, OSError, ValueError, SyntaxError):
            continue  # counted and listed by the cache
    width, height = np.median(np.array(sizes or [(0, 0)]), axis=0)
    return Fingerprint(
        num_train=len(rows),
        num_classes=manifest.num_classes,
        width=round(float(width)),
        height=round(float(height)),
        task=manifest.task,
    )


def _image_size(uri: str) -> tuple[int, int]:
    """(width, height), from the header where there is a file."""
    if "://" in uri:
        height, width, _ = read_image(uri).shape
        return width, height
    with Image.open(uri) as image:
        return image.size
