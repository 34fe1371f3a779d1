"""Label issues: labels that look wrong, found by predictions of a model that has not seen them.

Confident learning (Northcutt, Jiang and Chuang, arXiv 1911.00068), by cleanlab: how many labels are wrong is estimated
from confident predictions, and so many are named, the least likely ones. Of cleanlab's ways to name them this one found
most planted wrong labels with fewest false positives (docs/review.md). Several labels per image are a yes-or-no
question each. A function of Predictions; knows nothing of how the model
was trained, and nothing of files.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from linnaeus.data.manifest import SPLITS, UNASSIGNED
from linnaeus.errors import DataError
from linnaeus.predictions import Predictions

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # hints about packages that cleanlab could also use
    from cleanlab.filter import find_label_issues as _find

COLUMNS = ("id", "split", "kind", "given", "suggested", "confidence")
"""Of the table of label issues, and of label_issues.csv."""
WRONG, MISSING, EXTRA = "wrong", "missing", "extra"

_Rows = npt.NDArray[np.int64]


def find_label_issues(predictions: Predictions) -> pd.DataFrame:
    """Labels that look wrong, the most suspicious first.

    Args:
        predictions: of N images by models that have not seen them (out of fold, or held out).

    Returns one row per label with the columns `id`; `split` (train, validation, test); `kind` ("wrong" for one label
    per image, "missing" or "extra" for several); `given` (the label it has; empty if missing); `suggested` (the
    most likely class; empty if extra); `confidence`, the probability in 0-1, by the model, that the given label,
    or its absence, is wrong. No rows where there are fewer than two classes or no images.
    """
    if predictions.task == "multi":
        return _of_several(predictions)
    probabilities, given = predictions.probabilities, np.asarray(predictions.targets, np.int64)
    rows = _suspects(given, probabilities)
    names = np.array(predictions.classes, dtype=object)
    suggested = np.where(np.arange(len(names)) == given[:, None], -1.0, probabilities).argmax(axis=1)
    confidence = 1 - probabilities[np.arange(len(given)), given]
    kinds = np.full(len(rows), WRONG, dtype=object)
    return _table(predictions, rows, kinds, names[given[rows]], names[suggested[rows]], confidence[rows])


def read_label_issues(path: Path) -> pd.DataFrame:
    """What `linnaeus train` wrote to label_issues.csv. Raises DataError if it cannot be read or lacks a column."""
    try:
        # A class may be called NA.
        found = pd.read_csv(path, keep_default_na=False, dtype={name: str for name in COLUMNS if name != "confidence"})
        return found[list(COLUMNS)].astype({"confidence": float})
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} is no table of label issues that Linnaeus wrote: {error}") from error


def _of_several(predictions: Predictions) -> pd.DataFrame:
    """Each label as its own question: is it there?"""
    targets, probabilities = np.asarray(predictions.targets, np.int64), predictions.probabilities
    parts = []
    for k, name in enumerate(predictions.classes):
        present, there = targets[:, k], probabilities[:, k]
        if present.min(initial=1) == present.max(initial=0):
            continue  # a label that no image has, or all: there is nothing to compare with
        rows = _suspects(present, np.stack([1 - there, there], axis=1))
        extra = present[rows] == 1
        parts.append(
            _table(
                predictions,
                rows,
                np.where(extra, EXTRA, MISSING).astype(object),
                np.where(extra, name, "").astype(object),
                np.where(extra, "", name).astype(object),
                np.where(extra, 1 - there[rows], there[rows]),
            )
        )
    if not parts:
        nothing = np.zeros(0, dtype=object)
        return _table(predictions, np.zeros(0, np.int64), nothing, nothing, nothing, np.zeros(0))
    return pd.concat(parts).sort_values("confidence", ascending=False, kind="stable", ignore_index=True)


def _suspects(given: _Rows, probabilities: npt.NDArray[np.float64]) -> _Rows:
    """Positions of the labels that look wrong, the least likely label first.

    Classes that no image has are left out of the estimate, which would divide by their number.
    """
    classes, positions = np.unique(given, return_inverse=True)
    if len(classes) < 2:
        return np.zeros(0, np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes so small that not all of their labels may be doubted
        rows = _find(
            positions,
            _normalised(probabilities[:, classes]),
            filter_by="low_self_confidence",
            return_indices_ranked_by="self_confidence",
            n_jobs=1,
        )
    return np.asarray(rows, np.int64)


def _normalised(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(probabilities / np.maximum(probabilities.sum(axis=1, keepdims=True), 1e-300), np.float64)


def _table(
    predictions: Predictions,
    rows: _Rows,
    kinds: npt.NDArray[np.object_],
    given: npt.NDArray[np.object_],
    suggested: npt.NDArray[np.object_],
    confidence: npt.NDArray[np.float64],
) -> pd.DataFrame:
    names = np.array([*SPLITS, ""], dtype=object)
    assert UNASSIGNED == -1, "the empty name is the last"
    ids = np.array(predictions.ids.to_pylist(), dtype=object)
    values = (ids[rows], names[predictions.splits[rows]], kinds, given, suggested, confidence)
    return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))
