"""Intervals: closed forms against published numbers, resampling against simulated truth."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, t

from linnaeus.metrics.classification import class_counts, macro_f1, macro_precision, macro_recall
from linnaeus.statistics import intervals
from linnaeus.statistics.groups import effective_number, grouping, two_sided_quantile
from linnaeus.statistics.intervals import (
    Interval,
    bootstrap_intervals,
    clustered_interval,
    mean_interval,
    proportion_interval,
    resample_counts,
    spread_interval,
    wilson_interval,
)

MACRO = {"recall": macro_recall, "precision": macro_precision, "f1": macro_f1}
CONFUSION = np.array([[30, 5, 1], [4, 50, 2], [0, 6, 12]])


def test_wilson_agrees_with_published_values():
    # Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
    for successes, trials, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]:
        assert wilson_interval(successes, trials, confidence=0.95) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(1, 29, confidence=0.95) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_ends_solve_the_equation_it_is_defined_by():
    low, high = wilson_interval(37, 50, confidence=0.9)
    for end in (low, high):
        assert abs(37 / 50 - end) == pytest.approx(1.6448536 * np.sqrt(end * (1 - end) / 50), rel=1e-6)


def test_wilson_reaches_its_edges_exactly_and_stays_in_range():
    assert wilson_interval(7, 7, confidence=0.95).high == 1.0
    assert wilson_interval(0, 7, confidence=0.95).low == 0.0
    assert 0 < wilson_interval(7, 7, confidence=0.95).low < 1


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (5, 4), (-1, 4)])
def test_wilson_refuses_impossible_numbers(successes, trials):
    with pytest.raises(ValueError, match="trials"):
        wilson_interval(successes, trials, confidence=0.95)


def test_wilson_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(1)
    drawn = rng.binomial(80, 0.93, 2000)
    covered = [low <= 0.93 <= high for low, high in (wilson_interval(k, 80, confidence=0.95) for k in drawn)]
    assert 0.93 < np.mean(covered) < 0.985


def test_groups_are_numbered_and_those_of_one_image_are_none():
    found = grouping(np.array([7, 3, 7, 5]), 4)
    assert found is not None
    assert found.places.tolist() == [2, 0, 2, 1] and found.sizes.tolist() == [1, 1, 2]
    assert grouping(None, 4) is None and grouping(np.array([3, 1, 2]), 3) is None
    with pytest.raises(ValueError, match="one number for each of 4 images"):
        grouping(np.zeros(3, np.int64), 4)


def test_unequal_groups_are_worth_fewer_and_few_groups_a_larger_quantile():
    assert effective_number(np.array([5, 5, 5, 5])) == 4
    assert effective_number(np.array([50, *[1] * 50])) == pytest.approx(100**2 / 2550)
    assert two_sided_quantile(0.9) == pytest.approx(norm.ppf(0.95))
    assert two_sided_quantile(0.9, num_groups=4.5) == pytest.approx(t.ppf(0.95, 3.5))
    assert two_sided_quantile(0.9, num_groups=1) == np.inf


def test_without_groups_a_proportion_has_wilsons_interval():
    true_positives = np.arange(50) < 37
    expected = wilson_interval(37, 50, confidence=0.9)
    assert proportion_interval(true_positives, None, confidence=0.9) == expected
    assert proportion_interval(true_positives, np.arange(50)[::-1], confidence=0.9) == expected
    assert mean_interval(true_positives.astype(float), None, confidence=0.9) == pytest.approx(expected)


def test_groups_of_equal_images_are_worth_one_image_each_but_for_the_quantile():
    true_positives = np.arange(40) < 30
    found = proportion_interval(np.repeat(true_positives, 10), np.repeat(np.arange(40), 10), confidence=0.95)
    # variance 40 / 39 * p (1 - p) / 40, and the quantile of t with 39 degrees of freedom instead of the normal one
    worth = 39 * (norm.ppf(0.975) / t.ppf(0.975, 39)) ** 2
    assert found == pytest.approx(wilson_interval(0.75 * worth, worth, confidence=0.95))


def test_groups_whose_images_have_nothing_in_common_are_worth_nearly_all_images():
    rng = np.random.default_rng(0)
    true_positives, groups = rng.random(3000) < 0.8, np.repeat(np.arange(300), 10)
    alone, grouped = (proportion_interval(true_positives, each, confidence=0.95) for each in (None, groups))
    assert 1 <= (grouped.high - grouped.low) / (alone.high - alone.low) < 1.15


def test_a_single_group_and_groups_without_an_error_are_not_taken_for_more_than_they_are():
    right = np.ones(60, np.bool_)
    assert proportion_interval(right, np.zeros(60, np.int64), confidence=0.95) == Interval(0.0, 1.0)
    found = proportion_interval(right, np.arange(60) // 10, confidence=0.95)
    assert found.high == 1.0 and found.low < wilson_interval(6, 6, confidence=0.95).low
    one = spread_interval(0.7, np.full(50, 0.7), worth_without_spread=1, num_groups=1, confidence=0.95)
    assert one == Interval(0.0, 1.0)


@pytest.mark.parametrize("rate", [0.8, 0.97])
@pytest.mark.parametrize(("num_groups", "sizes"), [(12, (10,)), (40, (10,)), (40, (1, 2, 5, 50)), (150, (1, 2, 5, 50))])
def test_the_interval_of_grouped_images_covers_the_truth_about_95_times_in_100(num_groups, sizes, rate):
    rng = np.random.default_rng(3)
    grouped = ungrouped = 0
    for _ in range(300):
        groups = np.repeat(np.arange(num_groups), rng.choice(sizes, num_groups))
        of_group, of_image = rng.random(num_groups)[groups] < rate, rng.random(len(groups)) < rate
        true_positives = np.where(rng.random(len(groups)) < 0.7, of_group, of_image)
        low, high = proportion_interval(true_positives, groups, confidence=0.95)
        grouped += low <= rate <= high
        low, high = proportion_interval(true_positives, None, confidence=0.95)
        ungrouped += low <= rate <= high
    assert grouped / 300 > 0.91
    assert ungrouped / 300 < 0.8


def test_means_of_groups_are_those_of_their_sums():
    rng = np.random.default_rng(4)
    values, groups = rng.random(200), rng.integers(0, 30, 200)
    sums, sizes = np.bincount(groups, values).astype(np.float64), np.bincount(groups)
    expected = clustered_interval(sums, sizes, confidence=0.95, variance=float(values.var()))
    assert mean_interval(values, 7 * groups, confidence=0.95) == pytest.approx(expected)


FEW_ERRORS = np.array([[0.99, 0.01, 0.0], [0.02, 0.95, 0.03], [0.0, 0.03, 0.97]])
MANY_ERRORS = np.array([[0.8, 0.15, 0.05], [0.1, 0.85, 0.05], [0.05, 0.25, 0.7]])


@pytest.mark.parametrize("rows", [FEW_ERRORS, MANY_ERRORS], ids=["few errors", "many errors"])
def test_bootstrap_covers_the_truth_about_95_times_in_100(rows):
    sizes = np.array([60, 150, 90])
    # The truth is what the same scores give on endlessly many images in these proportions of classes.
    truth = {name: float(f(class_counts((rows * sizes[:, None] * 1e6).astype(np.int64)))) for name, f in MACRO.items()}
    rng = np.random.default_rng(2)
    covered = dict.fromkeys(MACRO, 0)
    for trial in range(300):
        observed = np.stack([rng.multinomial(n, p) for n, p in zip(sizes, rows, strict=True)])
        found = bootstrap_intervals(observed, MACRO, confidence=0.95, num_samples=300, seed=trial)
        for name, (low, high) in found.items():
            covered[name] += low <= truth[name] <= high
    for name, count in covered.items():
        assert 0.92 < count / 300 < 0.98, (name, count)


def test_intervals_hold_the_measured_value_follow_their_seed_and_narrow_with_the_level():
    wide = bootstrap_intervals(CONFUSION, MACRO, confidence=0.99, num_samples=500, seed=3)
    assert wide == bootstrap_intervals(CONFUSION, MACRO, confidence=0.99, num_samples=500, seed=3)
    assert wide != bootstrap_intervals(CONFUSION, MACRO, confidence=0.99, num_samples=500, seed=4)
    narrow = bootstrap_intervals(CONFUSION, MACRO, confidence=0.6, num_samples=500, seed=3)
    for name, statistic in MACRO.items():
        assert wide[name].low < narrow[name].low <= statistic(class_counts(CONFUSION)) <= narrow[name].high
        assert narrow[name].high < wide[name].high


def test_an_interval_without_errors_still_has_a_width():
    found = bootstrap_intervals(np.diag([20, 20, 0]), MACRO, confidence=0.95, num_samples=100, seed=0)
    assert found["f1"] == pytest.approx(wilson_interval(40, 40, confidence=0.95))
    uneven = bootstrap_intervals(np.diag([5, 500]), MACRO, confidence=0.95, num_samples=100, seed=0)
    assert uneven["recall"].low < 0.9, "five images of a class cannot vouch for its recall"


def test_resamples_keep_class_sizes_and_have_the_means_of_the_matrix(monkeypatch):
    monkeypatch.setattr(intervals, "_PSEUDO_IMAGES", 0)
    chunks = list(resample_counts(CONFUSION, num_samples=4000, seed=0))
    true_positives = np.concatenate([chunk.true_positives for chunk in chunks])
    predicted = np.concatenate([chunk.predicted for chunk in chunks])
    assert true_positives.shape == (4000, 3)
    assert (predicted.sum(axis=1) == CONFUSION.sum()).all()
    assert all((chunk.support == CONFUSION.sum(axis=1)).all() for chunk in chunks)
    np.testing.assert_allclose(true_positives.mean(axis=0), np.diagonal(CONFUSION), rtol=0.02)
    np.testing.assert_allclose(predicted.mean(axis=0), CONFUSION.sum(axis=0), rtol=0.02)
    # The spread of a row's true_positives is the binomial's: n p (1 - p).
    assert true_positives[:, 2].var() == pytest.approx(18 * (12 / 18) * (6 / 18), rel=0.1)


def test_a_few_images_without_an_error_do_not_count_as_proof(monkeypatch):
    confusion = np.array([[8, 0, 0], [4, 390, 6], [0, 0, 50]])
    counts = next(resample_counts(confusion, num_samples=20_000, seed=0))
    overall = (10 + 1) / (458 + 2)
    expected = 8 * (2 * overall) / (8 + 2)
    assert 8 - counts.true_positives[:, 0].mean() == pytest.approx(expected, rel=0.1)
    # They are expected where others err most (class 2 is given 6 wrongly, class 1 none); class 2's own go to class 0.
    missed = 50 - counts.true_positives[:, 2].mean()
    assert counts.predicted[:, 0].mean() == pytest.approx(8 - expected + 400 * (1 - 390 / 400) * 0.4 + missed, rel=0.02)
    settings: dict[str, Any] = {"confidence": 0.95, "num_samples": 1000, "seed": 0}
    careful = bootstrap_intervals(confusion, MACRO, **settings)["recall"].low
    monkeypatch.setattr(intervals, "_PSEUDO_IMAGES", 0)
    assert careful < bootstrap_intervals(confusion, MACRO, **settings)["recall"].low - 0.01


def test_balanced_accuracy_of_equal_classes_has_nearly_the_interval_of_accuracy():
    confusion = np.full((10, 10), 0) + np.diag([27] * 10)
    confusion[2, 2], confusion[2, 7] = 26, 1
    found = bootstrap_intervals(confusion, MACRO, confidence=0.95, num_samples=4000, seed=0)
    assert found["recall"] == pytest.approx(wilson_interval(269, 270, confidence=0.95), abs=0.003)


def test_resamples_come_in_chunks_of_bounded_size(monkeypatch):
    monkeypatch.setattr(intervals, "_CELLS_AT_ONCE", 30)
    chunks = list(resample_counts(CONFUSION, num_samples=25, seed=0))
    assert [len(chunk.true_positives) for chunk in chunks] == [10, 10, 5]


def test_a_thousand_classes_are_resampled_without_thousand_by_thousand_matrices():
    rng = np.random.default_rng(0)
    targets = np.arange(10_000) % 1000
    predicted = np.where(rng.random(10_000) < 0.8, targets, rng.integers(0, 1000, 10_000))
    confusion = np.bincount(targets * 1000 + predicted, minlength=10**6).reshape(1000, 1000)
    found = bootstrap_intervals(confusion, MACRO, confidence=0.95, num_samples=1000, seed=0)
    assert 0.78 < found["recall"].low < found["recall"].high < 0.83
