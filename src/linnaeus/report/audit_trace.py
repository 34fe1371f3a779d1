"""One image through every step, ready for the page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from linnaeus.report.gallery import data_uri


@dataclass(frozen=True)
class StepView:
    """One row of the table; `picture` is (URI, whether its pixels should show) or None."""

    name: str
    what: str
    shape: str
    dtype: str
    range: str
    picture: tuple[str, bool] | None


@dataclass(frozen=True)
class TraceView:
    """The image, its steps, and what augmentation makes of it."""

    id: str
    labels: str
    steps: list[StepView]
    augmented: list[tuple[str, bool]]


def view_of(
    id: str,
    labels: Sequence[str],
    steps: Sequence[tuple[str, str, str, str, str, npt.NDArray[np.uint8] | None]],
    augmented: npt.NDArray[np.uint8],
) -> TraceView:
    """Embed the pictures: each step is (name, what, shape, dtype, range, uint8 [h, w, 3] or None)."""
    views = [
        StepView(name, what, shape, dtype, range, None if picture is None else _embed(picture))
        for name, what, shape, dtype, range, picture in steps
    ]
    return TraceView(id, ", ".join(labels), views, [_embed(image) for image in augmented])


def _embed(picture: npt.NDArray[np.uint8]) -> tuple[str, bool]:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "webp", lossless=max(picture.shape) <= 160, quality=85)
    return data_uri(file.getvalue())
