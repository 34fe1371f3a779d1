"""Baselines in evaluation.json: their own scores, and the model's lead on the same images."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score

from linnaeus.judging.baselines import evaluate_baselines
from linnaeus.predictions import Predictions

SETTINGS: dict[str, Any] = {
    "confidence": 0.95,
    "bootstrap_samples": 200,
    "seed": 0,
    "rule": "per_label",
    "groups": None,
}


def answers(targets, logits):
    num = len(targets)
    ids = pa.array([f"{i}.png" for i in range(num)], pa.large_string())
    splits = np.repeat([1, 2], num // 2).astype(np.int8)
    return Predictions(ids, np.asarray(logits, np.float32), targets, ("a", "b", "c"), splits, "0" * 16)


def test_a_baseline_has_its_own_scores_and_the_models_lead_over_it():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 400)
    poor, good = (np.where(rng.random(400) < fraction, targets, rng.integers(0, 3, 400)) for fraction in (0.5, 0.95))
    found = evaluate_baselines(
        {"nearest_centroid": answers(targets, np.eye(3)[poor])},
        answers(targets, np.eye(3)[good]),
        thresholds=None,
        **SETTINGS,
    )
    entry = found["nearest_centroid"]
    expected = [accuracy_score(targets[200:], answer[200:]) for answer in (poor, good)]
    assert entry.test.score("accuracy").value == pytest.approx(expected[0])
    assert entry.model_minus_baseline.value == pytest.approx(expected[1] - expected[0])
    assert entry.model_minus_baseline.significant
    assert entry.validation.num_images == 200 and entry.test.confusion is None and entry.num_neighbours is None
    groups = np.arange(400) // 8
    predictions = answers(targets, np.eye(3)[poor]), answers(targets, np.eye(3)[good])
    (grouped,) = evaluate_baselines(
        {"nearest_neighbours": predictions[0]},
        predictions[1],
        thresholds=None,
        num_neighbours=5,
        **{**SETTINGS, "groups": groups},
    ).values()
    assert (grouped.test.num_groups, grouped.validation.num_groups, grouped.num_neighbours) == (25, 25, 5)
    assert grouped.model_minus_baseline.value == entry.model_minus_baseline.value
    assert grouped.model_minus_baseline.p_value == pytest.approx(1e-4), "of a permutation test"


def test_with_several_labels_a_baseline_has_thresholds_of_its_own():
    rng = np.random.default_rng(1)
    targets = (rng.random((400, 3)) < 0.4).astype(np.uint8)
    clear = 4.0 * targets - 2.0
    low = clear - 4.0  # every probability is below a half, yet a threshold of its own makes all of them right
    found = evaluate_baselines(
        {"nearest_neighbours": answers(targets, low)}, answers(targets, clear), thresholds=(0.5,) * 3, **SETTINGS
    )
    entry = found["nearest_neighbours"]
    assert entry.test.score("micro_f1").value == 1.0
    assert entry.model_minus_baseline.value == 0.0
    assert not entry.model_minus_baseline.significant
