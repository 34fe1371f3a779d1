"""The scores of answers that took no training, beside the model's own: what evaluation.json says of baselines.

Functions of predictions; knows nothing of features or how the answers came about.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from linnaeus.data.manifest import TEST, VALIDATION
from linnaeus.judging.comparison import compare_predictions
from linnaeus.judging.evaluation import Baseline, Scores
from linnaeus.judging.scores import evaluate_predictions
from linnaeus.judging.thresholds import ThresholdRule, choose_thresholds
from linnaeus.metrics.classification import IntArray
from linnaeus.predictions import Predictions


def evaluate_baselines(
    answers: Mapping[str, Predictions],
    model: Predictions,
    *,
    thresholds: tuple[float, ...] | None,
    rule: ThresholdRule,
    groups: IntArray | None,
    num_neighbours: int | None = None,
    confidence: float,
    bootstrap_samples: int,
    seed: int,
) -> dict[str, Baseline]:
    """Score baselines on validation and test, and compare the model with each of them on the test images.

    Args:
        answers: of each baseline, on the validation and test images in the order of `model`.
        model: the model's own predictions of the same images.
        thresholds: the model's, for several labels per image; a baseline has its own, chosen on validation images.
        rule: by which they are chosen.
        groups: int64 [N], images that belong together, in the order of `model`; None where each is its own.
        num_neighbours: of "nearest_neighbours", where it is among them.
        confidence, bootstrap_samples, seed: as of `evaluate_predictions`.

    Returns an entry for each name; of scores without those of single classes.
    """
    found = {}
    rows = {split: np.flatnonzero(model.splits == split) for split in (TEST, VALIDATION)}
    of_split = {split: None if groups is None else groups[at] for split, at in rows.items()}
    for name, predictions in answers.items():
        own = None
        if predictions.task == "multi":
            validation = predictions.of_split(VALIDATION)
            labels = validation.targets.astype(np.uint8)
            own = tuple(choose_thresholds(labels, validation.probabilities, rule=rule).values)
        test, validation_scores = (
            evaluate_predictions(
                predictions.of_split(split),
                thresholds=own,
                groups=of_split[split],
                confidence=confidence,
                bootstrap_samples=bootstrap_samples,
                seed=seed,
            )
            for split in (TEST, VALIDATION)
        )
        comparison = compare_predictions(
            predictions.of_split(TEST),
            model.of_split(TEST),
            groups=of_split[TEST],
            confidence=confidence,
            num_samples=bootstrap_samples,
            seed=seed,
            thresholds=(np.asarray(own or 0.5), np.asarray(thresholds or 0.5)),
        )
        found[name] = Baseline(
            test=_of_all_classes(test),
            validation=_of_all_classes(validation_scores),
            num_neighbours=num_neighbours if name == "nearest_neighbours" else None,
            model_minus_baseline=comparison.paired_difference,
        )
    return found


def _of_all_classes(scores: Scores) -> Scores:
    """Without the long tables."""
    return scores.model_copy(update={"per_class": None, "confusion": None, "wrong_labels": None})
