"""Test-time augmentation: called better only where the paired test says so."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from linnaeus.judging.tta import compare_views
from linnaeus.predictions import Predictions

SETTINGS: dict[str, Any] = {"thresholds": None, "groups": None, "confidence": 0.95, "bootstrap_samples": 200, "seed": 0}


def predictions_of(targets, logits):
    return Predictions(
        ids=pa.array([f"{k}.png" for k in range(len(targets))], pa.large_string()),
        logits=np.asarray(logits, np.float32),
        targets=targets,
        classes=("ant", "bee"),
        splits=np.ones(len(targets), np.int8),
        manifest_fingerprint="0" * 16,
    )


def answers(num: int, wrong: range) -> Predictions:
    """Of images of the first class; those in `wrong` are taken for the second."""
    return predictions_of(np.zeros(num, np.int64), np.eye(2)[np.isin(np.arange(num), wrong).astype(int)])


@pytest.mark.parametrize(
    ("wrong_now", "wrong_then", "helps"),
    [
        (range(12), range(4), True),  # 8 images more, none lost
        (range(12), range(8), False),  # 4 more: a fair coin does that once in eight times
        (range(4), range(12), False),  # worse beyond chance
        (range(8), range(8), False),
    ],
)
def test_flip_tta_is_better_only_where_chance_does_not_explain_it(wrong_now, wrong_then, helps):
    found = compare_views(answers(100, wrong_now), answers(100, wrong_then), **SETTINGS)
    assert (found.significant and found.value > 0) is helps
    assert found.score == "accuracy"
    assert found.first == pytest.approx(1 - len(wrong_now) / 100)
    assert found.second == pytest.approx(1 - len(wrong_then) / 100)
    alone = abs(len(wrong_now) - len(wrong_then))
    assert found.p_value == pytest.approx(binomtest(0, alone).pvalue if alone else 1.0)
    assert found.low <= found.second - found.first <= found.high


@pytest.mark.parametrize(("extra", "helps"), [(40, True), (0, False)])
def test_of_several_labels_micro_f1_is_compared_at_the_models_thresholds(extra, helps):
    targets = np.ones((200, 2), np.uint8)
    now = np.where(np.arange(200)[:, None] < 100, 0.0, 2.0) * np.ones(2)  # probability 0.5 or 0.88
    then = np.where(np.arange(200)[:, None] < 100 - extra, 0.0, 2.0) * np.ones(2)
    settings: dict[str, Any] = {**SETTINGS, "thresholds": (0.6, 0.7)}
    found = compare_views(predictions_of(targets, now), predictions_of(targets, then), **settings)
    assert found.score == "micro_f1" and found.significant == (found.p_value < 0.05)
    assert found.first == pytest.approx(2 * 200 / (200 + 400))
    assert (found.significant and found.value > 0) is helps


def test_images_of_one_scene_speak_once():
    now, then = answers(100, range(20)), answers(100, range(0))
    assert compare_views(now, then, **SETTINGS).significant
    grouped = compare_views(now, then, **{**SETTINGS, "groups": np.arange(100) // 10})
    assert grouped.value == pytest.approx(0.2) and grouped.p_value == 0.5 and not grouped.significant
