"""From predictions to the scores of evaluation.json, each with its interval.

Knows nothing of how the predictions came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from linnaeus.errors import DataError
from linnaeus.judging.curves import class_areas
from linnaeus.judging.evaluation import ClassScores, Score, Scores
from linnaeus.judging.label_scores import evaluate_labels
from linnaeus.judging.score_table import Answers, ScoreTable, table_of
from linnaeus.metrics.classification import (
    ClassCounts,
    FloatArray,
    IntArray,
    class_counts,
    confusion_matrix,
    macro_f1,
    macro_precision,
    macro_recall,
    per_class_scores,
)
from linnaeus.metrics.probabilities import NUM_BINS, bin_places, reliability
from linnaeus.predictions import Predictions
from linnaeus.statistics.groups import Grouping, effective_number, group_sums, grouping
from linnaeus.statistics.intervals import (
    Interval,
    bootstrap_intervals,
    proportion_interval,
    spread_interval,
    worth_of_groups,
)
from linnaeus.statistics.resample import affordable_samples, resampled_weights, score_probabilities

_MACRO = {"balanced_accuracy": macro_recall, "macro_precision": macro_precision, "macro_f1": macro_f1}
_TOP = (3, 5)


def evaluate_predictions(
    predictions: Predictions,
    *,
    confidence: float,
    bootstrap_samples: int,
    seed: int,
    thresholds: Sequence[float] | None = None,
    groups: IntArray | None = None,
) -> Scores:
    """Score predictions of one split, with their temperature and at their operating point.

    Args:
        predictions: of one split, at least one image.
        confidence: level of every interval, such as 0.95.
        bootstrap_samples: resampled test sets behind the intervals of scores that have no closed form.
        seed: of the resampling; the same seed gives the same intervals.
        thresholds: K probabilities from which a label is given, where images have several; None for one label.
        groups: int64 [N], images that belong together (and are then resampled together); None if each is its own.

    Raises DataError if there are no predictions.
    """
    return evaluate_table(
        table_of(predictions),
        confidence=confidence,
        bootstrap_samples=bootstrap_samples,
        seed=seed,
        thresholds=thresholds,
        groups=groups,
    )


def evaluate_table(
    table: ScoreTable,
    *,
    confidence: float,
    bootstrap_samples: int,
    seed: int,
    thresholds: Sequence[float] | None = None,
    groups: IntArray | None = None,
) -> Scores:
    """`evaluate_predictions` of a table that need not fit in memory."""
    if len(table) == 0:
        raise DataError("There are no images to evaluate: this split is empty.")
    if table.task == "multi":
        assert thresholds is not None, "several labels are given by thresholds"
        return evaluate_labels(
            table,
            thresholds=np.asarray(thresholds, np.float64),
            confidence=confidence,
            bootstrap_samples=bootstrap_samples,
            seed=seed,
            groups=groups,
        )
    answers = table.answers
    together = grouping(groups, len(table))
    confusion = confusion_matrix(answers.targets, answers.predicted, len(table.classes))
    fractions = {"accuracy": answers.correct} | {
        f"top_{k}_accuracy": answers.ranks <= k for k in _TOP if k < len(table.classes)
    }
    scores = {
        name: Score.of(float(column.mean()), proportion_interval(column, groups, confidence=confidence))
        for name, column in fractions.items()
    }
    settings: dict[str, Any] = {"confidence": confidence, "num_samples": bootstrap_samples, "seed": seed}
    if together is None:
        intervals = bootstrap_intervals(confusion, _MACRO, **settings)
    else:
        intervals = _grouped_intervals(answers, confusion, together, **settings)
    counts = class_counts(confusion)
    scores |= {name: Score.of(float(score(counts)), intervals[name]) for name, score in _MACRO.items()}
    columns: dict[str, list[Any]] = {name: values.tolist() for name, values in per_class_scores(confusion).items()}
    columns |= class_areas(table)
    return Scores(
        **scores,
        **_probability_scores(answers, groups, **settings),
        per_class={
            name: ClassScores(**{column: values[k] for column, values in columns.items()})
            for k, name in enumerate(table.classes)
        },
        confusion=confusion.tolist(),
        num_images=len(table),
        num_groups=None if together is None else len(together.sizes),
    )


def _probability_scores(
    answers: Answers, groups: IntArray | None, *, confidence: float, num_samples: int, seed: int
) -> dict[str, Score]:
    """Log loss, Brier score and calibration error, with intervals from resampled images."""
    edges = np.linspace(0.0, 1.0, NUM_BINS + 1)
    correct = answers.argmax == answers.targets
    surplus = np.zeros((len(correct), NUM_BINS))
    places = bin_places(answers.confidence, edges)
    surplus[np.arange(len(correct)), places] = correct - answers.confidence
    variance = np.asarray(np.bincount(places, answers.confidence * (1 - answers.confidence), NUM_BINS), np.float64)
    found = score_probabilities(
        answers.log_losses,
        answers.briers,
        surplus,
        variance,
        float(reliability(answers.confidence, correct).error),
        strata=answers.targets,
        groups=groups,
        answers_per_image=1,
        confidence=confidence,
        num_samples=num_samples,
        seed=seed,
    )
    return {name: Score.of(*each) for name, each in found.items()}


def _grouped_intervals(
    answers: Answers, confusion: IntArray, together: Grouping, *, confidence: float, num_samples: int, seed: int
) -> dict[str, Interval]:
    """Intervals of macro scores from resampled groups, in Wilson's shape as in `bootstrap_intervals`.

    Where all resamples agree (nothing is wrong), a score is worth one image for each group; never more than accuracy.
    """
    num_images, num_classes = len(answers.targets), len(confusion)
    rows = np.arange(num_images)
    tables = [
        sparse.csc_array((column, (rows, classes)), shape=(num_images, num_classes))
        for column, classes in (
            (answers.correct.astype(np.float64), answers.targets),
            (np.ones(num_images), answers.targets),
            (np.ones(num_images), answers.predicted),
        )
    ]
    resampled: dict[str, list[FloatArray]] = {name: [] for name in _MACRO}
    num_samples = affordable_samples(num_images, wanted=num_samples)
    for weights in resampled_weights(
        num_images, strata=None, groups=together.places, num_samples=num_samples, seed=seed
    ):
        counts = ClassCounts(*(weights @ table for table in tables))
        for name, score in _MACRO.items():
            resampled[name].append(score(counts))
    num_groups, counts = effective_number(together.sizes), class_counts(confusion)
    of_accuracy = np.inf
    if num_groups > 1:
        correct = group_sums(answers.correct[:, None].astype(np.float64), together.places, len(together.sizes))[:, 0]
        of_accuracy = worth_of_groups(correct, together.sizes)
    return {
        name: spread_interval(
            float(score(counts)),
            np.concatenate(resampled[name]),
            worth_without_spread=num_groups,
            num_groups=num_groups,
            most_worth=of_accuracy,
            confidence=confidence,
        )
        for name, score in _MACRO.items()
    }
