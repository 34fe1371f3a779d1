"""Operating points: targets are met where it can be, by the least change, and said where it cannot."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from linnaeus.config.settings import EvaluateConfig, ScoreTarget, parse_score_target
from linnaeus.errors import ConfigError
from linnaeus.judging.operating_point import (
    best_f1_weights,
    check_score_targets,
    choose_point,
    describe_operating_point,
)
from linnaeus.judging.score_table import table_of
from linnaeus.metrics.operating_point import OperatingPoint, decide, ranked_answers
from linnaeus.predictions import Predictions

CLASSES = ("ant", "bee", "cow")


def make_predictions(seed: int, *, num: int = 300, noise: float = 1.5, multi: bool = False) -> Predictions:
    rng = np.random.default_rng(seed)
    if multi:
        targets = (rng.random((num, 3)) < [0.5, 0.2, 0.05]).astype(np.uint8)
        logits = noise * rng.normal(size=targets.shape) + 2.0 * targets - 1.5
    else:
        targets = rng.choice(3, num, p=[0.7, 0.2, 0.1]).astype(np.int64)
        logits = noise * rng.normal(size=(num, 3)) + 2 * np.eye(3)[targets] + [1.0, 0.0, -0.5]
    return Predictions(
        ids=pa.array([f"{i}.png" for i in range(num)], pa.large_string()),
        logits=logits.astype(np.float32),
        targets=targets,
        classes=CLASSES,
        splits=np.full(num, 1, np.int8),
        manifest_fingerprint="0" * 16,
    )


def scores_of(predictions, point, k):
    answers = decide(predictions.probabilities, point)
    found = ((answers == k) & (predictions.targets == k)).sum()
    return {"recall": found / (predictions.targets == k).sum(), "precision": found / max((answers == k).sum(), 1)}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["recall", "precision"]), st.integers(0, 2), st.floats(0.05, 1.0))
def test_a_target_is_met_by_the_least_change_or_said_to_be_unattainable(seed, score, k, value):
    predictions = make_predictions(seed)
    chosen = choose_point(
        predictions,
        threshold_rule="per_label",
        rule="argmax",
        costs={},
        score_targets=[ScoreTarget(score, CLASSES[k], value)],
    )
    result = chosen.results[0]
    reached = scores_of(predictions, chosen.point, k)
    if result.reached is not None:
        assert reached[score] == pytest.approx(result.reached)
    if score == "recall":
        assert result.met
    if result.met and chosen.point is not None:
        # A little less change, and it would not be met.
        weights = np.array(chosen.point.weights)
        assert ((weights != 1) == (np.arange(3) == k)).all()
        halfway = weights.copy()
        halfway[k] = weights[k] ** 0.5
        assert scores_of(predictions, None, k)[score] < value
        if score == "recall":
            claimed = decide(predictions.probabilities, chosen.point) == k
            fewer = decide(predictions.probabilities, OperatingPoint(weights=tuple(halfway))) == k
            assert fewer.sum() <= claimed.sum()
    if not result.met:
        assert score == "precision"
        # No factor of this class meets it.
        for factor in np.geomspace(1e-6, 1e6, 400):
            weights = np.where(np.arange(3) == k, factor, 1.0)
            claimed = (decide(predictions.probabilities, OperatingPoint(weights=tuple(weights))) == k).any()
            assert not claimed or scores_of(predictions, OperatingPoint(weights=tuple(weights)), k)[score] < value


def test_a_target_that_holds_already_changes_nothing():
    chosen = choose_point(
        make_predictions(0),
        threshold_rule="per_label",
        rule="argmax",
        costs={},
        score_targets=[ScoreTarget("recall", "ant", 0.1)],
    )
    assert chosen.point is None and chosen.results[0].met


def test_targets_that_contradict_each_other_are_told():
    score_targets = [
        ScoreTarget("recall", "ant", 1.0),
        ScoreTarget("recall", "bee", 1.0),
        ScoreTarget("recall", "cow", 1.0),
    ]
    chosen = choose_point(
        make_predictions(1), threshold_rule="per_label", rule="argmax", costs={}, score_targets=score_targets
    )
    assert not all(result.met for result in chosen.results)
    assert any("cannot be met" in line for line in chosen.describe())


def test_a_class_without_validation_images_is_told():
    predictions = make_predictions(2)
    predictions = predictions.take(np.flatnonzero(predictions.targets != 2))
    chosen = choose_point(
        predictions,
        threshold_rule="per_label",
        rule="argmax",
        costs={},
        score_targets=[ScoreTarget("recall", "cow", 0.9)],
    )
    assert chosen.results[0].reached is None
    assert "cannot be judged" in chosen.describe()[0]


def test_factors_for_f1_raise_macro_f1_as_scikit_learn_measures_it():
    predictions = make_predictions(3, num=1500)
    weights = best_f1_weights(predictions.probabilities, predictions.targets.astype(np.int64))
    answers = decide(predictions.probabilities, OperatingPoint(weights=tuple(weights)))
    plain = f1_score(predictions.targets, predictions.probabilities.argmax(axis=1), average="macro")
    assert f1_score(predictions.targets, answers, average="macro") > plain


def test_the_answer_under_costs_has_the_least_expected_cost():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.34, 0.33, 0.33]])
    costs = {"cow": {"ant": 10.0}}
    chosen = choose_point(make_predictions(4), threshold_rule="per_label", rule="argmax", costs=costs, score_targets=[])
    # ant: 0.2 * 1 + 0.1 * 10 = 1.2; bee: 0.7 + 0.1 = 0.8; cow: 0.9
    assert decide(probabilities, chosen.point).tolist() == [1, 0 if 0.33 + 3.3 < 0.67 else 1]
    assert decide(probabilities, None).tolist() == [0, 0]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["recall", "precision"]), st.integers(0, 2), st.floats(0.05, 1.0))
def test_thresholds_of_several_labels_meet_targets(seed, score, k, value):
    predictions = make_predictions(seed, multi=True)
    has = predictions.targets[:, k] > 0
    chosen = choose_point(
        predictions,
        threshold_rule="per_label",
        rule="f1",
        costs={},
        score_targets=[ScoreTarget(score, CLASSES[k], value)],
    )
    assert chosen.thresholds is not None
    given_label = predictions.probabilities[:, k] >= chosen.thresholds[k]
    whole = has.sum() if score == "recall" else given_label.sum()
    if chosen.results[0].reached is not None:
        assert (has & given_label).sum() / whole == pytest.approx(chosen.results[0].reached)
    assert chosen.results[0].met or score == "precision" or not has.any()


def test_costs_of_several_labels_set_the_threshold_where_both_mistakes_cost_the_same():
    costs = {"bee": {"false_negative": 3.0, "false_positive": 1.0}}
    chosen = choose_point(
        make_predictions(5, multi=True), threshold_rule="per_label", rule="f1", costs=costs, score_targets=[]
    )
    assert chosen.thresholds is not None
    assert chosen.thresholds[1] == 0.25


def test_ranked_answers_begin_with_the_answer_and_go_on_by_probability():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    point = OperatingPoint(weights=(1.0, 2.0, 1.0))
    assert ranked_answers(probabilities, point).tolist() == [[1, 0, 2], [2, 1, 0]]
    assert ranked_answers(probabilities, None).tolist() == [[0, 1, 2], [2, 1, 0]]


@pytest.mark.parametrize("text", ["recall=0.9", "recall:bee", "f1:bee=0.9", "recall:bee=1.5", "recall:bee=x"])
def test_a_target_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="recall:CLASS=VALUE"):
        parse_score_target(text)
    assert parse_score_target("recall:a=b:c=0.5") == ScoreTarget("recall", "a=b:c", 0.5)


@pytest.mark.parametrize(
    ("config", "task", "words"),
    [
        ({"targets": ["recall:bees=0.9"]}, "single", "no class 'bees'. Did you mean 'bee'"),
        ({"costs": {"bee": {"wasp": 2}}}, "single", "no class 'wasp'"),
        ({"costs": {"bee": {"ant": 2}}, "targets": ["recall:bee=0.9"]}, "single", "settles every answer"),
        ({"costs": {"bee": {"ant": 2}}}, "multi", "false_negative and false_positive"),
    ],
)
def test_targets_for_what_is_no_class_are_refused_before_training(config, task, words):
    with pytest.raises(ConfigError, match=words):
        check_score_targets(EvaluateConfig(**config), CLASSES, task=task)


@given(st.permutations(range(3)), st.integers(0, 1000))
def test_a_reordered_point_gives_the_same_answers(order, seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.random((20, 3))
    for point in (OperatingPoint(weights=(1.0, 3.0, 0.5)), OperatingPoint(costs=tuple(map(tuple, rng.random((3, 3)))))):
        answers = decide(probabilities[:, order], point.reordered(order))
        assert (np.array(order)[answers] == decide(probabilities, point)).all()


@pytest.mark.parametrize("multi", [False, True])
def test_what_is_told_of_the_point_is_what_it_does_to_test_images(multi):
    score_targets = [ScoreTarget("recall", "bee", 0.95), ScoreTarget("precision", "ant", 0.8)]
    chosen = choose_point(
        make_predictions(6, multi=multi),
        threshold_rule="per_label",
        rule="argmax",
        costs={},
        score_targets=score_targets,
    )
    test = replace(make_predictions(7, multi=multi), operating_point=chosen.point)
    groups = np.arange(len(test)) // 6
    told, grouped = (
        describe_operating_point(chosen, table_of(test), groups=each, confidence=0.95) for each in (None, groups)
    )
    if multi:
        has, given_label = test.targets > 0, test.probabilities >= np.array(chosen.thresholds)
    else:
        has, given_label = (answers[:, None] == np.arange(3) for answers in (test.targets, test.predicted))
        argmax = test.probabilities.argmax(axis=1)
        assert told.num_changed == (argmax != test.predicted).sum() > 0
        assert told.accuracy_of_argmax is not None
        assert told.accuracy_of_argmax.value == (argmax == test.targets).mean()
    recall, precision = told.targets
    assert (recall.class_name, recall.score, recall.target, recall.met) == ("bee", "recall", 0.95, True)
    assert recall.test is not None
    assert recall.test.value == pytest.approx(given_label[has[:, 1], 1].mean())
    assert precision.test is not None
    assert precision.test.value == pytest.approx(has[given_label[:, 0], 0].mean())
    grouped_recall, grouped_precision = (target.test for target in grouped.targets)
    assert grouped_recall is not None and grouped_precision is not None
    assert grouped_recall.value == recall.test.value
    assert grouped_precision.low < precision.test.low


def test_costs_are_told_with_what_they_come_to():
    costs = {"cow": {"ant": 10.0}}
    chosen = choose_point(make_predictions(8), threshold_rule="per_label", rule="argmax", costs=costs, score_targets=[])
    test = replace(make_predictions(9), operating_point=chosen.point)
    told = describe_operating_point(chosen, table_of(test), groups=None, confidence=0.95)
    assert told.rule == "costs" and told.costs == [[0, 1, 1], [1, 0, 1], [10, 1, 0]]
    assert told.mean_cost == pytest.approx(np.array(told.costs)[test.targets, test.predicted].mean())
    assert told.mean_cost is not None and told.mean_cost_of_argmax is not None
    assert told.mean_cost < told.mean_cost_of_argmax
