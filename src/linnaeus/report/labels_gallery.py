"""Pictures where images have several labels: the most mistakes, the most confident ones, and images that are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from linnaeus.data.manifest import TEST
from linnaeus.errors import UnreadableImageError
from linnaeus.predictions import Predictions
from linnaeus.report.facts import ReportFacts
from linnaeus.report.gallery import data_uri, leading_label, one_class_after_another
from linnaeus.report.labels_tables import given_on
from linnaeus.report.wording import count, percent

MOST_WORST, MOST_SURE, MOST_RIGHT = 18, 12, 12


@dataclass(frozen=True)
class LabelPicture:
    """A thumbnail with its labels: those that are right, and (name, probability) of the wrong ones.

    `uri` is None where the image cannot be shown; `coarse` asks for visible pixels.
    """

    uri: str | None
    coarse: bool
    right: list[str]
    missing: list[tuple[str, str]]
    superfluous: list[tuple[str, str]]
    id: str


@dataclass(frozen=True)
class LabelGalleries:
    """Four groups of pictures, and how many images are right in every label."""

    worst: list[LabelPicture]
    surely_given: list[LabelPicture]
    surely_not_given: list[LabelPicture]
    right: list[LabelPicture]
    num_wrong: str
    num_right: str


def make_label_galleries(facts: ReportFacts) -> LabelGalleries:
    """Choose the pictures of test images (always the same for the same run) and embed their thumbnails."""
    test = facts.predictions.of_split(TEST)
    probabilities = test.probabilities
    given, targets = given_on(facts.evaluation["test"], probabilities), test.targets.astype(np.bool_)
    wrong = (given != targets).sum(axis=1)
    # Of images with as many wrong labels, that which the model found least likely.
    log_loss = np.logaddexp(0.0, np.where(targets, -test.logits, test.logits).astype(np.float64)).sum(axis=1)
    worst = np.lexsort((-log_loss, -wrong))
    right = np.flatnonzero(wrong == 0)
    drawn = right[
        one_class_after_another(leading_label(test.targets[right]), at_most=MOST_RIGHT, seed=facts.config.seed)
    ]
    show = _shower(facts, test, probabilities, given)
    return LabelGalleries(
        worst=show(worst[wrong[worst] > 0][:MOST_WORST]),
        surely_given=show(_by_surest(np.where(given & ~targets, probabilities, -1.0))),
        surely_not_given=show(_by_surest(np.where(targets & ~given, 1 - probabilities, -1.0))),
        right=show(drawn),
        num_wrong=count(int((wrong > 0).sum())),
        num_right=count(len(right)),
    )


def _by_surest(sureness: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Rows by their surest mistake, from float64 [N, K] that is negative where there is none."""
    most = sureness.max(axis=1, initial=-1.0)
    order = np.argsort(-most, kind="stable")
    return np.asarray(order[most[order] >= 0][:MOST_SURE], np.int64)


def _shower(
    facts: ReportFacts, test: Predictions, probabilities: npt.NDArray[np.float64], given: npt.NDArray[np.bool_]
) -> Callable[[npt.NDArray[np.int64]], list[LabelPicture]]:
    """A function from positions in `test` to their pictures."""
    rows = pc.index_in(test.ids, value_set=facts.manifest.ids).to_numpy(zero_copy_only=False)
    targets = test.targets.astype(np.bool_)

    def named(which: Sequence[int], position: int) -> list[tuple[str, str]]:
        surest = sorted(which, key=lambda k: -probabilities[position, k])
        return [(test.classes[k], percent(float(probabilities[position, k]))) for k in surest]

    def show(positions: npt.NDArray[np.int64]) -> list[LabelPicture]:
        pictures = []
        for position in positions.tolist():
            try:
                uri, coarse = data_uri(facts.thumbnails(int(rows[position])))
            except UnreadableImageError:
                uri, coarse = None, False
            true, said = targets[position], given[position]
            pictures.append(
                LabelPicture(
                    uri,
                    coarse,
                    right=[test.classes[k] for k in np.flatnonzero(true & said)],
                    missing=named(np.flatnonzero(true & ~said).tolist(), position),
                    superfluous=named(np.flatnonzero(said & ~true).tolist(), position),
                    id=test.ids[position].as_py(),
                )
            )
        return pictures

    return show
