"""Resampled test sets: what they keep, and how often the intervals they give hold the truth."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import softmax

from linnaeus.judging.scores import evaluate_predictions
from linnaeus.metrics.probabilities import LARGEST_LOG_LOSS, brier_scores, log_losses, reliability
from linnaeus.predictions import Predictions
from linnaeus.statistics.resample import affordable_samples, resampled_weights

SETTINGS: dict[str, Any] = {"confidence": 0.95, "bootstrap_samples": 200}


def test_strata_keep_their_sizes_and_groups_go_together():
    strata, groups = np.array([0, 1, 1, 0, 1]), np.array([7, 7, 2, 2, 9])
    weights = np.concatenate(list(resampled_weights(5, strata=strata, groups=None, num_samples=50, seed=0)))
    assert (weights[:, strata == 0].sum(axis=1) == 2).all() and (weights[:, strata == 1].sum(axis=1) == 3).all()
    weights = np.concatenate(list(resampled_weights(5, strata=strata, groups=groups, num_samples=50, seed=0)))
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 2] == weights[:, 3]).all()
    assert (weights[:, [0, 2, 4]].sum(axis=1) == 3).all()
    assert len(np.unique(weights, axis=0)) > 5


def test_so_many_images_get_fewer_resamples_but_never_fewer_than_100():
    assert affordable_samples(10_000, wanted=1000) == 1000
    assert affordable_samples(1_000_000, wanted=1000) == 200
    assert affordable_samples(10**9, wanted=1000) == 100


def draw(num: int, *, temperature: float, rng: np.random.Generator, group_size: int = 1) -> Predictions:
    """Predictions of a model that is too sure of itself; images of one group share their logits and class."""
    honest = 1.5 * rng.normal(size=(num // group_size, 4))
    chances = softmax(honest, axis=1)
    targets = (chances.cumsum(axis=1) < rng.random((len(chances), 1))).sum(axis=1).clip(0, 3)
    logits = np.repeat(temperature * honest, group_size, axis=0).astype(np.float32)
    return Predictions(
        ids=pa.array([f"{i}.png" for i in range(num)], pa.large_string()),
        logits=logits,
        targets=np.repeat(targets, group_size).astype(np.int64),
        classes=tuple("abcd"),
        splits=np.full(num, 2, np.int8),
        manifest_fingerprint="0" * 16,
    )


@pytest.mark.parametrize("temperature", [1.0, 1.6])
def test_intervals_of_probability_scores_hold_the_truth_about_95_times_in_100(temperature):
    rng = np.random.default_rng(7)
    endless = draw(1_000_000, temperature=temperature, rng=rng)
    p, right = endless.probabilities, endless.predicted == endless.targets
    truth = {
        "log_loss": log_losses(p, endless.targets).mean(),
        "brier": brier_scores(p, endless.targets).mean(),
        "ece": float(reliability(p.max(axis=1), right).error),
    }
    covered = dict.fromkeys(truth, 0)
    for trial in range(300):
        found = evaluate_predictions(draw(300, temperature=temperature, rng=rng), seed=trial, **SETTINGS)
        for name, value in truth.items():
            covered[name] += getattr(found, name).low <= value <= getattr(found, name).high
    for name, count in covered.items():
        assert 0.91 <= count / 300 <= 0.995, (name, count)


def test_intervals_of_grouped_images_hold_the_truth_and_those_that_ignore_the_groups_do_not():
    rng = np.random.default_rng(1)
    endless = draw(400_000, temperature=1.0, rng=rng)
    truth = {
        "accuracy": (endless.predicted == endless.targets).mean(),
        "log_loss": log_losses(endless.probabilities, endless.targets).mean(),
        "balanced_accuracy": np.mean([(endless.predicted[endless.targets == k] == k).mean() for k in range(4)]),
    }
    grouped, ungrouped = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    groups = np.repeat(np.arange(80), 8)
    for trial in range(150):
        predictions = draw(640, temperature=1.0, rng=rng, group_size=8)
        for count, of in ((grouped, groups), (ungrouped, None)):
            found = evaluate_predictions(predictions, seed=trial, groups=of, **SETTINGS)
            for name, value in truth.items():
                count[name] += getattr(found, name).low <= value <= getattr(found, name).high
    for name in truth:
        assert 0.90 <= grouped[name] / 150 <= 0.99, (name, grouped)
        assert ungrouped[name] / 150 < 0.7, (name, ungrouped)


def test_of_calibrated_images_in_groups_no_more_error_than_chance_is_told():
    """Right and wrong come in groups of 8, so that chance shows more of an error than among independent images."""
    rng = np.random.default_rng(3)
    groups, at_zero = np.repeat(np.arange(80), 8), dict.fromkeys(("groups", "images"), 0)
    for trial in range(100):
        predictions = draw(640, temperature=1.0, rng=rng, group_size=8)
        for name, of in (("groups", groups), ("images", None)):
            at_zero[name] += evaluate_predictions(predictions, seed=trial, groups=of, **SETTINGS).ece.low == 0
    assert at_zero["groups"] > 90 and at_zero["images"] < 30, at_zero


def test_an_error_that_groups_do_not_explain_is_told():
    predictions = draw(1600, temperature=3.0, rng=np.random.default_rng(4), group_size=8)
    score = evaluate_predictions(predictions, seed=0, groups=np.repeat(np.arange(200), 8), **SETTINGS).ece
    assert 0.02 < score.low < score.value < score.high


def test_a_single_group_tells_nothing_of_any_score():
    predictions = draw(60, temperature=1.0, rng=np.random.default_rng(5))
    found = evaluate_predictions(predictions, seed=0, groups=np.zeros(60, np.int64), **SETTINGS)
    for name, score in found.named():
        most = {"log_loss": LARGEST_LOG_LOSS, "brier": 2.0}.get(name, 1.0)
        assert score.low == 0.0 and score.high == pytest.approx(most), name


@pytest.mark.parametrize("multi", [False, True])
def test_grouped_and_ungrouped_scores_have_the_same_values(multi):
    predictions = draw(200, temperature=1.0, rng=np.random.default_rng(2))
    thresholds = None
    if multi:
        from dataclasses import replace

        predictions = replace(predictions, targets=np.eye(4, dtype=np.uint8)[predictions.targets])
        thresholds = (0.4,) * 4
    one, other = (
        evaluate_predictions(predictions, seed=0, thresholds=thresholds, groups=groups, **SETTINGS)
        for groups in (None, np.arange(200) // 4)
    )
    for name, score in one.named():
        assert score.value == getattr(other, name).value, name
    assert one.log_loss.low != other.log_loss.low
