"""Numbers about cached pixels that preprocessing and planning need."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAX_SAMPLE = 10_000

Channels = tuple[float, float, float]


def channel_statistics(pixels: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> tuple[Channels, Channels]:
    """(mean, standard deviation) per channel, of values in 0-1.

    Args:
        pixels: uint8 [N, H, W, 3].
        rows: which images; evenly spaced ones are taken if there are more than MAX_SAMPLE.

    A channel without any variation gets deviation 1, so that dividing by it is harmless.
    """
    total, squares, count = np.zeros(3), np.zeros(3), 0
    values = np.arange(256.0)
    for chunk in np.array_split(sample_rows(rows), max(1, len(sample_rows(rows)) // 256)):
        images = pixels[chunk].reshape(-1, 3)
        for channel in range(3):
            histogram = np.bincount(images[:, channel], minlength=256)
            total[channel] += histogram @ values
            squares[channel] += histogram @ values**2
        count += len(images)
    mean = total / max(1, count) / 255
    variance = np.maximum(squares / max(1, count) / 255**2 - mean**2, 0)
    deviation = np.where(variance > 1e-10, np.sqrt(variance), 1.0)
    return _channels(mean), _channels(deviation)


def is_grey(pixels: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> bool:
    """Whether red, green and blue are equal in every pixel of (a sample of) these images."""
    for row in sample_rows(rows, most=200):
        image = pixels[row]
        if (image[..., 0] != image[..., 1]).any() or (image[..., 0] != image[..., 2]).any():
            return False
    return True


def sample_rows(rows: npt.NDArray[np.int64], *, most: int = MAX_SAMPLE) -> npt.NDArray[np.int64]:
    """At most `most` of the rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]


def _channels(values: npt.NDArray[np.float64]) -> Channels:
    red, green, blue = (round(float(v), 6) for v in values)
    return red, green, blue
