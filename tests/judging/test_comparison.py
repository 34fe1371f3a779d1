"""Paired tests: against SciPy's binomial test, scikit-learn's scores, and simulated truth."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score

from linnaeus.errors import ClassesError, DataError
from linnaeus.judging.comparison import compare_predictions, mcnemar_test, paired_bootstrap
from linnaeus.predictions import Predictions

SETTINGS = {"confidence": 0.95, "num_samples": 400, "seed": 0}


def share(sums):
    return sums[:, 0] / 100


def predictions_of(targets, logits, *, classes=("a", "b", "c"), ids=None):
    ids = [f"{i}.png" for i in range(len(targets))] if ids is None else ids
    return Predictions(
        ids=pa.array(ids, pa.large_string()),
        logits=np.asarray(logits, np.float32),
        targets=np.asarray(targets),
        classes=tuple(classes),
        splits=np.full(len(targets), 2, np.int8),
        manifest_fingerprint="0" * 16,
    )


def single(targets, predicted, *, classes=("a", "b", "c"), ids=None):
    return predictions_of(np.asarray(targets, np.int64), np.eye(len(classes))[predicted], classes=classes, ids=ids)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=80))
def test_the_exact_test_is_that_of_a_fair_coin(pairs):
    first, second = (np.array([pair[k] for pair in pairs], bool) for k in (0, 1))
    found = mcnemar_test(first, second)
    assert found.only_first == sum(a and not b for a, b in pairs)
    assert found.only_second == sum(b and not a for a, b in pairs)
    total = found.only_first + found.only_second
    assert found.p_value == pytest.approx(binomtest(found.only_first, total).pvalue if total else 1.0)


def test_the_exact_test_of_many_images_neither_overflows_nor_rounds_to_nothing():
    first = np.arange(40_000) < 10_300
    second = np.arange(40_000) >= 20_300
    assert mcnemar_test(first, second).p_value == pytest.approx(binomtest(10_300, 30_000).pvalue, rel=1e-9, abs=0)


def test_columns_of_different_length_are_an_error_of_ours():
    with pytest.raises(ValueError, match="equally long"):
        mcnemar_test(np.ones(3, bool), np.ones(4, bool))


@pytest.mark.parametrize(("both", "only_first", "only_second"), [(0.8, 0.05, 0.05), (0.9, 0.02, 0.04), (0.6, 0.2, 0.1)])
def test_the_interval_of_a_difference_covers_the_truth_about_95_times_in_100(both, only_first, only_second):
    rng = np.random.default_rng(0)
    truth, covered = only_second - only_first, 0
    for trial in range(400):
        cell = rng.choice(4, 100, p=[both, only_first, only_second, 1 - both - only_first - only_second])
        first, second = np.isin(cell, (0, 1)).astype(float), np.isin(cell, (0, 2)).astype(float)
        found = paired_bootstrap(
            first[:, None], second[:, None], share, confidence=0.95, num_samples=200, seed=trial
        ).interval
        covered += found.low <= truth <= found.high
    assert 0.92 < covered / 400 < 0.985


def test_models_that_never_differ_on_a_few_images_are_not_equal_for_certain():
    right = np.ones((100, 1))
    found = paired_bootstrap(right, right, share, confidence=0.95, num_samples=50, seed=0)
    assert found.value == 0
    assert found.interval.low == pytest.approx(-0.0196, abs=1e-4)
    assert not found.beyond_noise


def test_pairing_sees_what_two_separate_intervals_would_not():
    rng = np.random.default_rng(1)
    hard = rng.random(1000) < 0.3
    first = ~hard
    second = first | (rng.random(1000) < 0.03)  # right wherever the first is, and now and then where it is not
    found = paired_bootstrap(
        first[:, None].astype(float), second[:, None].astype(float), lambda s: s[:, 0] / 1000, **SETTINGS
    )
    assert 0 < found.value < 0.02
    assert found.beyond_noise


def test_scores_and_their_difference_are_scikit_learns_whatever_the_order_of_images_and_classes():
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 3, 200)
    one = np.where(rng.random(200) < 0.8, targets, rng.integers(0, 3, 200))
    two = np.where(rng.random(200) < 0.6, targets, rng.integers(0, 3, 200))
    first = single(targets, one)
    shuffled = rng.permutation(200)
    other_places = np.array([2, 0, 1])  # of a, b, c among c, a, b counted from c: c=0, a=1, b=2
    names = ("b", "c", "a")
    second = single(
        other_places[targets][shuffled], other_places[two][shuffled], classes=names, ids=[f"{i}.png" for i in shuffled]
    )
    found = compare_predictions(first, second, **SETTINGS)
    assert found.first == pytest.approx(accuracy_score(targets, one))
    assert found.second == pytest.approx(accuracy_score(targets, two))
    assert found.difference.value == pytest.approx(found.second - found.first)
    assert (found.mcnemar.only_first, found.mcnemar.only_second) == (
        ((one == targets) & (two != targets)).sum(),
        ((two == targets) & (one != targets)).sum(),
    )
    assert found.beyond_noise
    assert "is really worse" in found.describe(first="A", second="B")


def test_two_runs_of_the_same_answers_are_no_proof_of_a_difference():
    predictions = single([0, 1, 2, 1], [0, 1, 1, 1])
    found = compare_predictions(predictions, predictions, **SETTINGS)
    assert found.mcnemar.p_value == 1
    assert "no proof of a difference" in found.describe(first="A", second="B")


def test_micro_f1_of_several_labels_is_scikit_learns_with_each_ones_own_thresholds():
    rng = np.random.default_rng(3)
    targets = (rng.random((150, 3)) < 0.3).astype(np.uint8)
    logits = [targets * 2.0 - 1 + rng.normal(0, spread, targets.shape) for spread in (2.0, 0.7)]
    thresholds = (np.array([0.3, 0.5, 0.7]), np.array([0.6, 0.4, 0.5]))
    order = np.array([2, 0, 1])
    first = predictions_of(targets, logits[0])
    second = predictions_of(targets[:, order], logits[1][:, order], classes=("c", "a", "b"))
    found = compare_predictions(first, second, thresholds=(thresholds[0], thresholds[1][order]), **SETTINGS)
    expected = [
        f1_score(targets, 1 / (1 + np.exp(-z)) >= t, average="micro") for z, t in zip(logits, thresholds, strict=True)
    ]
    assert (found.first, found.second) == pytest.approx(expected)
    assert found.score == "micro_f1" and found.mcnemar is None
    assert found.beyond_noise and found.difference.value > 0
    assert "is really better" in found.describe(first="A", second="B")


def test_other_images_other_labels_and_other_classes_are_told_apart():
    first = single([0, 1, 2], [0, 1, 2])
    with pytest.raises(DataError, match="3 in one, 2 in the other"):
        compare_predictions(first, single([0, 1], [0, 1]), **SETTINGS)
    with pytest.raises(DataError, match=r"one has 2\.png"):
        compare_predictions(first, single([0, 1, 2], [0, 1, 2], ids=["0.png", "1.png", "x.png"]), **SETTINGS)
    with pytest.raises(DataError, match=r"2\.png has another label in one than in the other, one of 1 such"):
        compare_predictions(first, single([0, 1, 1], [0, 1, 2]), **SETTINGS)
    with pytest.raises(ClassesError, match="only one has 'c', only the other 'd'"):
        compare_predictions(first, single([0, 1, 2], [0, 1, 2], classes=("a", "b", "d")), **SETTINGS)
    with pytest.raises(ClassesError, match="single label"):
        compare_predictions(first, predictions_of(np.zeros((3, 3), np.uint8), np.zeros((3, 3))), **SETTINGS)
