"""What a model knows of its limits: prediction sets, unfamiliar images, abstention, and slices where it fares worse.

`learn_trust` sees what neither training nor the test has; `describe_trust` says what became of it on test images. Knows
nothing of networks or files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linnaeus.config.settings import EvaluateConfig
from linnaeus.judging.conformal import describe_sets, learn_sets
from linnaeus.judging.ood import describe_ood, learn_familiarity
from linnaeus.judging.score_table import ScoreTable
from linnaeus.judging.selective import accuracy_coverage_curve
from linnaeus.judging.slices import find_slices
from linnaeus.metrics.classification import FloatArray, IntArray
from linnaeus.metrics.conformal import LabelSetRule, SetRule
from linnaeus.metrics.multilabel import image_f1
from linnaeus.metrics.ood import Familiarity, feature_distances
from linnaeus.predictions import Predictions

Features = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Trust:
    """What the bundle carries of it: the rule of prediction sets, and what is familiar."""

    sets: SetRule | LabelSetRule | None
    familiarity: Familiarity | None


def learn_trust(
    unseen: Predictions, *, bank: Features, validation: Features, config: EvaluateConfig, seed: int
) -> Trust:
    """Calibrate prediction sets and set the threshold of familiarity.

    Args:
        unseen: predictions of validation images, or out of fold, with their settled temperature.
        bank: [M, D], features of training images.
        validation: [N, D], features of validation images.
    """
    sets = learn_sets(unseen, coverage=config.coverage, seed=seed)
    enough = len(bank) > 1 and len(validation) > 1
    return Trust(sets, learn_familiarity(bank, validation, share=config.familiar_share) if enough else None)


def describe_trust(
    trust: Trust,
    test: ScoreTable,
    *,
    features: Features,
    columns: Mapping[str, npt.NDArray[Any]],
    thresholds: tuple[float, ...] | None,
    groups: IntArray | None,
    confidence: float,
) -> dict[str, Any]:
    """`prediction_sets`, `ood`, `selective_prediction` and `slices` of evaluation.json.

    Args:
        features: [N, D] of the test images.
        columns: what is known about the test images, N values each.
        thresholds: of several labels.
        groups: int64 [N], images that belong together; None where each is its own.
    """
    of_answers, correct, scores = judge_images(test, thresholds=thresholds)
    told: dict[str, Any] = {}
    if trust.sets is not None:
        told["prediction_sets"] = describe_sets(test, trust.sets, groups=groups, confidence=confidence)
    if trust.familiarity is not None:
        known = trust.familiarity
        distances = feature_distances(features, bank=known.bank, centre=known.centre)
        told["ood"] = describe_ood(known, distances, correct=correct, groups=groups, confidence=confidence)
    told["selective_prediction"] = accuracy_coverage_curve(of_answers, correct, groups=groups, confidence=confidence)
    told["slices"] = find_slices(scores, columns, groups=groups, confidence=confidence)
    return {name: section.model_dump(mode="json") for name, section in told.items()}


def judge_images(
    table: ScoreTable, *, thresholds: tuple[float, ...] | None
) -> tuple[FloatArray, npt.NDArray[np.bool_], FloatArray]:
    """How sure each answer is (float64 [N], 0-1), whether it is right (bool [N]), and its score (float64 [N], 0-1).

    For one label per image: the probability of the answer, and 1 where it is right. For several: the probability that
    all labels are as given if they were independent, whether they all are, and F1 of the image's labels.
    """
    if thresholds is None:
        answers = table.answers
        return answers.of_predicted, answers.correct, answers.correct.astype(np.float64)
    sureness, scores = np.empty(len(table)), np.empty(len(table))
    right = np.empty(len(table), np.bool_)
    for part, probabilities in table.blocks():
        targets = table.targets[part]
        given = (probabilities >= np.array(thresholds)).astype(np.uint8)
        sureness[part] = np.where(given > 0, probabilities, 1 - probabilities).prod(axis=1)
        right[part] = (given == targets).all(axis=1)
        scores[part] = image_f1(targets.astype(np.uint8), given)
    return sureness, right, scores
