"""Scores of probabilities against scikit-learn, for one label per image and for several."""

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from linnaeus.metrics import probabilities as ours
from linnaeus.metrics.curves import (
    precision_recall_points,
    ranked_counts,
    ranking_areas,
    roc_points,
)


@st.composite
def answers(draw):
    """Probabilities float64 [N, K] of rows that sum to 1, and classes, of which some may be absent."""
    num_classes, length = draw(st.integers(2, 8)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = rng.normal(size=(length, num_classes)) * draw(st.sampled_from([0.3, 3.0, 30.0]))
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True), rng.integers(0, num_classes, length)


@st.composite
def labels(draw):
    """Probabilities float64 [N, K] of several labels, some equal to each other, and uint8 [N, K]."""
    num_classes, length = draw(st.integers(1, 6)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    digits = draw(st.sampled_from([1, 2, 15]))
    targets = rng.random((length, num_classes)) < draw(st.floats(0.0, 1.0))
    return rng.random((length, num_classes)).round(digits), targets.astype(np.uint8)


@settings(max_examples=150, deadline=None)
@given(answers())
def test_scores_of_one_label_equal_scikit_learn(case):
    probabilities, targets = case
    classes = np.arange(probabilities.shape[1])
    loss = reference.log_loss(targets, probabilities, labels=classes)
    assert ours.log_losses(probabilities, targets).mean() == pytest.approx(loss, abs=1e-12)
    brier = reference.brier_score_loss(targets, probabilities, labels=classes, scale_by_half=False)
    assert ours.brier_scores(probabilities, targets).mean() == pytest.approx(brier, abs=1e-12)
    ranks = ours.true_ranks(probabilities, targets)
    assert ((ranks == 1) == (probabilities.argmax(axis=1) == targets)).all()
    for k in range(1, len(classes)):
        if len(classes) > 2 and len(np.unique(probabilities)) == probabilities.size:
            expected = reference.top_k_accuracy_score(targets, probabilities, k=k, labels=classes)
            assert (ranks <= k).mean() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(labels())
def test_scores_of_several_labels_equal_scikit_learn(case):
    probabilities, targets = case
    each = [
        (
            reference.log_loss(t, p, labels=[0, 1]),
            reference.brier_score_loss(t, p, pos_label=1, scale_by_half=True) if t.any() and not t.all() else None,
        )
        for t, p in zip(targets.T, probabilities.T, strict=True)
    ]
    losses = [loss for loss, _ in each]
    assert ours.log_losses(probabilities, targets).mean() == pytest.approx(np.mean(losses), abs=1e-12)
    if all(brier is not None for _, brier in each):
        expected = np.mean([brier for _, brier in each])
        assert ours.brier_scores(probabilities, targets).mean() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(labels())
def test_the_reliability_diagram_is_that_of_scikit_learn(case):
    probabilities, right = (array.reshape(-1) for array in case)
    found = ours.reliability(probabilities, right, num_bins=10)
    filled = found.counts > 0
    assert found.counts.sum() == len(right)
    if 0 < right.sum() < len(right):
        fractions, means = calibration_curve(right, probabilities, n_bins=10)
        np.testing.assert_allclose((found.correct / np.maximum(found.counts, 1))[filled], fractions, atol=1e-12)
        np.testing.assert_allclose((found.confidence / np.maximum(found.counts, 1))[filled], means, atol=1e-12)
        expected = (found.counts[filled] * np.abs(fractions - means)).sum() / len(right)
        assert float(found.error) == pytest.approx(expected, abs=1e-12)


def test_the_calibration_error_of_two_bins_is_the_one_worked_out_by_hand():
    found = ours.reliability(np.array([0.2, 0.4, 0.9, 0.7]), np.array([False, True, True, True]), num_bins=2)
    assert found.counts.tolist() == [2, 2]
    assert float(found.error) == pytest.approx(2 / 4 * abs(0.5 - 0.3) + 2 / 4 * abs(1 - 0.8))


@settings(max_examples=150, deadline=None)
@given(labels())
def test_areas_equal_scikit_learn_with_ties(case):
    for positive, scores in zip(case[1].T > 0, case[0].T, strict=True):
        area, average = ranking_areas(positive, scores)
        if positive.any():
            assert average == pytest.approx(reference.average_precision_score(positive, scores), abs=1e-12)
        else:
            assert average is None
        if positive.any() and not positive.all():
            assert area == pytest.approx(reference.roc_auc_score(positive, scores), abs=1e-12)
        else:
            assert area is None


def test_points_are_scikit_learns_where_they_are_few():
    rng = np.random.default_rng(0)
    positive, scores = rng.random(50) < 0.4, rng.random(50).round(1)
    counts = ranked_counts(positive, scores)
    fractions, recalls, thresholds = roc_points(counts, at_most=100)
    expected = reference.roc_curve(positive, scores, drop_intermediate=False)
    for ours_, theirs in zip((fractions, recalls, thresholds), expected, strict=True):
        np.testing.assert_allclose(ours_, theirs, atol=1e-12)
    recalls, precisions, thresholds = precision_recall_points(counts, at_most=100)
    precision, recall, at = reference.precision_recall_curve(positive, scores)
    np.testing.assert_allclose(recalls, recall[:-1][::-1], atol=1e-12)
    np.testing.assert_allclose(precisions, precision[:-1][::-1], atol=1e-12)
    np.testing.assert_allclose(thresholds, at[::-1], atol=1e-12)


def test_thinned_curves_keep_their_ends_and_their_area():
    rng = np.random.default_rng(1)
    positive = rng.random(20_000) < 0.3
    scores = rng.normal(size=20_000) + 1.5 * positive
    counts, (area, average) = ranked_counts(positive, scores), ranking_areas(positive, scores)
    fraction, recall, _ = roc_points(counts, at_most=100)
    assert len(fraction) <= 100 and (fraction[0], recall[0], fraction[-1], recall[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(recall, fraction) == pytest.approx(area, abs=1e-3)
    recalls, precisions, _ = precision_recall_points(counts, at_most=100)
    assert len(recalls) <= 100 and recalls[-1] == 1 and (np.diff(recalls) >= 0).all()
    assert np.trapezoid(precisions, recalls) == pytest.approx(average, abs=0.01)
