"""Greedy selection: by hand, and its promise that validation never gets worse."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import logit
from sklearn.metrics import log_loss

from linnaeus.judging.selection import quality, select_greedily
from linnaeus.predictions import Predictions, mean_predictions


def answers(targets, fraction, *, seed, num_classes=4):
    rng = np.random.default_rng(seed)
    right = rng.random(len(targets)) < fraction
    claimed = np.where(right, targets, rng.integers(0, num_classes, len(targets)))
    raw = rng.random((len(targets), num_classes)) + 2 * np.eye(num_classes)[claimed]
    return raw / raw.sum(axis=1, keepdims=True)


def test_quality_is_accuracy_then_log_loss():
    targets = np.array([0, 1, 2, 3] * 20)
    probabilities = answers(targets, 0.7, seed=0)
    accuracy, likelihood = quality(probabilities, targets)
    assert accuracy == (probabilities.argmax(axis=1) == targets).mean()
    assert -likelihood == pytest.approx(log_loss(targets, probabilities))


def test_models_that_err_differently_are_taken_together_and_a_useless_one_is_left_out():
    targets = np.random.default_rng(0).integers(0, 4, 400)
    models = [answers(targets, fraction, seed=k) for k, fraction in enumerate((0.7, 0.7, 0.7))] + [
        np.full((400, 4), 0.25)
    ]
    counts = select_greedily(models, targets)
    assert all(counts[:3])
    weights = [count / sum(counts) for count in counts]
    mean = np.sum([w * p for w, p in zip(weights, models, strict=True)], axis=0)
    assert quality(mean, targets) > max(quality(p, targets) for p in models)


def test_one_model_alone_is_taken_if_no_other_helps():
    targets = np.array([0, 1, 2, 3] * 25)
    perfect = np.eye(4)[targets] * 0.999 + 0.00025
    assert select_greedily([answers(targets, 0.4, seed=1), perfect], targets) == [0, 1]


def test_several_labels_are_judged_by_mean_average_precision():
    targets = (np.random.default_rng(0).random((200, 3)) < 0.4).astype(np.uint8)
    good = np.where(targets > 0, 0.8, 0.2)
    assert select_greedily([1 - good, good], targets)[0] == 0


@pytest.mark.parametrize("multi", [False, True])
def test_logits_give_back_the_weighted_mean(multi):
    rng = np.random.default_rng(0)
    parts = [rng.dirichlet(np.ones(3), 10) for _ in range(2)]
    targets = np.zeros((10, 3), np.uint8) if multi else np.zeros(10, np.int64)
    members = [
        Predictions(
            ids=pa.array([f"{k}.png" for k in range(10)], pa.large_string()),
            logits=(temperature * (logit(part) if multi else np.log(part))).astype(np.float32),
            targets=targets,
            classes=("a", "b", "c"),
            splits=np.full(10, 2, np.int8),
            manifest_fingerprint="0" * 16,
            temperature=temperature,
        )
        for part, temperature in zip(parts, (2.0, 0.5), strict=True)
    ]
    mean = mean_predictions(members, [3, 1])
    assert mean.temperature == 1.0
    np.testing.assert_allclose(mean.probabilities, 0.75 * parts[0] + 0.25 * parts[1], atol=1e-6)
