"""Thresholds: no other cut would have a larger F1, tried one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from linnaeus.judging.thresholds import FEWEST_IMAGES, WITHOUT_LABELS, best_f1_threshold, choose_thresholds


def draw(seed: int, *, num: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Targets uint8 [N] and probabilities that go with them, with ties."""
    rng = np.random.default_rng(seed)
    targets = (rng.random(num) < rng.choice([0.05, 0.3, 0.8])).astype(np.uint8)
    return targets, (0.3 * targets + 0.7 * rng.random(num)).round(int(rng.integers(1, 4)))


def f1(targets: np.ndarray, given_label: np.ndarray) -> float:
    """2 TP / (images with the label + images given it)."""
    return 2 * int((targets * given_label).sum()) / max(1, int(targets.sum() + given_label.sum()))


@given(seed=st.integers(0, 10_000))
def test_no_other_threshold_has_a_larger_f1(seed: int) -> None:
    targets, probabilities = draw(seed)
    chosen = best_f1_threshold(targets, probabilities)
    found = f1(targets, probabilities >= chosen)
    tried = [f1(targets, probabilities >= cut) for cut in np.unique(probabilities)]
    if targets.any():
        assert found == pytest.approx(max(tried), abs=1e-12)
    else:
        assert chosen == WITHOUT_LABELS
    assert 0 <= chosen <= 1


def test_the_threshold_lies_half_way_between_neighbours() -> None:
    targets = np.array([1, 1, 0, 0], np.uint8)
    assert best_f1_threshold(targets, np.array([0.9, 0.7, 0.3, 0.1])) == pytest.approx(0.5)
    assert best_f1_threshold(np.ones(3, np.uint8), np.array([0.9, 0.8, 0.4])) == pytest.approx(0.2)


def test_of_equally_good_thresholds_that_nearest_to_a_half_is_taken() -> None:
    """Cutting after the first (1 of 1 given, 2 wanted) is as good as after the fourth (2 of 4): F1 = 2/3 both."""
    targets = np.array([1, 0, 0, 1], np.uint8)
    probabilities = np.array([0.95, 0.85, 0.8, 0.6])
    assert f1_score(targets, probabilities >= 0.9) == pytest.approx(f1_score(targets, probabilities >= 0.3))
    assert best_f1_threshold(targets, probabilities) == pytest.approx(0.3)


def test_neighbours_without_a_number_between_them_are_told_apart() -> None:
    high = np.nextafter(0.3, 1)
    chosen = best_f1_threshold(np.array([1, 0], np.uint8), np.array([high, 0.3]))
    assert 0.3 < chosen <= high


def test_labels_with_few_images_share_the_threshold_of_all() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 3)) < [0.5, 0.3, 0.1]).astype(np.uint8)
    targets[:, 2] = 0
    targets[: FEWEST_IMAGES - 1, 2] = 1
    probabilities = (0.4 * targets + 0.6 * rng.random((200, 3))) * [1.0, 0.4, 0.1]
    chosen = choose_thresholds(targets, probabilities, rule="per_label")
    assert chosen.own.tolist() == [True, True, False]
    assert chosen.values[2] == chosen.common
    tried = [f1(targets, probabilities >= cut) for cut in np.unique(probabilities)]
    assert f1_score(targets, probabilities >= chosen.common, average="micro") == pytest.approx(max(tried), abs=1e-12)
    own = best_f1_threshold(targets[:, 0], probabilities[:, 0])
    assert chosen.values[0] == own != chosen.common


def test_no_labels_at_all_give_a_half() -> None:
    chosen = choose_thresholds(np.zeros((4, 2), np.uint8), np.full((4, 2), 0.1), rule="balanced")
    assert chosen.values.tolist() == [0.5, 0.5]


def test_the_balanced_rule_is_the_best_for_all_that_keeps_four_fifths_of_the_labels_own() -> None:
    rng = np.random.default_rng(1)
    targets = (rng.random((300, 3)) < [0.5, 0.1, 0.2]).astype(np.uint8)
    probabilities = (np.array([0.3, 0.3, 0.05]) * targets + 0.7 * rng.random((300, 3))) * [1.0, 0.3, 0.4]
    own, balanced, common = (
        choose_thresholds(targets, probabilities, rule=rule) for rule in ("per_label", "balanced", "global")
    )
    assert own.common == balanced.common == common.common
    assert common.values.tolist() == [common.common] * 3 and not common.own.any()
    micro = f1_score(targets, probabilities >= common.common, average="micro")
    for k in range(3):
        best = f1(targets[:, k], probabilities[:, k] >= own.values[k])
        given_label = probabilities[:, k] >= balanced.values[k]
        assert f1(targets[:, k], given_label) >= 0.8 * best - 1e-12
        gain = (targets[:, k] * given_label).sum() - given_label.sum() * micro / 2
        for cut in np.unique(probabilities[:, k]):
            other = probabilities[:, k] >= cut
            if f1(targets[:, k], other) >= 0.8 * best + 1e-12:
                assert gain >= (targets[:, k] * other).sum() - other.sum() * micro / 2 - 1e-9
    scores = [f1_score(targets, probabilities >= one.values, average="micro") for one in (own, balanced)]
    assert scores[1] > scores[0]


def test_a_label_that_is_told_without_a_mistake_keeps_its_threshold() -> None:
    rng = np.random.default_rng(2)
    targets = (rng.random((200, 2)) < 0.3).astype(np.uint8)
    probabilities = np.stack([np.where(targets[:, 0], 0.95, 0.55), 0.2 * rng.random(200)], axis=1)
    assert choose_thresholds(targets, probabilities, rule="balanced").values[0] == pytest.approx(0.75)
