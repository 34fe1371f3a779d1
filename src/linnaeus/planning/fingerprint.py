"""What the data is, in the few numbers that the plan is made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnaeus.data.appearance import image_sizes
from linnaeus.data.manifest import TRAIN, Manifest, Task
from linnaeus.data.statistics import sample_rows

_MAX_SIZES = 200


@dataclass(frozen=True)
class Fingerprint:
    """What the plan is made from.

    Attributes:
        num_train: training images.
        num_classes: K.
        width, height: medians in pixels over a sample of the training images, upright, or over their boxes.
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
    sizes = image_sizes(manifest, rows if manifest.boxes is not None else sample_rows(rows, most=_MAX_SIZES))
    known = sizes[sizes.min(axis=1) > 0]  # the cache counts and lists the others
    width, height = np.median(known, axis=0) if len(known) else (0, 0)
    return Fingerprint(
        num_train=len(rows),
        num_classes=manifest.num_classes,
        width=round(float(width)),
        height=round(float(height)),
        task=manifest.task,
    )
