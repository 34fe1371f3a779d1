"""What balancing did, against numbers counted by hand and scikit-learn."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score

from linnaeus.judging.balancing import balance_effect
from linnaeus.judging.evaluation import Balancing, WithAndWithout
from linnaeus.predictions import Predictions

CLASSES = ("often", "sometimes", "seldom")
COUNTS = np.array([100, 30, 5])
SETTINGS: dict[str, Any] = {"groups": None, "seed": 0}


def answers(targets, logits):
    ids = pa.array([f"{i}.png" for i in range(len(targets))], pa.large_string())
    splits = np.ones(len(targets), np.int8)
    return Predictions(ids, np.asarray(logits, np.float32), targets, CLASSES, splits, "0" * 16)


def test_errors_that_move_from_rare_to_common_classes_are_counted_on_both_sides():
    targets = np.array([0, 0, 0, 0, 0, 1, 1, 2, 2, 2])
    plain = np.array([0, 0, 0, 0, 0, 1, 0, 0, 0, 2])
    balanced = np.array([0, 0, 0, 2, 2, 1, 0, 2, 2, 2])
    found = balance_effect(
        answers(targets, np.eye(3)[balanced]), answers(targets, np.eye(3)[plain]), train_counts=COUNTS, **SETTINGS
    )
    rare, common = found.rare, found.common
    assert rare.classes == ["seldom"] and common.classes == ["often"]
    assert (rare.train_images, rare.num_images, common.num_images) == (5, 3, 5)
    assert rare.recall is not None
    assert rare.recall.model_dump() == {"without": pytest.approx(1 / 3), "with_balancing": 1.0}
    assert rare.precision is not None
    assert rare.precision.model_dump() == {"without": 1.0, "with_balancing": pytest.approx(3 / 5)}
    assert (rare.only_with, rare.only_without, rare.p_value) == (2, 0, 0.5)
    assert common.recall is not None
    assert common.recall.model_dump() == {"without": 1.0, "with_balancing": pytest.approx(3 / 5)}
    assert common.precision is not None
    assert common.precision.model_dump() == {"without": pytest.approx(5 / 8), "with_balancing": pytest.approx(3 / 4)}
    assert (common.only_with, common.only_without) == (0, 2)
    for name, predicted in (("without", plain), ("with_balancing", balanced)):
        assert getattr(found.scores["accuracy"], name) == pytest.approx((predicted == targets).mean())
        expected = balanced_accuracy_score(targets, predicted)
        assert getattr(found.scores["balanced_accuracy"], name) == pytest.approx(expected)
        assert getattr(found.scores["macro_f1"], name) == pytest.approx(f1_score(targets, predicted, average="macro"))
    assert Balancing.model_validate_json(found.model_dump_json()) == found


def test_a_class_without_validation_images_has_no_recall():
    targets = np.array([0, 1, 1])
    same = answers(targets, np.eye(3)[targets])
    assert balance_effect(same, same, train_counts=COUNTS, **SETTINGS).rare.recall == WithAndWithout(
        without=None, with_balancing=None
    )


def test_of_several_labels_the_ranking_counts():
    rng = np.random.default_rng(0)
    labels = (rng.random((80, 3)) < [0.7, 0.3, 0.1]).astype(np.uint8)
    plain, balanced = rng.normal(size=(2, 80, 3)) + labels
    found = balance_effect(answers(labels, balanced), answers(labels, plain), train_counts=COUNTS, **SETTINGS)
    for name, logits in (("without", plain), ("with_balancing", balanced)):
        each = average_precision_score(labels, logits.astype(np.float32), average=None)
        assert getattr(found.rare.average_precision, name) == pytest.approx(each[2])
        assert getattr(found.common.average_precision, name) == pytest.approx(each[0])
        assert getattr(found.scores["mean_average_precision"], name) == pytest.approx(each.mean())


def test_images_of_one_scene_that_change_together_are_one_change():
    targets = np.repeat([0, 2], [60, 40])
    groups = np.arange(100) // 10
    balanced = targets.copy()
    plain = np.where(groups >= 8, 0, targets)  # two scenes of the rare class, 20 images
    pair = answers(targets, np.eye(3)[balanced]), answers(targets, np.eye(3)[plain])
    alone = balance_effect(*pair, train_counts=COUNTS, groups=None, seed=0).rare
    grouped = balance_effect(*pair, train_counts=COUNTS, groups=groups, seed=0).rare
    assert (alone.only_with, grouped.only_with) == (20, 20)
    assert alone.p_value is not None and alone.p_value < 1e-5 and grouped.p_value == 0.5
