"""The most telling mistakes: what the network looked at in each, and the training images that are most like it.

A function of predictions, a classifier and pixels; the page and the commands decide how it is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from linnaeus.analysis.explain import METHOD_WORDS, Heat, heat_maps, place_of
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import Manifest
from linnaeus.errors import ModelError
from linnaeus.metrics.neighbours import nearest_rows, unit_rows
from linnaeus.models import Classifier
from linnaeus.predictions import Predictions

MOST_OF_A_KIND = 2
"""So many mistakes of one true and one predicted class are explained before those of others come in."""
NUM_NEIGHBOURS = 3
_IMAGES_AT_ONCE = 4


@dataclass(frozen=True)
class Mistake:
    """One wrong answer.

    Attributes:
        position: in the predictions.
        label: position of the class that was given wrongly or, of several labels, was not given and should have been.
        given: it was given.
        probability: of that class, 0-1.
    """

    position: int
    label: int
    given: bool
    probability: float


@dataclass(frozen=True)
class ExplainedError:
    """A mistake with its reasons.

    Attributes:
        row: of the manifest.
        mistake: what was wrong.
        heat: float32 [H, W], 0-1, what speaks for `mistake.label`; None where the network cannot show it.
        place: where most of the heat lies, in words.
        method: how the heat was found, in words; empty without heat.
        neighbours: (row, cosine similarity of features) of the most similar training images looked at, nearest first.
    """

    row: int
    mistake: Mistake
    heat: Heat | None
    place: str
    method: str
    neighbours: list[tuple[int, float]]


def choose_mistakes(predictions: Predictions, *, thresholds: Sequence[float] | None, at_most: int) -> list[Mistake]:
    """The most confident mistakes, at most MOST_OF_A_KIND of each kind, and one per image.

    Of several labels the confidence is the distance from the threshold, and a kind is a false negative or a false
    positive of a label.
    """
    probabilities = predictions.probabilities
    if predictions.task == "single":
        rows = np.flatnonzero(predictions.predicted != predictions.targets)
        labels = predictions.predicted[rows]
        doubt = probabilities[rows, labels]
        kinds = list(zip(predictions.targets[rows].tolist(), labels.tolist(), strict=True))
        given = np.ones(len(rows), np.bool_)
    else:
        limits = np.asarray(thresholds, np.float64)
        answers = predictions.given_labels(limits)
        rows, labels = np.nonzero(answers != predictions.targets)
        doubt = np.abs(probabilities - limits)[rows, labels]
        given = answers[rows, labels].astype(np.bool_)
        kinds = list(zip(labels.tolist(), given.tolist(), strict=True))
    chosen: list[Mistake] = []
    seen: Counter[tuple[int, int | bool]] = Counter()
    images: set[int] = set()
    for k in np.argsort(-doubt, kind="stable").tolist():
        if len(chosen) == at_most:
            break
        row, label = int(rows[k]), int(labels[k])
        if seen[kinds[k]] < MOST_OF_A_KIND and row not in images:
            seen[kinds[k]] += 1
            images.add(row)
            chosen.append(Mistake(row, label, bool(given[k]), float(probabilities[row, label])))
    return chosen


def explain_errors(
    classifier: Classifier,
    store: ImageStore,
    manifest: Manifest,
    predictions: Predictions,
    *,
    spec: ImageSpec,
    thresholds: Sequence[float] | None,
    at_most: int,
    features: npt.NDArray[np.floating],
    known_rows: npt.NDArray[np.int64],
    known: npt.NDArray[np.floating],
) -> list[ExplainedError]:
    """Explain the most telling mistakes in `predictions`, which are of rows of `manifest`.

    Args:
        classifier: on the store's device.
        spec: how pixels become the network's input.
        thresholds: K probabilities from which a label is given, where images have several.
        at_most: mistakes.
        features: float [N, D] of the predictions' images.
        known_rows, known: rows int64 [R] of training images and their features float [R, D], among which the most
            similar ones are sought.
    """
    mistakes = choose_mistakes(predictions, thresholds=thresholds, at_most=at_most)
    if not mistakes:
        return []
    positions = np.array([mistake.position for mistake in mistakes], np.int64)
    found = pc.index_in(predictions.take(positions).ids, value_set=manifest.ids)
    rows = found.to_numpy(zero_copy_only=False).astype(np.int64)
    labels = np.array([mistake.label for mistake in mistakes], np.int64)
    heat, method = _heat(classifier, store, rows, labels, spec)
    neighbours = _neighbours(unit_rows(features[positions]), unit_rows(known), known_rows)
    return [
        ExplainedError(
            row=int(row),
            mistake=mistake,
            heat=None if heat is None else heat[k],
            place="" if heat is None else place_of(heat[k]),
            method=method,
            neighbours=neighbours[k],
        )
        for k, (row, mistake) in enumerate(zip(rows.tolist(), mistakes, strict=True))
    ]


def _heat(
    classifier: Classifier,
    store: ImageStore,
    rows: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    spec: ImageSpec,
) -> tuple[Heat | None, str]:
    maps, method = [], ""
    for start in range(0, len(rows), _IMAGES_AT_ONCE):
        part = slice(start, start + _IMAGES_AT_ONCE)
        try:
            found = heat_maps(classifier, spec.normalize(store.sample(rows[part])), targets=labels[part])
        except ModelError:
            return None, ""
        maps.append(found.maps)
        method = METHOD_WORDS[found.method]
    return np.concatenate(maps), method


def _neighbours(
    features: npt.NDArray[np.float32], others: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]
) -> list[list[tuple[int, float]]]:
    """(row, cosine) of the nearest of the others, for each image."""
    num = min(NUM_NEIGHBOURS, len(others))
    return [
        list(zip(rows[places].tolist(), cosines.tolist(), strict=True))
        for _, nearest, similar in nearest_rows(features, others, num=num)
        for places, cosines in zip(nearest, similar, strict=True)
    ]
