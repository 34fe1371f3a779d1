"""Prediction sets: the score against the paper worked out by hand, the promise against simulated truth."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from linnaeus.judging import score_table
from linnaeus.judging.conformal import calibrate_label_sets, calibrate_sets, describe_sets
from linnaeus.judging.evaluation import SelectiveGoal
from linnaeus.judging.score_table import ScoreTable
from linnaeus.judging.selective import accuracy_coverage_curve
from linnaeus.metrics import conformal
from linnaeus.metrics.conformal import SetRule, conformal_quantile, prediction_sets, set_scores
from linnaeus.statistics.intervals import proportion_interval


def draw(num: int, *, rng: np.random.Generator, sharpness: float = 2.0, num_classes: int = 8):
    honest = sharpness * rng.normal(size=(num, num_classes))
    chances = softmax(honest, axis=1)
    targets = (chances.cumsum(axis=1) < rng.random((num, 1))).sum(axis=1).clip(0, num_classes - 1)
    return softmax(1.4 * honest, axis=1), targets.astype(np.int64)


def table_of(probabilities, targets) -> ScoreTable:
    names = tuple(f"c{k}" for k in range(probabilities.shape[1]))
    return ScoreTable(names, targets, lambda a, b: probabilities[a:b], lambda k: probabilities[:, k])


def test_scores_are_those_of_the_paper(monkeypatch):
    monkeypatch.setattr(conformal, "_coin", lambda p: np.full(len(p), 0.25))
    found = set_scores(np.array([[0.2, 0.5, 0.3]]), penalty=0.1, num_free=1)
    # by rank: 0.25 * 0.5; 0.5 + 0.25 * 0.3 + 0.1; 0.8 + 0.25 * 0.2 + 0.2
    np.testing.assert_allclose(found, [[1.05, 0.125, 0.675]], atol=1e-12)


def test_the_quantile_is_the_finite_sample_one_and_missing_where_there_are_too_few():
    scores = np.arange(1.0, 20.0)
    assert conformal_quantile(scores, 0.95) == 19.0  # ceil(20 * 0.95) = 19
    assert conformal_quantile(scores, 0.5) == 10.0
    assert conformal_quantile(scores[:18], 0.95) is None
    everything = prediction_sets(np.array([[0.9, 0.1]]), SetRule(0.95, None, 0.1, 1))
    assert everything.all()


@pytest.mark.parametrize("coverage", [0.8, 0.95])
@pytest.mark.parametrize("num", [150, 1200])
def test_sets_hold_the_true_class_as_often_as_promised_and_hardly_more(num, coverage):
    rng = np.random.default_rng(0)
    held, exactly = [], []
    for trial in range(60):
        rule = calibrate_sets(*draw(num, rng=rng), coverage=coverage, seed=trial)
        probabilities, targets = draw(1000, rng=rng)
        rows = np.arange(len(targets))
        held.append(prediction_sets(probabilities, rule)[rows, targets].mean())
        exactly.append(prediction_sets(probabilities, rule, allow_empty=True)[rows, targets].mean())
    assert np.mean(held) >= coverage - 0.01
    assert coverage - 0.01 <= np.mean(exactly) <= coverage + 0.015


def test_sets_are_never_empty_always_the_same_and_grow_with_the_promise():
    rng = np.random.default_rng(1)
    probabilities, targets = draw(1000, rng=rng)
    small, large = (calibrate_sets(probabilities, targets, coverage=c, seed=0) for c in (0.7, 0.99))
    sets = prediction_sets(probabilities, small)
    assert sets.any(axis=1).all() and sets[np.arange(1000), probabilities.argmax(axis=1)].all()
    assert (prediction_sets(probabilities[::-1], small)[::-1] == sets).all()
    assert prediction_sets(probabilities, large).sum() > sets.sum()


def test_what_is_told_of_sets_is_what_they_are():
    rng = np.random.default_rng(2)
    rule = calibrate_sets(*draw(800, rng=rng), coverage=0.9, seed=0)
    probabilities, targets = draw(500, rng=rng)
    told = describe_sets(table_of(probabilities, targets), rule, groups=None, confidence=0.95)
    sets = prediction_sets(probabilities, rule)
    held = sets[np.arange(500), targets]
    assert told.coverage is not None
    assert told.coverage.value == held.mean() and told.target_coverage == 0.9
    assert told.mean_size == sets.sum(axis=1).mean() and told.empty == 0
    assert told.sizes[1] == (sets.sum(axis=1) == 2).mean() and sum(told.sizes) == pytest.approx(1)
    assert told.per_class["c3"] == held[targets == 3].mean()


def draw_labels(num: int, *, rng: np.random.Generator, num_labels: int = 6):
    """Probabilities that are too sure of themselves, and labels; a tenth of the images has none."""
    honest = 2.0 * rng.normal(size=(num, num_labels)) - 1
    targets = (rng.random(honest.shape) < expit(honest)).astype(np.uint8)
    targets[rng.random(num) < 0.1] = 0
    return expit(1.5 * honest), targets


def fraction_held(sets, targets) -> np.ndarray:
    with_labels = targets.any(axis=1)
    return (sets & (targets > 0)).sum(axis=1)[with_labels] / targets.sum(axis=1)[with_labels]


def test_the_threshold_of_several_labels_is_the_one_worked_out_by_hand():
    """Four images with one or two labels: at most (1 - 0.5) * (4 + 1) - 1 = 1.5 images' worth of labels may be lost."""
    probabilities = np.array([[0.9, 0.2], [0.6, 0.5], [0.3, 0.1], [0.8, 0.7], [0.99, 0.99]])
    targets = np.array([[1, 1], [0, 1], [1, 0], [1, 0], [0, 0]], np.uint8)
    # lost in rising order: 0.2 is half of the first image's, 0.3 all of the third's; 0.5 would be half too much
    assert calibrate_label_sets(probabilities, targets, coverage=0.5).least == 0.5
    assert calibrate_label_sets(probabilities, targets, coverage=0.8).least == 0.2  # none may be lost
    assert calibrate_label_sets(probabilities, targets, coverage=0.9).least == 0.0  # four images are too few
    assert calibrate_label_sets(probabilities, np.zeros_like(targets), coverage=0.5).least == 0.0


@pytest.mark.parametrize("coverage", [0.8, 0.95])
@pytest.mark.parametrize("num", [60, 600])
def test_sets_hold_the_fraction_of_the_labels_that_was_promised_and_hardly_more(num, coverage):
    rng = np.random.default_rng(0)
    held = []
    for _ in range(150):
        rule = calibrate_label_sets(*draw_labels(num, rng=rng), coverage=coverage)
        probabilities, targets = draw_labels(2000, rng=rng)
        held.append(fraction_held(prediction_sets(probabilities, rule), targets).mean())
    assert coverage - 0.005 <= np.mean(held) <= coverage + 0.005 + 2 / num


def test_what_is_told_of_sets_of_several_labels_is_what_they_are(monkeypatch):
    rng = np.random.default_rng(3)
    rule = calibrate_label_sets(*draw_labels(500, rng=rng), coverage=0.9)
    probabilities, targets = draw_labels(400, rng=rng)
    names = tuple("abcdef")
    table = ScoreTable(names, targets, lambda a, b: probabilities[a:b], lambda k: probabilities[:, k])
    monkeypatch.setattr(score_table, "CELLS_AT_ONCE", 100)
    told = describe_sets(table, rule, groups=None, confidence=0.95)
    sets = prediction_sets(probabilities, rule)
    assert told.coverage is not None
    assert told.coverage.value == pytest.approx(fraction_held(sets, targets).mean(), abs=1e-12)
    assert told.coverage.low < told.coverage.value < told.coverage.high
    assert told.per_class["b"] == sets[targets[:, 1] > 0, 1].mean() and told.target_coverage == 0.9
    assert told.empty == (sets.sum(axis=1) == 0).mean() and told.mean_size == sets.sum(axis=1).mean()
    assert told.empty + sum(told.sizes) == pytest.approx(1) and told.threshold == rule.least


def test_the_accuracy_coverage_curve_is_that_worked_out_by_hand():
    confidence, right = np.array([0.9, 0.5, 0.8, 0.5]), np.array([True, False, True, True])
    found = accuracy_coverage_curve(confidence, right, groups=None, confidence=0.95)
    assert [(p.threshold, p.coverage, p.accuracy) for p in found.points] == [
        (0.9, 0.25, 1.0),
        (0.8, 0.5, 1.0),
        (0.5, 1.0, 0.75),
    ]
    assert found.aurc == pytest.approx(1 - np.mean([1, 1, 2 / 3, 3 / 4]))
    assert found.goals == [], "two images that are right may be luck"
    many = accuracy_coverage_curve(np.repeat(confidence, 10), np.repeat(right, 10), groups=None, confidence=0.95)
    assert many.goals[0] == SelectiveGoal(accuracy=0.9, coverage=0.5, threshold=0.8)


def test_the_accuracy_coverage_curve_has_a_bounded_number_of_points():
    rng = np.random.default_rng(3)
    confidence = rng.random(20_000)
    found = accuracy_coverage_curve(confidence, rng.random(20_000) < confidence, groups=None, confidence=0.95)
    assert len(found.points) <= 100 and found.points[-1].coverage == 1.0
    answered = [p.coverage for p in found.points]
    assert answered == sorted(answered)


@pytest.mark.parametrize("multi", [False, True])
def test_intervals_of_coverage_are_wider_where_images_come_in_groups(multi):
    rng = np.random.default_rng(4)
    probabilities, targets = (np.repeat(each, 8, axis=0) for each in (draw_labels if multi else draw)(60, rng=rng))
    rule = (
        calibrate_label_sets(*draw_labels(500, rng=rng), coverage=0.9)
        if multi
        else calibrate_sets(*draw(500, rng=rng), coverage=0.9, seed=0)
    )
    groups = np.arange(480) // 8
    names = tuple("abcdefgh"[: probabilities.shape[1]])
    table = ScoreTable(names, targets, lambda a, b: probabilities[a:b], lambda k: probabilities[:, k])
    alone, grouped = (describe_sets(table, rule, groups=each, confidence=0.95).coverage for each in (None, groups))
    assert alone is not None and grouped is not None
    assert grouped.value == alone.value
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_the_accuracy_coverage_curve_has_the_intervals_of_the_images_answered_so_far():
    rng = np.random.default_rng(5)
    confidence, groups = rng.random(300).round(2), rng.integers(0, 40, 300)
    correct = rng.random(40)[groups] < confidence
    for each in (None, groups):
        for point in accuracy_coverage_curve(confidence, correct, groups=each, confidence=0.9).points:
            answered = confidence >= point.threshold
            of = None if each is None else each[answered]
            expected = proportion_interval(correct[answered], of, confidence=0.9)
            assert [point.low, point.high] == pytest.approx([*expected])
            assert point.accuracy == pytest.approx(correct[answered].mean())
