"""The threshold slider of several labels: counts of validation images from which the page computes scores anew.

Validation images, not test ones: a threshold may be chosen by them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnaeus.data.manifest import VALIDATION
from linnaeus.report.facts import ReportFacts
from linnaeus.report.labels_tables import thresholds_of
from linnaeus.report.wording import count, figure

STEPS = 100
MOST_LABELS = 200
"""With more labels only the most frequent have a row."""


@dataclass(frozen=True)
class Row:
    """One label: its threshold, and its scores there, on images of which `support` have it.

    Attributes:
        true_positives: for each threshold k / STEPS how many images reach it and have the label.
        false_positives: ... and do not have it.
        chosen: both numbers at the threshold itself, which may lie between two of those.
    """

    name: str
    threshold: str
    chosen: tuple[int, int]
    precision: str
    recall: str
    f1: str
    support: int
    true_positives: list[int]
    false_positives: list[int]


@dataclass(frozen=True)
class ThresholdSection:
    """The rows; `num_images` of validation, `steps` of the slider; `more` labels have no row."""

    rows: list[Row]
    num_images: str
    steps: int
    more: str | None


def make_thresholds(facts: ReportFacts) -> ThresholdSection | None:
    """Count the validation images at every threshold; None without any."""
    predictions = facts.predictions.of_split(VALIDATION)
    if not len(predictions):
        return None
    thresholds = thresholds_of(facts.evaluation.test)
    targets = predictions.targets.astype(np.bool_)
    # The step below each probability: an image reaches every threshold up to it.
    reached = np.floor(predictions.probabilities * STEPS + 1e-9).astype(np.int64).clip(0, STEPS)
    support = targets.sum(axis=0)
    order = np.sort(np.argsort(-support, kind="stable")[:MOST_LABELS])
    rows = []
    for k in order.tolist():
        true_positives, false_positives = (_at_least(reached[chosen, k]) for chosen in (targets[:, k], ~targets[:, k]))
        threshold = float(thresholds[k])
        predicted = predictions.probabilities[:, k] >= threshold
        right = int((predicted & targets[:, k]).sum())
        wrong = int(predicted.sum()) - right
        total = right + wrong + int(support[k])
        rows.append(
            Row(
                name=predictions.classes[k],
                threshold=f"{threshold:.2f}",
                chosen=(right, wrong),
                precision=figure(right / (right + wrong)) if predicted.any() else "0",
                recall=figure(right / int(support[k])) if support[k] else "0",
                f1=figure(2 * right / total) if total else "0",
                support=int(support[k]),
                true_positives=true_positives,
                false_positives=false_positives,
            )
        )
    more = len(predictions.classes) - len(rows)
    return ThresholdSection(rows, count(len(predictions)), STEPS, count(more) if more else None)


def _at_least(steps: np.ndarray) -> list[int]:
    """How many of `steps` reach each of 0 ... STEPS."""
    counts: list[int] = np.bincount(steps, minlength=STEPS + 1)[::-1].cumsum()[::-1].tolist()
    return counts
