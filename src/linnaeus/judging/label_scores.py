"""From predictions with several labels per image to the scores of evaluation.json, each with its interval.

The test set is resampled image by image: labels of one image go together, so pairs of image and label are not
independent. Probabilities are read block by block and label by label, so that memory is that of the resamples (a byte
for each and each image) and of a few numbers per image. Knows nothing of how predictions or thresholds came about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linnaeus.judging.curves import class_areas
from linnaeus.judging.evaluation import ClassScores, Score, Scores
from linnaeus.judging.score_table import ScoreTable
from linnaeus.metrics.classification import (
    ClassCounts,
    FloatArray,
    IntArray,
    divide,
    macro_f1,
    macro_precision,
    macro_recall,
)
from linnaeus.metrics.multilabel import (
    image_f1,
    micro_f1,
    micro_precision,
    micro_recall,
    per_label_scores,
    ranking,
    weighted_f1,
    wrong_per_image,
)
from linnaeus.statistics.groups import Grouping, effective_number, grouping
from linnaeus.statistics.intervals import Interval, spread_interval
from linnaeus.statistics.resample import affordable_samples, resampled_weights, score_probabilities

_FROM_COUNTS = {
    "micro_f1": micro_f1,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "micro_precision": micro_precision,
    "micro_recall": micro_recall,
    "macro_precision": macro_precision,
    "macro_recall": macro_recall,
}
_OF_LABELS = ("macro_f1", "macro_precision", "macro_recall", "mean_average_precision")
_MEANS = ("samples_f1", "hamming_accuracy", "subset_accuracy")
_MOST_CELLS, _FEWEST_RESAMPLES = 500_000_000, 100
"""Of [resamples, images, labels]. Beyond, fewer resamples are drawn: so many images have narrow intervals anyway."""
_CELLS_AT_ONCE = 2_000_000  # of [resamples, images]


def evaluate_labels(
    table: ScoreTable,
    *,
    thresholds: npt.NDArray[np.float64],
    confidence: float,
    bootstrap_samples: int,
    seed: int,
    groups: IntArray | None = None,
) -> Scores:
    """Score probabilities of one split, at least one image, where images have several labels.

    Args:
        table: with targets uint8 [N, K].
        thresholds: float64 [K], chosen on other images.
        confidence: level of every interval, such as 0.95.
        bootstrap_samples: resampled test sets behind the intervals; fewer (never below 100) where there are so many
            images that all of them would take minutes.
        seed: of the resampling; the same seed gives the same intervals.
        groups: int64 [N], images that are resampled together; None where every image is its own.

    """
    num_images, num_labels, together = len(table), len(table.classes), grouping(groups, len(table))
    most = max(_FEWEST_RESAMPLES, min(bootstrap_samples, _MOST_CELLS // (num_images * num_labels)))
    num_samples = affordable_samples(num_images, wanted=most)
    weights = _draw(num_images, groups=groups, num_samples=num_samples, seed=seed)
    tally = tally_labels(table, thresholds=thresholds, weights=weights)
    areas = class_areas(table)
    support = tally.counts.support
    ranked = np.array(areas["average_precision"], np.float64)[support > 0]
    values = {
        **{name: float(score(tally.counts)) for name, score in _FROM_COUNTS.items()},
        **{name: float(column.mean()) for name, column in zip(_MEANS, tally.per_image, strict=True)},
        "mean_average_precision": float(ranked.mean()) if len(ranked) else 0.0,
    }
    intervals = _intervals(
        values, resampled_scores(table, tally, weights), support, num_images, together, confidence=confidence
    )
    columns: dict[str, Any] = {
        name: column.tolist() for name, column in per_label_scores(tally.counts, num_images=num_images).items()
    }
    columns |= areas
    columns["threshold"] = thresholds.tolist()
    facts = table.label_facts
    error = float(np.abs(facts.correct - facts.confidence).sum() / facts.counts.sum())
    probabilities = score_probabilities(
        facts.log_losses,
        facts.briers,
        facts.surplus,
        facts.variance,
        error,
        strata=None,
        groups=groups,
        answers_per_image=num_labels,
        confidence=confidence,
        num_samples=bootstrap_samples,
        seed=seed,
    )
    return Scores(
        **{name: Score.of(values[name], intervals[name]) for name in values},
        **{name: Score.of(*each) for name, each in probabilities.items()},
        per_class={
            name: ClassScores(**{column: of_labels[k] for column, of_labels in columns.items()})
            for k, name in enumerate(table.classes)
        },
        wrong_labels=np.bincount(tally.wrong).tolist(),
        num_images=num_images,
        num_groups=None if together is None else len(together.sizes),
    )


@dataclass(frozen=True)
class Tally:
    """What one pass over a table counts, on all its images and on R resamples of them.

    Attributes:
        counts: int64 [K].
        per_image: float64 [3, N]: F1, fraction of right labels, and whether all are right.
        wrong: int64 [N], labels of each image that are false negatives or false positives.
        resampled_counts: int64 [R, K].
        resampled_means: float64 [R, 3], of what `per_image` says.
    """

    counts: ClassCounts
    per_image: FloatArray
    wrong: IntArray
    resampled_counts: ClassCounts
    resampled_means: FloatArray


def tally_labels(table: ScoreTable, *, thresholds: FloatArray, weights: npt.NDArray[np.uint8]) -> Tally:
    """Count what each image has and is given, in `table` and in test sets made of it.

    Args:
        thresholds: float64 [K], probabilities from which a label is given.
        weights: uint8 [R, N], how often each image stands in each resampled test set.
    """
    num_images, num_labels, num_samples = len(table), len(table.classes), len(weights)
    per_image, wrong = np.empty((3, num_images)), np.empty(num_images, np.int64)
    totals, resampled = np.zeros((3, num_labels), np.int64), np.zeros((3, num_samples, num_labels), np.int64)
    sums = np.zeros((num_samples, 3))
    for block, probabilities in table.blocks():
        step = max(1, _CELLS_AT_ONCE // max(num_samples, num_labels))
        for start in range(block.start, block.stop, step):
            rows = slice(start, min(start + step, block.stop))
            targets = table.targets[rows].astype(np.uint8)
            given = (probabilities[start - block.start : rows.stop - block.start] >= thresholds).astype(np.uint8)
            right = targets == given
            per_image[:, rows] = image_f1(targets, given), right.mean(axis=1), right.all(axis=1)
            wrong[rows] = wrong_per_image(targets, given)
            # float32 holds every whole number up to 2^24 exactly, and no label of a block is counted more often.
            drawn = weights[:, rows].astype(np.float32)
            for place, labels in enumerate((targets & given, targets, given)):
                totals[place] += labels.sum(axis=0, dtype=np.int64)
                resampled[place] += (drawn @ labels.astype(np.float32)).astype(np.int64)
            sums += drawn.astype(np.float64) @ per_image[:, rows].T
    sizes = weights.sum(axis=1, dtype=np.int64)[:, None]
    return Tally(ClassCounts(*totals), per_image, wrong, ClassCounts(*resampled), sums / sizes)


def resampled_scores(table: ScoreTable, tally: Tally, weights: npt.NDArray[np.uint8]) -> dict[str, FloatArray]:
    """The eleven scores float64 [R] of the test sets that `weights` (uint8 [R, N]) make of a table."""
    return {
        **{name: score(tally.resampled_counts) for name, score in _FROM_COUNTS.items()},
        **dict(zip(_MEANS, tally.resampled_means.T, strict=True)),
        "mean_average_precision": _resampled_mean_ap(table, tally.counts.support, weights),
    }


def _intervals(
    values: dict[str, float],
    resampled: dict[str, FloatArray],
    support: IntArray,
    num_images: int,
    together: Grouping | None,
    *,
    confidence: float,
) -> dict[str, Interval]:
    """Intervals of the scores `values`: their spread over resamples of images, their shape from Wilson.

    As in `intervals.bootstrap_intervals`, but whole images are drawn, with all their labels. Where all resamples agree
    (not one label is wrong), a score is worth as many images as there are; one averaged over labels as many as
    a mean of fractions over labels of n_k images would be, K^2 / sum(1 / n_k). With groups neither is more than
    these are.
    """
    sizes = support[support > 0]
    num_groups = None if together is None else effective_number(together.sizes)
    worth = float(num_images) if num_groups is None else num_groups
    worth_of_labels = float(len(sizes) ** 2 / (1 / sizes).sum()) if len(sizes) else worth
    if num_groups is not None:
        worth_of_labels = min(worth_of_labels, num_groups)
    return {
        name: spread_interval(
            value,
            resampled[name],
            worth_without_spread=worth_of_labels if name in _OF_LABELS else worth,
            confidence=confidence,
            num_groups=num_groups,
        )
        for name, value in values.items()
    }


def _draw(num_images: int, *, groups: IntArray | None, num_samples: int, seed: int) -> npt.NDArray[np.uint8]:
    """uint8 [R, N]: how often each image stands in each resample. None of 256 or more is drawn 256 times."""
    weights = np.empty((num_samples, num_images), np.uint8)
    start = 0
    for chunk in resampled_weights(num_images, strata=None, groups=groups, num_samples=num_samples, seed=seed):
        weights[start : start + len(chunk)] = chunk
        start += len(chunk)
    return weights


def _resampled_mean_ap(table: ScoreTable, support: IntArray, weights: npt.NDArray[np.uint8]) -> FloatArray:
    """float64 [R]: mean average precision under weights uint8 [R, N], over the labels that each resample has."""
    total, present = np.zeros(len(weights)), np.zeros(len(weights), np.int64)
    step = max(1, _CELLS_AT_ONCE // len(table))
    for k in np.flatnonzero(support).tolist():
        order, last_equal = ranking(table.column(k))
        positive = np.flatnonzero(table.targets[order, k])
        at = last_equal[positive]
        # Images of equal score enter together: the positives up to the last of them.
        up_to = np.searchsorted(positive, at, side="right") - 1
        for start in range(0, len(weights), step):
            part = slice(start, start + step)
            drawn = weights[part][:, order]
            seen = np.cumsum(drawn, axis=1, dtype=np.int32)[:, at]
            own = drawn[:, positive].astype(np.int32)
            found = np.cumsum(own, axis=1, dtype=np.int32)[:, up_to]
            own_support = own.sum(axis=1)
            total[part] += divide((own * divide(found, seen)).sum(axis=1), own_support)
            present[part] += own_support > 0
    return divide(total, present)
