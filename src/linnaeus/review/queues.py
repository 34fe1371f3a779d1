"""Queues: in which order images are worth a look, and why. Functions of a manifest and predictions.

Knows nothing of pages or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from linnaeus.data.copies import Copies
from linnaeus.data.manifest import TEST, Manifest

MOST_ROWS = 1000
"""A queue ends here: nobody looks at more in one sitting."""
MOST_PAIRS = 12

_Rows = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Queue:
    """Rows of the manifest, the most worthwhile first.

    Attributes:
        title: a few words.
        hint: a sentence on what these are.
        rows: int64 [n].
        detail: whether it is one of many of its kind (a pair of classes).
    """

    title: str
    hint: str
    rows: _Rows
    detail: bool = False


def make_queues(
    manifest: Manifest, probabilities: npt.NDArray[np.float32], issues: pd.DataFrame, *, thresholds: _Floats | None
) -> list[Queue]:
    """Every queue that holds something.

    Args:
        manifest: N samples.
        probabilities: float32 [N, K] by models that have not seen the image; NaN where there is none.
        issues: of `linnaeus.analysis.label_issues`.
        thresholds: float64 [K], from which a label is given, for several labels per image.
    """
    known = ~np.isnan(probabilities[:, 0])
    tested = manifest.splits == TEST
    doubt = _doubt(manifest, probabilities, thresholds)
    own, test = np.flatnonzero(known & ~tested), np.flatnonzero(known & tested)
    wrong, wrong_test = (rows[doubt[rows] > 0][np.argsort(-doubt[rows][doubt[rows] > 0])] for rows in (own, test))
    unsure = own[np.argsort(-_uncertainty(manifest, probabilities[own]), kind="stable")]
    suspects = pc.index_in(pa.array(issues["id"].unique().tolist(), pa.large_string()), value_set=manifest.ids)
    queues = [
        Queue(
            "Suspected wrong labels",
            "Labels that are wrong according to out-of-fold predictions, the most suspicious first.",
            np.asarray(suspects.drop_null().to_numpy(zero_copy_only=False), np.int64),
        ),
        Queue("Most confident errors", "The model confidently predicts another class than the label.", wrong),
        Queue("Most uncertain", "The images about which the model is least certain.", unsure),
        Queue(
            "Test errors",
            "For understanding. Correcting only the labels that the model gets wrong would bias its test score "
            "upwards: correct all test labels with the same care, or none.",
            wrong_test,
        ),
        *_pairs(manifest, probabilities, issues, wrong),
    ]
    return [_cut(queue) for queue in queues if len(queue.rows)]


def contradictions(manifest: Manifest, copies: Copies) -> Queue:
    """Copies of one picture whose labels differ, group by group."""
    groups = [group for group in copies.groups if len(np.unique(manifest.targets[group], axis=0)) > 1]
    rows = np.concatenate(groups) if groups else np.zeros(0, np.int64)
    return _cut(
        Queue("Duplicates with different labels", "The same image is in the data twice, with different labels.", rows)
    )


def _cut(queue: Queue) -> Queue:
    return Queue(queue.title, queue.hint, queue.rows[:MOST_ROWS], queue.detail)


def _doubt(manifest: Manifest, probabilities: npt.NDArray[np.float32], thresholds: _Floats | None) -> _Floats:
    """float64 [N]: how sure the model is of its worst error in each row; 0 where it makes none or says nothing."""
    shown = np.nan_to_num(probabilities, nan=0.0).astype(np.float64)
    if manifest.task == "single":
        predicted, rows = shown.argmax(axis=1), np.arange(len(shown))
        return np.where(predicted == manifest.targets, 0.0, shown[rows, predicted])
    wrong = (shown >= (0.5 if thresholds is None else thresholds)) != (manifest.targets == 1)
    away = np.where(manifest.targets == 1, 1 - shown, shown)
    return np.asarray((wrong * away).max(axis=1, initial=0.0))


def _uncertainty(manifest: Manifest, probabilities: npt.NDArray[np.float32]) -> _Floats:
    """float64 [n]: the margin of the two most_probable classes, turned round; for several labels the mean entropy."""
    if not len(probabilities):
        return np.zeros(0)
    if manifest.task == "single":
        two = np.sort(probabilities, axis=1)[:, -2:].astype(np.float64)
        return np.asarray(1 - (two[:, -1] - two[:, 0]))
    p = np.clip(probabilities.astype(np.float64), 1e-12, 1 - 1e-12)
    return np.asarray(-(p * np.log(p) + (1 - p) * np.log(1 - p)).mean(axis=1))


def _pairs(
    manifest: Manifest, probabilities: npt.NDArray[np.float32], issues: pd.DataFrame, wrong: _Rows
) -> list[Queue]:
    """The most frequent confusions of two classes, or for several labels the suspects of each label."""
    if manifest.task == "single":
        predicted = probabilities[wrong].argmax(axis=1) if len(wrong) else wrong
        keys = [(int(manifest.targets[row]), int(k)) for row, k in zip(wrong, predicted, strict=True)]
        named = {key: f"{manifest.classes[key[0]]} → {manifest.classes[key[1]]}" for key in keys}
        rows_of = {key: np.array([r for r, k in zip(wrong, keys, strict=True) if k == key]) for key in named}
        hint = "Labelled as the first class, predicted as the second."
    else:
        labels = issues["given"].where(issues["given"] != "", issues["suggested"])
        positions = pc.index_in(pa.array(issues["id"].tolist(), pa.large_string()), value_set=manifest.ids).to_numpy()
        named = {(k, k): name for k, name in enumerate(manifest.classes)}
        rows_of = {key: positions[(labels == name).to_numpy()].astype(np.int64) for key, name in named.items()}
        hint = "This label seems to be missing, or to be there by mistake."
    found = sorted(rows_of, key=lambda key: -len(rows_of[key]))
    return [Queue(named[key], hint, rows_of[key], detail=True) for key in found[:MOST_PAIRS]]
