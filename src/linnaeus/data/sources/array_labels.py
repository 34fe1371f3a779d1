"""Labels that come as an array: numbers, names, one-hot rows, or several 0/1 columns per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnaeus.data.manifest import Task
from linnaeus.errors import DataError


@dataclass(frozen=True)
class ArrayLabels:
    """int64 [N] positions in `classes` (task "single"), or uint8 [N, K] ("multi")."""

    targets: npt.NDArray[np.int64] | npt.NDArray[np.uint8]
    classes: tuple[str, ...]
    task: Task

    def with_classes(self, classes: Sequence[str]) -> npt.NDArray[np.int64] | npt.NDArray[np.uint8]:
        """The targets under a longer or differently ordered list of classes."""
        places = np.array([classes.index(name) for name in self.classes], np.int64)
        if self.task == "single":
            return np.asarray(places[self.targets], np.int64)
        wider = np.zeros((len(self.targets), len(classes)), np.uint8)
        wider[:, places] = self.targets
        return wider


def read_labels(values: np.ndarray, where: str, names: Sequence[str] | None) -> ArrayLabels:
    """What an array of labels says.

    Args:
        values: [N], [N, 1] or [N, K] of any plain dtype.
        where: file and shape, for messages.
        names: of the classes 0, 1, ..., if they are known.

    Only classes that occur are classes, except where each has a column. Raises DataError naming `where` and the row
    for what is no label.
    """
    if values.ndim == 2 and 1 in values.shape:
        values = values.reshape(-1)
    if values.ndim == 2:
        return _columns(values, where, names)
    if values.ndim != 1:
        raise DataError(f"{where}: labels have one or two axes.")
    if values.dtype.kind in "US":
        texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values.tolist()]
        classes = tuple(sorted(set(texts)))
        place = {name: k for k, name in enumerate(classes)}
        return ArrayLabels(np.array([place[text] for text in texts], np.int64), classes, "single")
    return number_labels(_whole(values, where), where, names)


def number_labels(numbers: npt.NDArray[np.int64], where: str, names: Sequence[str] | None) -> ArrayLabels:
    """int64 [N] of class numbers, from 0 where there are names for them."""
    occurring, targets = np.unique(numbers, return_inverse=True)
    if names is None:
        classes = tuple(str(number) for number in occurring.tolist())
    elif len(occurring) and (occurring[0] < 0 or occurring[-1] >= len(names)):
        wrong = int(occurring[-1] if occurring[-1] >= len(names) else occurring[0])
        row = int(np.flatnonzero(numbers == wrong)[0])
        raise DataError(f"{where}, row {row}: the label {wrong} is none of the {len(names)} classes (0, 1, ...).")
    else:
        classes = tuple(names[number] for number in occurring.tolist())
    if len(set(classes)) < len(classes):
        raise DataError(f"{where}: two classes have the same name.")
    return ArrayLabels(targets.reshape(-1).astype(np.int64), classes, "single")


def _columns(values: np.ndarray, where: str, names: Sequence[str] | None) -> ArrayLabels:
    if values.dtype.kind not in "uifb" or not np.isin(values, (0, 1)).all():
        raise DataError(f"{where}: with a column per label, every value is 0 or 1.")
    count = values.shape[1]
    classes = tuple(names) if names is not None and len(names) == count else tuple(str(k) for k in range(count))
    if len(values) and (values.sum(axis=1) == 1).all():
        return number_labels(values.argmax(axis=1).astype(np.int64), where, classes)
    return ArrayLabels(values.astype(np.uint8), classes, "multi")


def _whole(values: np.ndarray, where: str) -> npt.NDArray[np.int64]:
    if values.dtype.kind == "f":
        wrong = ~np.isfinite(values) | (values != np.rint(values)) | (np.abs(values) > 2**31)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise DataError(f"{where}, row {row}: the label {values[row]} is no whole number.")
    elif values.dtype.kind not in "iub":
        raise DataError(f"{where} holds {values.dtype}, not labels.")
    return values.astype(np.int64)
