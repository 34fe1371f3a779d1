"""Scores of several labels: equal to scikit-learn's, with the zero_division that the module names."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, hamming_loss, precision_score, recall_score

from linnaeus.metrics.classification import ClassCounts, macro_f1, macro_precision, macro_recall
from linnaeus.metrics.multilabel import (
    average_precisions,
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

SEEDS = st.integers(0, 10_000)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, given labels and scores, of any size; labels that no image has and ties among scores do occur."""
    rng = np.random.default_rng(seed)
    num, labels = int(rng.integers(1, 40)), int(rng.integers(2, 7))
    targets = (rng.random((num, labels)) < rng.choice([0.0, 0.1, 0.5, 0.9], labels)).astype(np.uint8)
    scores = rng.normal(size=(num, labels)).round(int(rng.integers(0, 3))).astype(np.float32)
    return targets, (scores > rng.choice([-1, 0, 1, 9])).astype(np.uint8), scores


@given(seed=SEEDS)
def test_micro_weighted_and_per_image_scores_are_scikit_learns(seed: int) -> None:
    targets, given_labels, _ = draw(seed)
    counts = label_counts(targets, given_labels)
    pairs = {micro_precision: precision_score, micro_recall: recall_score, micro_f1: f1_score}
    for ours, theirs in pairs.items():
        expected = theirs(targets, given_labels, average="micro", zero_division=0)
        assert float(ours(counts)) == pytest.approx(expected, abs=1e-12)
    expected = f1_score(targets, given_labels, average="weighted", zero_division=0)
    assert float(weighted_f1(counts)) == pytest.approx(expected, abs=1e-12)
    expected = f1_score(targets, given_labels, average="samples", zero_division=1)
    assert image_f1(targets, given_labels).mean() == pytest.approx(expected, abs=1e-12)


@given(seed=SEEDS)
def test_macro_scores_are_scikit_learns_over_the_labels_that_can_have_one(seed: int) -> None:
    targets, given_labels, scores = draw(seed)
    counts = label_counts(targets, given_labels)
    had, said = targets.any(axis=0), given_labels.any(axis=0)
    for ours, theirs, kept in (
        (macro_f1, f1_score, had | said),
        (macro_precision, precision_score, had | said),
        (macro_recall, recall_score, had),
    ):
        if kept.any():
            each = theirs(targets, given_labels, average=None, zero_division=0)
            assert float(ours(counts)) == pytest.approx(np.atleast_1d(each)[kept].mean(), abs=1e-12)
    expected = [average_precision_score(targets[:, k], scores[:, k]) for k in np.flatnonzero(had)]
    found = mean_average_precision(targets, scores)
    assert found == pytest.approx(np.mean(expected) if expected else 0.0, abs=1e-12)


@given(seed=SEEDS)
@settings(max_examples=30)
def test_scores_of_each_label_are_scikit_learns(seed: int) -> None:
    targets, given_labels, scores = draw(seed)
    found = per_label_scores(label_counts(targets, given_labels), num_images=len(targets))
    precisions = average_precisions(targets, scores)
    for k in range(targets.shape[1]):
        t, g = targets[:, k], given_labels[:, k]
        assert found["precision"][k] == pytest.approx(precision_score(t, g, zero_division=0), abs=1e-12)
        assert found["recall"][k] == pytest.approx(recall_score(t, g, zero_division=0), abs=1e-12)
        assert found["f1"][k] == pytest.approx(f1_score(t, g, zero_division=0), abs=1e-12)
        assert found["specificity"][k] == pytest.approx(recall_score(1 - t, 1 - g, zero_division=0), abs=1e-12)
        if t.any():
            assert precisions[k] == pytest.approx(average_precision_score(t, scores[:, k]), abs=1e-12)
        else:
            assert precisions[k] == 0
        assert (found["support"][k], found["false_negatives"][k], found["false_positives"][k]) == (
            t.sum(), ((t == 1) & (g == 0)).sum(), ((t == 0) & (g == 1)).sum()
        )  # fmt: skip
    assert (
        wrong_per_image(targets, given_labels).sum() == found["false_negatives"].sum() + found["false_positives"].sum()
    )
    expected = hamming_loss(targets, given_labels) * targets.size
    assert wrong_per_image(targets, given_labels).sum() == pytest.approx(expected)


def test_average_precision_by_hand() -> None:
    """Right, wrong, right in falling order: (1/1 + 2/3) / 2; with the first two tied (1/2 + 2/3) / 2."""
    targets = np.array([[1], [0], [1]], np.uint8)
    assert average_precisions(targets, np.array([[3.0], [2.0], [1.0]])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precisions(targets, np.array([[3.0], [3.0], [1.0]])) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_an_image_without_labels_that_is_given_none_is_right() -> None:
    targets = np.array([[0, 0], [0, 0], [1, 0]], np.uint8)
    given_labels = np.array([[0, 0], [1, 0], [0, 0]], np.uint8)
    assert image_f1(targets, given_labels).tolist() == [1.0, 0.0, 0.0]
    assert wrong_per_image(targets, given_labels).tolist() == [0, 1, 1]


def test_where_there_is_nothing_scores_are_zero_and_silent() -> None:
    nothing = np.zeros((3, 2), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts = label_counts(nothing, nothing)
        values = [float(score(counts)) for score in (micro_f1, micro_precision, micro_recall, weighted_f1, macro_f1)]
        assert values == [0.0] * 5
        assert mean_average_precision(nothing, np.zeros((3, 2))) == 0.0
        assert average_precisions(np.zeros((0, 2), np.uint8), np.zeros((0, 2))).tolist() == [0.0, 0.0]


def test_many_test_sets_are_scored_at_once() -> None:
    sets = [label_counts(*draw(seed)[:2]) for seed in range(400) if draw(seed)[0].shape[1] == 3]
    assert len(sets) > 20
    stacked = ClassCounts(
        *(np.stack([getattr(c, name) for c in sets]) for name in ("true_positives", "support", "predicted"))
    )
    for score in (micro_f1, micro_precision, micro_recall, weighted_f1):
        assert score(stacked).tolist() == [float(score(c)) for c in sets]


def test_the_ranking_falls_and_knows_the_last_of_equal_scores() -> None:
    order, last_equal = ranking(np.array([1.0, 3.0, 1.0, 2.0]))
    assert order.tolist() == [1, 3, 0, 2]
    assert last_equal.tolist() == [0, 1, 3, 3]


def test_tables_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="equally large"):
        label_counts(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))
