"""From predictions with several labels per image to the scores of evaluation.json, each with its interval.

The test set is resampled image by image: labels of one image go together, so pairs of image and label are not
independent. Knows nothing of how predictions or thresholds came about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from linnaeus.evaluation.class_curves import class_areas
from linnaeus.evaluation.intervals import Interval, spread_interval
from linnaeus.evaluation.resample import as_score, resampled_weights, score_probabilities
from linnaeus.evaluation.score_table import ScoreTable
from linnaeus.metrics.classification import (
    ClassCounts,
    FloatArray,
    IntArray,
    divide,
    mean_f1,
    mean_precision,
    mean_recall,
)
from linnaeus.metrics.multilabel import (
    Labels,
    image_f1,
    label_counts,
    mean_average_precision,
    micro_f1,
    micro_precision,
    micro_recall,
    per_label_scores,
    ranking,
    weighted_f1,
    wrong_per_image,
)

_FROM_COUNTS = {
    "micro_f1": micro_f1,
    "macro_f1": mean_f1,
    "weighted_f1": weighted_f1,
    "micro_precision": micro_precision,
    "micro_recall": micro_recall,
    "macro_precision": mean_precision,
    "macro_recall": mean_recall,
}
_OF_LABELS = ("macro_f1", "macro_precision", "macro_recall", "mean_average_precision")
_NAMES = (
    "micro_f1",
    "macro_f1",
    "weighted_f1",
    "samples_f1",
    "micro_precision",
    "micro_recall",
    "macro_precision",
    "macro_recall",
    "label_accuracy",
    "exact_match",
    "mean_average_precision",
)

_MOST_CELLS, _FEWEST_RESAMPLES = 500_000_000, 100
"""Of [resamples, images, labels]. Beyond, fewer resamples are drawn: so many images have narrow intervals anyway."""


def evaluate_labels(
    table: ScoreTable,
    *,
    thresholds: npt.NDArray[np.float64],
    confidence: float,
    bootstrap_samples: int,
    seed: int,
    groups: IntArray | None = None,
) -> dict[str, Any]:
    """Score probabilities of one split, at least one image, where images have several labels.

    Args:
        table: with targets uint8 [N, K].
        thresholds: float64 [K], chosen on other images.
        confidence: level of every interval, such as 0.95.
        bootstrap_samples: resampled test sets behind the intervals; fewer (never below 100) where there are so many
            images that all of them would take minutes.
        seed: of the resampling; the same seed gives the same intervals.
        groups: int64 [N], images that are resampled together; None where every image is its own.

    Returns each of the eleven scores, log_loss, brier and calibration_error as {"value", "low", "high"}; per_class by
    name; wrong_labels, how many images have 0, 1, ... wrong labels; num_images.
    """
    targets = table.targets.astype(np.uint8)
    scores = np.empty(targets.shape, np.float32)
    given = np.empty(targets.shape, np.uint8)
    for part, probabilities in table.blocks():
        with np.errstate(divide="ignore"):  # logits tell apart what float32 probabilities near 1 no longer do
            scores[part] = np.log(probabilities) - np.log1p(-probabilities)
        given[part] = probabilities >= thresholds
    areas = class_areas(table)
    values = measure(targets, given, scores)
    present = targets.any(axis=0)
    if present.any():
        values["mean_average_precision"] = float(np.array(areas["average_precision"], np.float64)[present].mean())
    num_samples = max(_FEWEST_RESAMPLES, min(bootstrap_samples, _MOST_CELLS // targets.size))
    intervals = bootstrap(
        targets, given, scores, values, confidence=confidence, num_samples=num_samples, seed=seed, groups=groups
    )
    columns = {name: column.tolist() for name, column in per_label_scores(targets, given, scores).items()}
    columns |= areas
    columns["threshold"] = thresholds.tolist()
    facts = table.label_facts
    error = float(np.abs(facts.right - facts.confidence).sum() / facts.counts.sum())
    return {
        **{name: as_score(values[name], intervals[name]) for name in _NAMES},
        **score_probabilities(
            facts.log_losses,
            facts.briers,
            facts.surplus,
            facts.variance,
            error,
            strata=None,
            groups=groups,
            answers_per_image=targets.shape[1],
            confidence=confidence,
            num_samples=bootstrap_samples,
            seed=seed,
        ),
        "per_class": {
            name: {column: column_values[k] for column, column_values in columns.items()}
            for k, name in enumerate(table.classes)
        },
        "wrong_labels": np.bincount(wrong_per_image(targets, given)).tolist(),
        "num_images": len(targets),
    }


def measure(targets: Labels, given: Labels, logits: npt.NDArray[np.float32]) -> dict[str, float]:
    """The eleven scores, 0-1, of uint8 [N, K] targets and given labels, and of logits [N, K] that rank."""
    counts = label_counts(targets, given)
    return {
        **{name: float(score(counts)) for name, score in _FROM_COUNTS.items()},
        "samples_f1": float(image_f1(targets, given).mean()),
        "label_accuracy": float((targets == given).mean()),
        "exact_match": float((targets == given).all(axis=1).mean()),
        "mean_average_precision": mean_average_precision(targets, logits),
    }


def bootstrap(
    targets: Labels,
    given: Labels,
    logits: npt.NDArray[np.float32],
    values: Mapping[str, float],
    *,
    confidence: float,
    num_samples: int,
    seed: int,
    groups: IntArray | None = None,
) -> dict[str, Interval]:
    """Intervals of the scores `values`: their spread from a bootstrap over images, their shape from Wilson.

    As in `intervals.bootstrap_intervals`, but whole images are drawn, with all their labels. Where all resamples agree
    (not one label is wrong), a score is worth as many images as there are; one averaged over labels as many as
    a mean of shares over labels of n_k images would be, K^2 / sum(1 / n_k).
    """
    scores: dict[str, list[FloatArray]] = {name: [] for name in values}
    for chunk in _resampled_scores(targets, given, logits, num_samples=num_samples, seed=seed, groups=groups):
        for name, column in chunk.items():
            scores[name].append(column)
    support = targets.sum(axis=0, dtype=np.int64)
    sizes = support[support > 0]
    worth_of_labels = float(len(sizes) ** 2 / (1 / sizes).sum()) if len(sizes) else float(len(targets))
    return {
        name: spread_interval(
            value,
            np.concatenate(scores[name]),
            worth_without_spread=worth_of_labels if name in _OF_LABELS else float(len(targets)),
            confidence=confidence,
        )
        for name, value in values.items()
    }


def _resampled_scores(
    targets: Labels,
    given: Labels,
    logits: npt.NDArray[np.float32],
    *,
    num_samples: int,
    seed: int,
    groups: IntArray | None = None,
) -> Iterator[dict[str, FloatArray]]:
    """The scores float64 [r] of resampled test sets, in chunks whose r add up to `num_samples`.

    A resample is a multinomial weight for each image, so that all counts of a chunk are one matrix product.
    """
    num_images = len(targets)
    per_image = np.stack([image_f1(targets, given), (targets == given).mean(axis=1), (targets == given).all(axis=1)])
    tables = [(targets & given).astype(np.float32), targets.astype(np.float32), given.astype(np.float32)]
    rankings = [(k, *ranking(logits[:, k].astype(np.float64))) for k in np.flatnonzero(targets.any(axis=0)).tolist()]
    for weights in resampled_weights(num_images, strata=None, groups=groups, num_samples=num_samples, seed=seed):
        # float32 holds every whole number up to 2^24 exactly, and no label of a resample is counted more often.
        exact = np.float32 if num_images < 2**24 else np.float64
        drawn_images = weights.astype(exact)
        hits, support, claims = ((drawn_images @ table.astype(exact)).astype(np.int64) for table in tables)
        counts = ClassCounts(hits, support, claims)
        samples_f1, label_accuracy, exact_match = per_image @ weights.T / weights.sum(axis=1)
        yield {
            **{name: score(counts) for name, score in _FROM_COUNTS.items()},
            "samples_f1": samples_f1,
            "label_accuracy": label_accuracy,
            "exact_match": exact_match,
            "mean_average_precision": _resampled_mean_ap(targets, weights.astype(np.int32), rankings),
        }


def _resampled_mean_ap(
    targets: Labels, weights: npt.NDArray[np.int32], rankings: list[tuple[int, IntArray, IntArray]]
) -> FloatArray:
    """float64 [r]: mean average precision under weights int32 [r, N], over the labels that each resample has."""
    total, present = np.zeros(len(weights)), np.zeros(len(weights), np.int64)
    for k, order, last_equal in rankings:
        positive = np.flatnonzero(targets[order, k])
        at = last_equal[positive]
        seen = np.cumsum(weights[:, order], axis=1, dtype=np.int32)[:, at]
        own = weights[:, order[positive]]
        # Images of equal score enter together: the positives up to the last of them.
        found = np.cumsum(own, axis=1, dtype=np.int32)[:, np.searchsorted(positive, at, side="right") - 1]
        support = own.sum(axis=1)
        total += divide((own * divide(found, seen)).sum(axis=1), support)
        present += support > 0
    return divide(total, present)
