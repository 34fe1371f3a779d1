"""The top of the page where images have several labels: the scores in words, what they are worth, and their tiles."""

from __future__ import annotations

from dataclasses import dataclass

from linnaeus.judging.evaluation import Scores
from linnaeus.report.facts import ReportFacts
from linnaeus.report.headline import (
    LARGE_GAP,
    SMALL_CLASS,
    Extreme,
    Notice,
    ScoresSection,
    extreme,
    make_tiles,
    small_test_notices,
    support_notices,
)
from linnaeus.report.wording import count, figure, images_words, percent, percent_range

_TILES = (
    ("micro_f1", "Micro F1", "precision and recall of all labels together"),
    ("macro_f1", "Macro F1", "F1, averaged over labels: rare ones count as much"),
    (
        "mean_average_precision",
        "Mean average precision",
        "how well images are ranked for each label; needs no threshold",
    ),
    ("samples_f1", "Samples F1", "F1 of each image's own labels, averaged over images"),
    ("micro_precision", "Micro precision", "of the labels predicted, those that are right"),
    ("micro_recall", "Micro recall", "of the labels that images have, those predicted"),
    ("hamming_accuracy", "Hamming accuracy", "of all pairs of image and label, those that are right"),
    ("subset_accuracy", "Subset accuracy", "images with all labels right"),
)


@dataclass(frozen=True)
class LabelsHeadline:
    """The first sentences, already in words. `baseline`: (label given to every image, its micro F1)."""

    figure: str
    interval: str
    images: str
    grouped: bool
    num_labels: str
    precision: str
    recall: str
    ranking: str
    hamming_accuracy: str
    subset_accuracy: str
    best: Extreme | None
    worst: Extreme | None
    baseline: tuple[str, str]
    without: str


def make_labels_headline(facts: ReportFacts) -> LabelsHeadline:
    """Put the test scores into words. `best` and `worst` are of the labels with SMALL_CLASS images, if there are any,
    and None where all fare alike.
    """
    test = facts.evaluation.test
    known = {name: row for name, row in (test.per_class or {}).items() if row.support}
    often = {name: row for name, row in known.items() if row.support >= SMALL_CLASS}
    f1 = {name: row.f1 for name, row in (often or known).items()}
    best, worst = max(f1.values(), default=0.0), min(f1.values(), default=0.0)
    micro_f1, (name, baseline) = test.score("micro_f1"), _always(test)
    return LabelsHeadline(
        figure=figure(micro_f1.value),
        interval=percent_range(micro_f1.low, micro_f1.high),
        images=images_words(test.num_images, test.num_groups),
        grouped=test.num_groups is not None,
        num_labels=count(facts.manifest.num_classes),
        precision=percent(test.score("micro_precision").value),
        recall=percent(test.score("micro_recall").value),
        ranking=percent(test.score("mean_average_precision").value),
        hamming_accuracy=percent(test.score("hamming_accuracy").value),
        subset_accuracy=percent(test.score("subset_accuracy").value),
        best=None if best == worst else extreme(f1, best),
        worst=None if best == worst else extreme(f1, worst),
        baseline=(name, percent(baseline)),
        without=percent(_accuracy_without_labels(test)),
    )


def make_labels_scores(facts: ReportFacts) -> ScoresSection:
    """What to know before relying on the scores, and all of them."""
    test = facts.evaluation.test
    tiles, floor = make_tiles(test, _TILES)
    return ScoresSection(_notices(test), tiles, floor)


def _always(test: Scores) -> tuple[str, float]:
    """The label that most test images have, and the micro F1 of giving it, alone, to every image."""
    supports = {name: row.support for name, row in (test.per_class or {}).items()}
    name = max(supports, key=lambda name: supports[name])
    return name, 2 * supports[name] / (sum(supports.values()) + test.num_images)


def _accuracy_without_labels(test: Scores) -> float:
    """The Hamming accuracy of giving no image any label."""
    supports = [row.support for row in (test.per_class or {}).values()]
    return 1 - sum(supports) / (len(supports) * test.num_images)


def _notices(test: Scores) -> list[Notice]:
    """What a reader must know before believing the scores."""
    score, macro_f1 = test.score("micro_f1"), test.score("macro_f1")
    notices = small_test_notices(test)
    name, baseline = _always(test)
    if score.low <= baseline:
        sentence = (
            f"Giving every image the label {name} and no other would have a micro F1 of {percent(baseline)}, which is "
            "not below the interval."
        )
        notices.append(Notice("not-above-baseline", "Not significantly better than the most frequent label.", sentence))
    notices += support_notices(test, what="Labels")
    gap = score.value - macro_f1.value
    if gap >= LARGE_GAP:
        sentence = (
            f"Macro F1, which counts every label alike, is {100 * gap:.0f} points lower "
            f"({figure(macro_f1.value)} against {percent(score.value)})."
        )
        notices.append(Notice("rare-labels", "Scores of rare labels are lower.", sentence))
    return notices
