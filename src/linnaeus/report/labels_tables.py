"""Where labels are right and wrong: the scores of each label, which are missing or superfluous, how many per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnaeus.data.manifest import TEST
from linnaeus.report.facts import ReportFacts
from linnaeus.report.headline import SMALL_CLASS
from linnaeus.report.wording import count, figure, percent

MOST_WRONG_LABELS = 8
MOST_LABELS = 25
NUM_PAIRS = 10
_SCORES = ("precision", "recall", "f1", "average_precision")


@dataclass(frozen=True)
class LabelScores:
    """One row of the table: (0-1, words) of each score, (number, words) of each count. `few`: of the test images."""

    name: str
    threshold: tuple[float, str]
    scores: list[tuple[float, str]]
    counts: list[tuple[int, str]]
    few: bool


@dataclass(frozen=True)
class LabelTable:
    """The section: a row per label, and below how many test images a score is a rough one."""

    rows: list[LabelScores]
    small_class: int


@dataclass(frozen=True)
class Bar:
    """A row of a chart: what, how many, which share of all, and widths 0-1 of the largest."""

    name: str
    numbers: list[str]
    share: str
    widths: list[float]


@dataclass(frozen=True)
class LabelMistakes:
    """What is wrong in how many images, which labels are most often wrong, and which stand for which.

    Attributes:
        per_image: images with 0, 1, ... wrong labels.
        per_label: the labels with most mistakes first: missing and superfluous.
        more_labels: how many others there are, None for none.
        instead: pairs (missing, given in its place), the most frequent first.
        right: share of images without a mistake.
    """

    per_image: list[Bar]
    per_label: list[Bar]
    more_labels: str | None
    instead: list[tuple[str, str, str, float]]
    right: str


def make_label_table(facts: ReportFacts) -> LabelTable:
    """Threshold, scores and mistakes of each label, in the order of the labels."""
    rows = [
        LabelScores(
            name=name,
            threshold=(row["threshold"], f"{row['threshold']:.2f}"),
            scores=[(row[score], figure(row[score])) for score in _SCORES],
            counts=[(row[key], count(row[key])) for key in ("support", "missing", "superfluous")],
            few=row["support"] < SMALL_CLASS,
        )
        for name, row in facts.evaluation["test"]["per_class"].items()
    ]
    return LabelTable(rows, SMALL_CLASS)


def make_label_mistakes(facts: ReportFacts) -> LabelMistakes:
    """Count the mistakes of the test images by image, by label, and by pairs of labels."""
    test = facts.evaluation["test"]
    wrong = sorted(test["per_class"].items(), key=lambda item: -(item[1]["missing"] + item[1]["superfluous"]))
    wrong = [(name, row) for name, row in wrong if row["missing"] + row["superfluous"]]
    most = max((row["missing"] + row["superfluous"] for _, row in wrong), default=1)
    per_label = [
        Bar(
            name,
            [count(row[key]) for key in ("missing", "superfluous")],
            count(row["missing"] + row["superfluous"]),
            [row[key] / most for key in ("missing", "superfluous")],
        )
        for name, row in wrong[:MOST_LABELS]
    ]
    return LabelMistakes(
        per_image=_per_image(test["wrong_labels"]),
        per_label=per_label,
        more_labels=count(len(wrong) - MOST_LABELS) if len(wrong) > MOST_LABELS else None,
        instead=_instead(facts),
        right=percent(test["wrong_labels"][0] / test["num_images"]),
    )


def _per_image(numbers: Sequence[int]) -> list[Bar]:
    """Images with 0, 1, ... wrong labels; the last row holds all with MOST_WRONG_LABELS or more."""
    total, words = sum(numbers), ["none", "one", *map(str, range(2, len(numbers)))]
    if len(numbers) > MOST_WRONG_LABELS:
        numbers = [*numbers[:MOST_WRONG_LABELS], sum(numbers[MOST_WRONG_LABELS:])]
        words[MOST_WRONG_LABELS] += " or more"
    most = max(numbers)
    return [
        Bar(word, [count(number)], percent(number / total), [number / most])
        for word, number in zip(words, numbers, strict=False)
    ]


def _instead(facts: ReportFacts) -> list[tuple[str, str, str, float]]:
    """(missing, superfluous, images, width 0-1) of the pairs that most often are wrong in the same image."""
    test = facts.predictions.of_split(TEST)
    targets, given = test.targets.astype(np.bool_), given_on(facts.evaluation["test"], test.probabilities)
    missing, superfluous = (targets & ~given).astype(np.float32), (given & ~targets).astype(np.float32)
    together = (missing.T @ superfluous).astype(np.int64)
    order = np.argsort(-together, axis=None, kind="stable")[:NUM_PAIRS]
    pairs = [(int(k) // len(test.classes), int(k) % len(test.classes)) for k in order]
    most = max(1, int(together.max(initial=0)))
    return [
        (test.classes[i], test.classes[j], count(int(together[i, j])), float(together[i, j] / most))
        for i, j in pairs
        if together[i, j]
    ]


def given_on(test: Mapping[str, Any], probabilities: np.ndarray) -> np.ndarray:
    """bool [N, K]: the labels that reach the thresholds of the evaluation, from float64 [N, K]."""
    thresholds = np.array([row["threshold"] for row in test["per_class"].values()])
    return np.asarray(probabilities >= thresholds)
