"""Intervals: closed forms against published numbers, resampling against simulated truth."""

import numpy as np
import pytest

from linnaeus.metrics.classification import class_counts, mean_f1, mean_precision, mean_recall
from linnaeus.statistics import intervals
from linnaeus.statistics.intervals import bootstrap_intervals, resample_counts, wilson_interval

MACRO = {"recall": mean_recall, "precision": mean_precision, "f1": mean_f1}
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
    hits = np.concatenate([chunk.hits for chunk in chunks])
    claims = np.concatenate([chunk.claims for chunk in chunks])
    assert hits.shape == (4000, 3)
    assert (claims.sum(axis=1) == CONFUSION.sum()).all()
    assert all((chunk.support == CONFUSION.sum(axis=1)).all() for chunk in chunks)
    np.testing.assert_allclose(hits.mean(axis=0), np.diagonal(CONFUSION), rtol=0.02)
    np.testing.assert_allclose(claims.mean(axis=0), CONFUSION.sum(axis=0), rtol=0.02)
    # The spread of a row's hits is the binomial's: n p (1 - p).
    assert hits[:, 2].var() == pytest.approx(18 * (12 / 18) * (6 / 18), rel=0.1)


def test_a_few_images_without_an_error_do_not_count_as_proof(monkeypatch):
    confusion = np.array([[8, 0, 0], [4, 390, 6], [0, 0, 50]])
    counts = next(resample_counts(confusion, num_samples=20_000, seed=0))
    overall = (10 + 1) / (458 + 2)
    expected = 8 * (2 * overall) / (8 + 2)
    assert 8 - counts.hits[:, 0].mean() == pytest.approx(expected, rel=0.1)
    # They are expected where others err most (class 2 claims 6 wrongly, class 1 none); class 2's own go to class 0.
    missed = 50 - counts.hits[:, 2].mean()
    assert counts.claims[:, 0].mean() == pytest.approx(8 - expected + 400 * (1 - 390 / 400) * 0.4 + missed, rel=0.02)
    settings = {"confidence": 0.95, "num_samples": 1000, "seed": 0}
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
    assert [len(chunk.hits) for chunk in chunks] == [10, 10, 5]


def test_a_thousand_classes_are_resampled_without_thousand_by_thousand_matrices():
    rng = np.random.default_rng(0)
    targets = np.arange(10_000) % 1000
    predicted = np.where(rng.random(10_000) < 0.8, targets, rng.integers(0, 1000, 10_000))
    confusion = np.bincount(targets * 1000 + predicted, minlength=10**6).reshape(1000, 1000)
    found = bootstrap_intervals(confusion, MACRO, confidence=0.95, num_samples=1000, seed=0)
    assert 0.78 < found["recall"].low < found["recall"].high < 0.83
