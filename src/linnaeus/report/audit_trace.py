"""One image through every step, ready for the page."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from linnaeus.analysis.trace import Trace
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


def view_of(trace: Trace) -> TraceView:
    """Embed the pictures of a trace."""
    views = [
        StepView(s.name, s.what, s.shape, s.dtype, s.range, None if s.picture is None else _embed(s.picture))
        for s in trace.steps
    ]
    return TraceView(trace.id, ", ".join(trace.labels), views, [_embed(image) for image in trace.augmented])


def _embed(picture: npt.NDArray[np.uint8]) -> tuple[str, bool]:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "webp", lossless=max(picture.shape) <= 160, quality=85)
    return data_uri(file.getvalue())
