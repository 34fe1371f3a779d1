"""Paired tests: against SciPy's binomial test, enumeration by hand, and simulated truth, with groups and without."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from linnaeus.statistics.paired import compare_correct, paired_bootstrap, permutation_test

SETTINGS: dict[str, Any] = {"confidence": 0.95, "num_samples": 400, "seed": 0}


def accuracy(sums):
    return sums[:, 0] / sums[:, 1]


def columns(correct):
    return np.stack([correct.astype(float), np.ones(len(correct))], axis=1)


def draw(rng, *, num_groups, size, alike=1.0, cells=(0.7, 0.1, 0.1, 0.1)):
    """Whether each of two models is right, of groups whose images are mostly answered alike: both, either or none."""
    groups = np.repeat(np.arange(num_groups), size)
    of_group, of_image = rng.choice(4, num_groups, p=cells)[groups], rng.choice(4, len(groups), p=cells)
    cell = np.where(rng.random(len(groups)) < alike, of_group, of_image)
    return np.isin(cell, (0, 1)), np.isin(cell, (0, 2)), groups


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=80))
def test_without_groups_the_test_is_that_of_a_fair_coin(pairs):
    first, second = (np.array([pair[k] for pair in pairs], bool) for k in (0, 1))
    found = compare_correct(first, second, groups=None, seed=0)
    assert found.name == "mcnemar"
    assert found.only_first == sum(a and not b for a, b in pairs)
    assert found.only_second == sum(b and not a for a, b in pairs)
    assert found.only_first is not None and found.only_second is not None
    total = found.only_first + found.only_second
    assert found.p_value == pytest.approx(binomtest(found.only_first, total).pvalue if total else 1.0)


def test_the_exact_test_of_many_images_neither_overflows_nor_rounds_to_nothing():
    first = np.arange(40_000) < 10_300
    second = np.arange(40_000) >= 20_300
    found = compare_correct(first, second, groups=None, seed=0)
    assert found.p_value == pytest.approx(binomtest(10_300, 30_000).pvalue, rel=1e-9, abs=0)


def test_columns_of_different_length_are_an_error_of_ours():
    with pytest.raises(ValueError, match="equally long"):
        compare_correct(np.ones(3, bool), np.ones(4, bool), groups=None, seed=0)
    with pytest.raises(ValueError, match="one number for each of 3 images"):
        compare_correct(np.ones(3, bool), np.ones(3, bool), groups=np.zeros(2, np.int64), seed=0)


def test_groups_of_one_image_are_no_groups():
    rng = np.random.default_rng(0)
    first, second, _ = draw(rng, num_groups=60, size=1)
    alone = compare_correct(first, second, groups=rng.permutation(60), seed=0)
    assert alone == compare_correct(first, second, groups=None, seed=0)
    exact = permutation_test(columns(first[:12]), columns(second[:12]), accuracy, groups=None, seed=0)
    assert exact == pytest.approx(compare_correct(first[:12], second[:12], groups=None, seed=0).p_value)


def test_few_groups_are_swapped_in_every_way():
    rng = np.random.default_rng(1)
    groups = np.array([4, 4, 4, 9, 9, 2, 2, 2, 2, 7, 7, 5])
    first, second = rng.random((2, 12)) < [[0.4], [0.8]]
    gains = [int(second[groups == g].sum()) - int(first[groups == g].sum()) for g in np.unique(groups)]
    sums = [
        abs(sum(s * d for s, d in zip(signs, gains, strict=True))) for signs in itertools.product((1, -1), repeat=5)
    ]
    found = compare_correct(first, second, groups=groups, seed=0)
    assert found.name == "permutation"
    assert found.p_value == np.mean([total >= abs(sum(gains)) for total in sums])


def test_drawn_swaps_agree_with_the_exact_test_and_never_give_nothing():
    rng = np.random.default_rng(2)
    first, second, _ = draw(rng, num_groups=300, size=1, cells=(0.7, 0.12, 0.08, 0.1))
    exact = compare_correct(first, second, groups=None, seed=0).p_value
    drawn = permutation_test(columns(first), columns(second), accuracy, groups=None, seed=3)
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 9_999))
    assert drawn == permutation_test(columns(first), columns(second), accuracy, groups=None, seed=3)
    certain = permutation_test(columns(np.zeros(300, bool)), columns(np.ones(300, bool)), accuracy, groups=None, seed=0)
    assert certain == pytest.approx(1 / 10_000)


def test_two_models_that_never_differ_or_differ_in_one_group_only_are_not_told_apart():
    right, groups = np.ones(50, bool), np.arange(50) // 25
    assert compare_correct(right, right, groups=groups, seed=0).p_value == 1.0
    found = compare_correct(right & (groups == 0), right, groups=groups, seed=0)
    assert (found.only_first, found.only_second, found.p_value) == (0, 25, 1.0)


def test_of_two_equally_good_models_on_scenes_only_mcnemar_sees_a_difference_in_half_of_all_cases():
    rng = np.random.default_rng(3)
    alarms = dict.fromkeys(("groups", "images", "f1"), 0)
    covered = 0
    for trial in range(300):
        first, second, groups = draw(rng, num_groups=40, size=10)
        alarms["groups"] += compare_correct(first, second, groups=groups, seed=trial).p_value < 0.05
        alarms["images"] += compare_correct(first, second, groups=None, seed=trial).p_value < 0.05
        num_labels = rng.integers(1, 4, len(groups)).astype(float)
        one, two = (np.stack([2 * right * num_labels, 2 * num_labels + ~right], axis=1) for right in (first, second))
        alarms["f1"] += permutation_test(one, two, accuracy, groups=groups, seed=trial, num_permutations=199) < 0.05
        one, two = columns(first), columns(second)
        found = paired_bootstrap(one, two, accuracy, groups=groups, confidence=0.95, num_samples=200, seed=trial)
        covered += found.interval.low <= 0 <= found.interval.high
    assert alarms["images"] > 120
    assert 3 <= alarms["groups"] <= 25 and 3 <= alarms["f1"] <= 25  # 15 expected
    assert 0.92 < covered / 300 < 0.995


def test_a_model_that_is_better_on_many_scenes_is_found():
    rng = np.random.default_rng(4)
    found = 0
    for trial in range(50):
        first, second, groups = draw(rng, num_groups=60, size=5, alike=0.5, cells=(0.6, 0.03, 0.27, 0.1))
        found += compare_correct(first, second, groups=groups, seed=trial).p_value < 0.05
    assert found > 45


@pytest.mark.parametrize(("both", "only_first", "only_second"), [(0.8, 0.05, 0.05), (0.9, 0.02, 0.04), (0.6, 0.2, 0.1)])
def test_the_interval_of_a_difference_covers_the_truth_about_95_times_in_100(both, only_first, only_second):
    rng = np.random.default_rng(0)
    truth, covered = only_second - only_first, 0
    for trial in range(400):
        cells = (both, only_first, only_second, 1 - both - only_first - only_second)
        first, second, _ = draw(rng, num_groups=100, size=1, cells=cells)
        found = paired_bootstrap(
            columns(first), columns(second), accuracy, groups=None, confidence=0.95, num_samples=200, seed=trial
        ).interval
        covered += found.low <= truth <= found.high
    assert 0.92 < covered / 400 < 0.985


@pytest.mark.parametrize(("num_groups", "alike"), [(12, 0.6), (60, 1.0), (60, 0.4)])
def test_the_interval_covers_the_truth_where_images_come_in_groups(num_groups, alike):
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(300):
        sizes = rng.choice([2, 5, 12], num_groups)
        first, second, groups = draw(rng, num_groups=num_groups, size=sizes, alike=alike, cells=(0.5, 0.15, 0.25, 0.1))
        found = paired_bootstrap(
            columns(first), columns(second), accuracy, groups=groups, confidence=0.95, num_samples=200, seed=trial
        ).interval
        covered += found.low <= 0.1 <= found.high
    assert covered / 300 > 0.925


def test_a_single_group_says_nothing():
    first, second = np.zeros(30, bool), np.ones(30, bool)
    one = np.zeros(30, np.int64)
    found = paired_bootstrap(columns(first), columns(second), accuracy, groups=one, **SETTINGS)
    assert found.value == 1.0 and found.interval == (-1.0, 1.0)
    assert compare_correct(first, second, groups=one, seed=0).p_value == 1.0


def test_models_that_never_differ_on_a_few_images_are_not_equal_for_certain():
    right = columns(np.ones(100, bool))
    found = paired_bootstrap(right, right, accuracy, groups=None, confidence=0.95, num_samples=50, seed=0)
    assert found.value == 0
    assert found.interval.low == pytest.approx(-0.0196, abs=1e-4)
    assert found.interval.low < 0 < found.interval.high


def test_pairing_sees_what_two_separate_intervals_would_not():
    rng = np.random.default_rng(1)
    hard = rng.random(1000) < 0.3
    first = ~hard
    second = first | (rng.random(1000) < 0.03)  # right wherever the first is, and now and then where it is not
    found = paired_bootstrap(columns(first), columns(second), accuracy, groups=None, **SETTINGS)
    assert 0 < found.value < 0.02
    assert found.interval.low > 0
