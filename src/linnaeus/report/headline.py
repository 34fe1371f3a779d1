"""The top of the page: the score in words, what it is worth, and the tiles of the four scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from linnaeus.data.manifest import TRAIN
from linnaeus.judging.evaluation import Scores
from linnaeus.report.charts import interval_bar
from linnaeus.report.facts import ReportFacts
from linnaeus.report.wording import count, figure, images_words, listing, percent, percent_range

SMALL_TEST = 300
SMALL_CLASS = 20
LARGE_GAP = 0.05
_TILES = (
    ("accuracy", "Accuracy", "fraction of images whose class is right"),
    ("balanced_accuracy", "Balanced accuracy", "recall, averaged over classes"),
    ("macro_precision", "Macro precision", "precision, averaged over classes"),
    ("macro_f1", "Macro F1", "F1 (Dice), averaged over classes"),
)


@dataclass(frozen=True)
class Extreme:
    """The classes with the best or the worst recall."""

    names: str
    verb: str
    recall: str


@dataclass(frozen=True)
class Baseline:
    """Always answering with the most frequent class of the training images."""

    name: str
    accuracy: str


@dataclass(frozen=True)
class Headline:
    """The first sentences, already in words. `images`: their number, and that of their groups where there are any."""

    figure: str
    interval: str
    num_images: str
    images: str
    grouped: bool
    num_classes: str
    best: Extreme | None
    worst: Extreme | None
    baseline: Baseline


@dataclass(frozen=True)
class Tile:
    """One score."""

    name: str
    meaning: str
    value: str
    interval: str
    bar: Markup


@dataclass(frozen=True)
class Notice:
    """What a reader must know before believing the score; `key` tells programs which notice it is."""

    key: str
    title: str
    sentence: str


@dataclass(frozen=True)
class ScoresSection:
    """Notices, and the tiles with where their common scale begins."""

    notices: list[Notice]
    tiles: list[Tile]
    floor: str


def make_headline(facts: ReportFacts) -> Headline:
    """Put the test scores into words. `best` and `worst` are None where all classes fare alike."""
    test = facts.evaluation.test
    score = test.score("accuracy")
    recalls = {name: row.recall for name, row in (test.per_class or {}).items() if row.support}
    best, worst = max(recalls.values()), min(recalls.values())
    alike = best == worst
    return Headline(
        figure=figure(score.value),
        interval=percent_range(score.low, score.high),
        num_images=count(test.num_images),
        images=images_words(test.num_images, test.num_groups),
        grouped=test.num_groups is not None,
        num_classes=count(facts.manifest.num_classes),
        best=None if alike else extreme(recalls, best),
        worst=None if alike else extreme(recalls, worst),
        baseline=Baseline(*_most_frequent(facts)),
    )


def make_scores(facts: ReportFacts) -> ScoresSection:
    """What to know before relying on the score, and the scores beside accuracy."""
    tiles, floor = make_tiles(facts.evaluation.test, _TILES)
    return ScoresSection(_notices(facts), tiles, floor)


def one_line(facts: ReportFacts) -> str:
    """The result in a few words, for the title of the browser's window."""
    test = facts.evaluation.test
    value = percent(test.score(test.main).value)
    return f"micro F1 {value}" if test.several_labels else value


def level_words(confidence: float) -> str:
    """The level of every interval, such as `95 %`."""
    return percent(confidence).replace(".0", "")


def make_tiles(test: Scores, scores: Sequence[tuple[str, str, str]]) -> tuple[list[Tile], str]:
    """A tile for each of the scores (key, name, meaning), and where their common scale begins (`0 %`, `50 %` ...)."""
    least = min(test.score(key).low for key, _, _ in scores)
    floor = max(f for f in (0.0, 0.5, 0.8, 0.9, 0.98) if f <= least)
    tiles = []
    for key, name, meaning in scores:
        score = test.score(key)
        bar = interval_bar(score.value, score.low, score.high, floor=floor)
        tiles.append(Tile(name, meaning, percent(score.value), percent_range(score.low, score.high), bar))
    return tiles, f"{100 * floor:.0f}"


def extreme(scores: Mapping[str, float], value: float) -> Extreme:
    """The classes or labels whose score is this one."""
    names = [name for name, score in scores.items() if score == value]
    return Extreme(listing(names, at_most=2), "is" if len(names) == 1 else "are", percent(value))


def _most_frequent(facts: ReportFacts) -> tuple[str, str]:
    rows = facts.manifest.rows(TRAIN)
    name = facts.manifest.classes[int(np.argmax(facts.manifest.class_counts(rows if len(rows) else None)))]
    return name, percent(_baseline_accuracy(facts, name))


def _baseline_accuracy(facts: ReportFacts, name: str) -> float:
    test = facts.evaluation.test
    return (test.per_class or {})[name].support / test.num_images


def _notices(facts: ReportFacts) -> list[Notice]:
    """What a reader must know before believing the score."""
    test = facts.evaluation.test
    accuracy, balanced = test.score("accuracy"), test.score("balanced_accuracy")
    notices = small_test_notices(test)
    name, _ = _most_frequent(facts)
    baseline = _baseline_accuracy(facts, name)
    if accuracy.low <= baseline:
        notices.append(
            Notice(
                "not-above-baseline",
                "Not significantly better than the most frequent class.",
                f"Always predicting {name}, the most frequent class, would be right for {percent(baseline)} of the "
                "test images, which is not below the interval.",
            )
        )
    notices += support_notices(test, what="Classes")
    gap = accuracy.value - balanced.value
    if gap >= LARGE_GAP:
        sentence = (
            f"Balanced accuracy, which counts every class alike, is {100 * gap:.0f} points lower "
            f"({figure(balanced.value)} against {percent(accuracy.value)})."
        )
        notices.append(Notice("rare-classes", "Scores of rare classes are lower.", sentence))
    return notices


def small_test_notices(test: Scores) -> list[Notice]:
    """What to know where there are few test images, or few groups of them."""
    if min(test.num_images, test.num_groups or test.num_images) >= SMALL_TEST:
        return []
    score = test.score(test.main)
    points = 100 * (score.high - score.low)
    rough = ", so the score is a rough one" if points >= 100 * LARGE_GAP else ""
    sentence = (
        f"With {images_words(test.num_images, test.num_groups)} the interval is {points:.1f} points wide{rough}; more "
        "would make it narrower."
    )
    return [Notice("small-test", "Small test set.", sentence)]


def support_notices(test: Scores, *, what: str) -> list[Notice]:
    """What to know of classes or labels (`what`, for the first word) with few test images, or none."""
    supports = {name: row.support for name, row in (test.per_class or {}).items()}
    notices = []
    few = [f"{name} ({number})" for name, number in supports.items() if 0 < number < SMALL_CLASS]
    if few:
        sentence = (
            f"{listing(few, at_most=5)} {'has' if len(few) == 1 else 'have'} fewer than {SMALL_CLASS}; "
            f"{'its own scores are' if len(few) == 1 else 'their own scores are'} rough."
        )
        notices.append(Notice("few-images", f"{what} with few test images.", sentence))
    none = [name for name, number in supports.items() if not number]
    if none:
        sentence = f"Nothing is known about {listing(none, at_most=5)}."
        notices.append(Notice("no-images", f"{what} without test images.", sentence))
    return notices
