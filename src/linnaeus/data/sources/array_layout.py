"""What the axes and values of an array mean: which axis counts images, where the channels are, how bright 1 is.

Decided from shapes, the number of labels and a sample of the values; what stays open is asked for, not guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from linnaeus.data.images.arrays import RANGES, ArrayView, Values
from linnaeus.errors import DataError

CHANNELS = (1, 3, 4)
_SAMPLE_ROWS = 256
_SAMPLE_VALUES = 2**24
_CLEARLY = 1.2
"""Pixels of neighbouring columns differ less than unrelated ones; one order of a flattened image is taken for the
right one if its neighbours differ less by this factor."""

_View = Callable[[str, list[int], list[int]], ArrayView]


@dataclass(frozen=True)
class StoredArray:
    """An array as it lies in a file: `member` of `path`, its first value `offset` bytes from the member's beginning."""

    path: Path
    member: str
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.path.name}:{self.member}" if self.member.endswith(".npy") else self.path.name

    @property
    def where(self) -> str:
        """File, member and shape, for messages."""
        return f"{self.path.parent / self.name} of shape {self.shape}"

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one index to the next, of every axis."""
        sizes = self.shape if self.fortran else self.shape[::-1]
        steps = [self.dtype.itemsize]
        for size in sizes[:-1]:
            steps.append(steps[-1] * size)
        return tuple(steps if self.fortran else steps[::-1])


def view_of(array: StoredArray, num_labels: int, image_shape: tuple[int, ...] | None) -> tuple[ArrayView, str]:
    """The images of an array, and what was decided about them in words.

    `num_labels` tells the axis that counts images; `image_shape` is that of one of them, if a person gave it.
    Raises DataError, naming the file, for what is no array of images or could be read in several ways.
    """
    if array.dtype.kind not in "uifb" or array.dtype.itemsize > 8:
        raise DataError(f"{array.where} holds {array.dtype}, not numbers.")
    rows = _row_axis(array, num_labels)
    sizes = [size for axis, size in enumerate(array.shape) if axis != rows]
    strides = [stride for axis, stride in enumerate(array.strides) if axis != rows]
    if 0 in array.shape:
        raise DataError(f"{array.where} is empty.")

    def view(order: str, sizes: list[int], strides: list[int]) -> ArrayView:
        size, stride = dict(zip(order, sizes, strict=True)), dict(zip(order, strides, strict=True))
        shape = (size["H"], size["W"], size.get("C", 1))
        steps = (array.strides[rows], stride["H"], stride["W"], stride.get("C", 0))
        return ArrayView(array.path, array.member, array.offset, num_labels, array.dtype.str, shape, steps)

    if len(sizes) == 1:
        found, order = _flattened(array, sizes[0], strides[0], image_shape, view)
    else:
        _require(array, sizes, image_shape)
        order = "HW" if len(sizes) == 2 else _channel_order(array, sizes, named=image_shape is not None)
        found = view(order, sizes, strides)
    found = replace(found, values=_values(array, found))
    low, high = RANGES[found.values]
    height, width, channels = found.shape
    flat = "flattened " if len(sizes) == 1 else ""
    axes = f"N, {', '.join(order)}" if rows == 0 else f"{', '.join(order)}, N"
    return found, (
        f"{array.name}: {num_labels:,} {flat}images of {width} x {height} pixels and {channels} "
        f"channel{'' if channels == 1 else 's'} ({axes}), {array.dtype} from {low} to {high}"
    )


def _row_axis(array: StoredArray, num_labels: int) -> int:
    if len(array.shape) not in (2, 3, 4):
        raise DataError(f"{array.where} is no array of images: 2, 3 or 4 axes are expected.")
    if array.shape[0] == num_labels:
        return 0
    if array.shape[-1] == num_labels:
        return len(array.shape) - 1
    raise DataError(f"{array.where} has neither first nor last as many as the {num_labels:,} labels.")


def _require(array: StoredArray, sizes: list[int], image_shape: tuple[int, ...] | None) -> None:
    plain = tuple(image_shape or ())
    if image_shape is not None and plain not in (tuple(sizes), (*sizes, 1), (1, *sizes)):
        raise DataError(f"{array.where} holds images of {tuple(sizes)}, not of the shape {plain} given.")


def _channel_order(array: StoredArray, sizes: list[int], *, named: bool) -> str:
    first, last = sizes[0] in CHANNELS, sizes[-1] in CHANNELS
    if first and last and not named:
        raise DataError(
            f"{array.where}: first or last channels? Say it with --image-shape, such as 32,32,3 or 3,32,32."
        )
    if not first and not last:
        raise DataError(f"{array.where}: no axis has 1, 3 or 4 channels, so these are no images.")
    return "HWC" if last else "CHW"


def _flattened(
    array: StoredArray, length: int, step: int, image_shape: tuple[int, ...] | None, view: _View
) -> tuple[ArrayView, str]:
    """Images of which each is one row, or column, of numbers."""

    def unfolded(order: str, shape: tuple[int, ...]) -> ArrayView:
        return view(order, list(shape), [step * math.prod(shape[axis + 1 :]) for axis in range(len(shape))])

    if image_shape is not None:
        if math.prod(image_shape) != length:
            raise DataError(f"{array.where}: images of {length:,} values are not of the shape {image_shape} given.")
        order = "HW" if len(image_shape) == 2 else _channel_order(array, list(image_shape), named=True)
        return unfolded(order, image_shape), order
    side = math.isqrt(length)
    if side * side == length:
        return unfolded("HW", (side, side)), "HW"
    side = math.isqrt(length // 3)
    if 3 * side * side != length:
        raise DataError(
            f"{array.where}: which shape have images of {length:,} values? Say it with --image-shape 300,300,3."
        )
    last, first = unfolded("HWC", (side, side, 3)), unfolded("CHW", (3, side, side))
    roughness = [_roughness(_sample(option)) for option in (last, first)]
    if max(roughness) < _CLEARLY * min(roughness) or max(roughness) == 0:
        raise DataError(
            f"{array.where}: are the channels first or last? Say it with --image-shape {side},{side},3 "
            f"or 3,{side},{side}."
        )
    return (last, "HWC") if roughness[0] < roughness[1] else (first, "CHW")


def _roughness(images: np.ndarray) -> float:
    """Mean difference of neighbouring columns of [n, H, W, C]."""
    return float(np.abs(np.diff(images.astype(np.float64), axis=2)).mean())


def _sample(view: ArrayView) -> np.ndarray:
    """Some images [n, H, W, C], evenly spread. Raises DataError if the file is not as long as its header says."""
    try:
        images = view.open()
    except OSError as error:
        raise DataError(f"{view.path} cannot be read: {error.strerror or error}") from error
    most = max(1, min(_SAMPLE_ROWS, _SAMPLE_VALUES // math.prod(view.shape)))
    rows = np.unique(np.linspace(0, len(images) - 1, most).astype(np.int64))
    return np.asarray(images[rows])


def _values(array: StoredArray, view: ArrayView) -> Values:
    """The narrowest range in which a sample lies. Values beyond it in other images are told when those are read."""
    sample = _sample(view)
    if sample.dtype == bool:
        return "unit"
    finite = sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low >= 0:
        if high <= 1 and (sample.dtype != np.uint8 or high == 1):
            return "unit"
        if high <= 255:
            return "bytes"
        if high <= 65535 and sample.dtype.kind in "ui":
            return "words"
    elif low >= -1 and high <= 1 and sample.dtype.kind == "f":
        return "signed"
    raise DataError(f"{array.where} has values from {low:g} to {high:g}; pixels are 0 to 255, 0 to 1, or -1 to 1.")
