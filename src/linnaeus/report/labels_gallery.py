"""Pictures where images have several labels: the most mistakes, the most confident ones, and images that are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from linnaeus.data.manifest import TEST
from linnaeus.errors import UnreadableImageError
from linnaeus.predictions import Predictions
from linnaeus.report.facts import ReportFacts
from linnaeus.report.gallery import data_uri, first_of_each_kind, leading_label, one_class_after_another
from linnaeus.report.headline import SMALL_CLASS
from linnaeus.report.labels_tables import thresholds_of
from linnaeus.report.wording import count, percent

MOST_WORST, MOST_CONFIDENT, MOST_RIGHT = 18, 12, 12
MOST_OF_A_LABEL = 3
"""Of the most confident mistakes: else one common label would fill the gallery."""


@dataclass(frozen=True)
class LabelPicture:
    """A thumbnail with the names of its labels, the most probable first, by whether the image has them and whether they
    were predicted.

    `uri` is None where the image cannot be shown; `coarse` asks for visible pixels. `about`: the label that the picture
    is shown for, with its probability.
    """

    uri: str | None
    coarse: bool
    right: list[str]
    false_negatives: list[str]
    false_positives: list[str]
    about: tuple[str, str] | None
    id: str


@dataclass(frozen=True)
class LabelGalleries:
    """Four groups of pictures, and how many images are right in every label."""

    worst: list[LabelPicture]
    confident_false_positives: list[LabelPicture]
    confident_false_negatives: list[LabelPicture]
    right: list[LabelPicture]
    num_wrong: str
    num_right: str


def make_label_galleries(facts: ReportFacts) -> LabelGalleries:
    """Choose the pictures of test images (always the same for the same run) and embed their thumbnails."""
    test = facts.predictions.of_split(TEST)
    probabilities = test.probabilities
    thresholds, targets = thresholds_of(facts.evaluation.test), test.targets.astype(np.bool_)
    given = probabilities >= thresholds
    often = targets.sum(axis=0) >= SMALL_CLASS  # a label that hardly any image has is improbable for all of them
    wrong = (given != targets).sum(axis=1)
    # Of images with as many wrong labels, that which the model found least probable.
    log_loss = np.logaddexp(0.0, np.where(targets, -test.logits, test.logits).astype(np.float64)).sum(axis=1)
    worst = np.lexsort((-log_loss, -wrong))
    right = np.flatnonzero(wrong == 0)
    drawn = right[
        one_class_after_another(leading_label(test.targets[right]), at_most=MOST_RIGHT, seed=facts.config.seed)
    ]
    show = _shower(facts, test, probabilities, given)
    return LabelGalleries(
        worst=show(worst[wrong[worst] > 0][:MOST_WORST], None),
        confident_false_positives=show(*_by_confidence(np.where(given & ~targets, probabilities, -1.0))),
        confident_false_negatives=show(
            *_by_confidence(np.where(targets & ~given & often, 1 - probabilities / thresholds, -1.0))
        ),
        right=show(drawn, None),
        num_wrong=count(int((wrong > 0).sum())),
        num_right=count(len(right)),
    )


def _by_confidence(confidence: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows by their most confident mistake, and the label of each, from float64 [N, K], negative where none is."""
    label, most = confidence.argmax(axis=1), confidence.max(axis=1)
    order = np.argsort(-most, kind="stable")
    order = order[most[order] >= 0]
    order = order[first_of_each_kind(label[order].tolist(), at_most=MOST_CONFIDENT, of_a_kind=MOST_OF_A_LABEL)]
    return order.astype(np.int64), label[order].astype(np.int64)


def _shower(
    facts: ReportFacts, test: Predictions, probabilities: npt.NDArray[np.float64], given: npt.NDArray[np.bool_]
) -> Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64] | None], list[LabelPicture]]:
    """A function from positions in `test`, and the labels that each is about, to their pictures."""
    rows = pc.index_in(test.ids, value_set=facts.manifest.ids).to_numpy(zero_copy_only=False)
    targets = test.targets.astype(np.bool_)

    def names(which: npt.NDArray[np.bool_], position: int) -> list[str]:
        order = np.argsort(-probabilities[position], kind="stable")
        return [test.classes[k] for k in order[which[order]]]

    def picture(position: int, label: int | None) -> LabelPicture:
        try:
            uri, coarse = data_uri(facts.thumbnails(int(rows[position])))
        except UnreadableImageError:
            uri, coarse = None, False
        true, said = targets[position], given[position]
        others = np.arange(len(test.classes)) != label
        return LabelPicture(
            uri,
            coarse,
            right=names(true & said, position),
            false_negatives=names(true & ~said & others, position),
            false_positives=names(said & ~true & others, position),
            about=None if label is None else (test.classes[label], percent(float(probabilities[position, label]))),
            id=test.ids[position].as_py(),
        )

    def show(positions: npt.NDArray[np.int64], labels: npt.NDArray[np.int64] | None) -> list[LabelPicture]:
        about = [None] * len(positions) if labels is None else labels.tolist()
        return [picture(position, label) for position, label in zip(positions.tolist(), about, strict=True)]

    return show
