"""Where labels are right and wrong: scores and errors of each label, and wrong labels per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnaeus.data.manifest import TEST
from linnaeus.judging.evaluation import ClassScores, Evaluation, Scores
from linnaeus.report.facts import ReportFacts
from linnaeus.report.headline import SMALL_CLASS
from linnaeus.report.wording import count, figure, percent

MOST_WRONG_LABELS = 8
MOST_LABELS = 25
NUM_PAIRS = 10


@dataclass(frozen=True)
class LabelRow:
    """One row of the table: (0-1, words) of each score, (number, words) of each count. `few`: of the test images."""

    name: str
    threshold: tuple[float, str]
    scores: list[tuple[float, str]]
    counts: list[tuple[int, str]]
    few: bool


@dataclass(frozen=True)
class LabelTable:
    """The section: a row per label, and below how many test images a score is a rough one."""

    rows: list[LabelRow]
    small_class: int


@dataclass(frozen=True)
class Bar:
    """A row of a chart: what, how many, which fraction of all, and widths 0-1 of the largest."""

    name: str
    numbers: list[str]
    fraction: str
    widths: list[float]


@dataclass(frozen=True)
class LabelMistakes:
    """What is wrong in how many images, which labels are most often wrong, and which stand for which.

    Attributes:
        per_image: images with 0, 1, ... wrong labels.
        per_label: the labels with most mistakes first: false negatives and false positives.
        more_labels: how many others there are, None for none.
        instead: pairs (false negative, false positive in the same image), the most frequent first.
        right: fraction of images without a mistake.
    """

    per_image: list[Bar]
    per_label: list[Bar]
    more_labels: str | None
    instead: list[tuple[str, str, str, float]]
    right: str


def make_label_table(evaluation: Evaluation) -> LabelTable:
    """Threshold, scores and mistakes of each label, in the order of the labels."""
    rows = [
        LabelRow(
            name=name,
            threshold=(threshold, f"{threshold:.2f}"),
            scores=[(value, figure(value)) for value in (row.precision, row.recall, row.f1, row.average_precision)],
            counts=[(number, count(number)) for number in (row.support, *wrong_of(row))],
            few=row.support < SMALL_CLASS,
        )
        for (name, row), threshold in zip(
            (evaluation.test.per_class or {}).items(), thresholds_of(evaluation.test).tolist(), strict=True
        )
    ]
    return LabelTable(rows, SMALL_CLASS)


def make_label_mistakes(facts: ReportFacts) -> LabelMistakes:
    """Count the mistakes of the test images by image, by label, and by pairs of labels."""
    test = facts.evaluation.test
    wrong = [(name, wrong_of(row)) for name, row in (test.per_class or {}).items()]
    wrong = sorted((item for item in wrong if sum(item[1])), key=lambda item: -sum(item[1]))
    most = max((sum(numbers) for _, numbers in wrong), default=1)
    per_label = [
        Bar(name, [count(number) for number in numbers], count(sum(numbers)), [number / most for number in numbers])
        for name, numbers in wrong[:MOST_LABELS]
    ]
    per_image = test.wrong_labels or [test.num_images]
    return LabelMistakes(
        per_image=_per_image(per_image),
        per_label=per_label,
        more_labels=count(len(wrong) - MOST_LABELS) if len(wrong) > MOST_LABELS else None,
        instead=_instead(facts),
        right=percent(per_image[0] / test.num_images),
    )


def wrong_of(row: ClassScores) -> tuple[int, int]:
    """False negatives and false positives of one of several labels."""
    return row.false_negatives or 0, row.false_positives or 0


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
    """(false negative, false positive, images, width 0-1) of the pairs that most often are wrong in the same image."""
    test = facts.predictions.of_split(TEST)
    targets, predicted = test.targets.astype(np.bool_), test.probabilities >= thresholds_of(facts.evaluation.test)
    false_negatives = (targets & ~predicted).astype(np.float32)
    false_positives = (predicted & ~targets).astype(np.float32)
    both = (false_negatives.T @ false_positives).astype(np.int64)
    order = np.argsort(-both, axis=None, kind="stable")[:NUM_PAIRS]
    pairs = [(int(k) // len(test.classes), int(k) % len(test.classes)) for k in order]
    most = max(1, int(both.max(initial=0)))
    return [
        (test.classes[i], test.classes[j], count(int(both[i, j])), float(both[i, j] / most))
        for i, j in pairs
        if both[i, j]
    ]


def thresholds_of(test: Scores) -> npt.NDArray[np.float64]:
    """float64 [K]: probability from which each of several labels is predicted."""
    return np.array([row.threshold for row in (test.per_class or {}).values()], np.float64)
