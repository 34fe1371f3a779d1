"""Comparing predictions: scikit-learn's scores, images and classes in any order, groups, and what is said of it."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, f1_score

from linnaeus.errors import ClassesError, DataError
from linnaeus.judging.comparison import compare_predictions
from linnaeus.predictions import Predictions

SETTINGS: dict[str, Any] = {"groups": None, "confidence": 0.95, "num_samples": 400, "seed": 0}


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
    assert (found.test.only_first, found.test.only_second) == (
        ((one == targets) & (two != targets)).sum(),
        ((two == targets) & (one != targets)).sum(),
    )
    assert found.significant
    assert "is significantly worse (p = " in found.describe(first="A", second="B")


def test_two_runs_of_the_same_answers_are_not_different():
    predictions = single([0, 1, 2, 1], [0, 1, 1, 1])
    found = compare_predictions(predictions, predictions, **SETTINGS)
    assert found.test.p_value == 1
    assert "they are not significantly different (p = 1)" in found.describe(first="A", second="B")


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
    assert found.score == "micro_f1" and found.test.name == "permutation" and found.test.only_first is None
    assert found.significant and found.difference.value > 0
    assert "is significantly better (p = " in found.describe(first="A", second="B")


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


@pytest.mark.parametrize("multi", [False, True])
def test_images_of_one_group_count_once_whatever_the_order_of_the_second(multi):
    rng = np.random.default_rng(4)
    targets, groups = np.repeat(rng.integers(0, 3, 12), 10), np.repeat(np.arange(12), 10)
    one, two = targets.copy(), targets.copy()
    one[groups < 4] = (one[groups < 4] + 1) % 3  # four scenes that only the second gets right
    if multi:
        first, second = (predictions_of(np.eye(3, dtype=np.uint8)[targets], 4 * np.eye(3)[k] - 2) for k in (one, two))
    else:
        first, second = single(targets, one), single(targets, two)
    settings: dict[str, Any] = {**SETTINGS, "groups": groups}
    found = compare_predictions(first, second, **settings)
    assert compare_predictions(first, second, **SETTINGS).significant and not found.significant
    assert found.test.p_value == 2 / 2**4 and found.num_groups == 12
    assert found.paired_difference.p_value == found.test.p_value and not found.paired_difference.significant
    assert compare_predictions(first, second.take(rng.permutation(120)), **settings) == found
    said = found.describe(first="A", second="B")
    assert "permutation test" in said and "On 120 images in 12 groups they are not significantly different" in said
