"""Scores against scikit-learn and against numbers worked out by hand."""

import warnings

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.metrics import classification as ours


@st.composite
def answers(draw):
    """Targets, predictions and K, often with classes that occur on one side only or nowhere."""
    num_classes = draw(st.integers(2, 9))
    present = draw(st.integers(1, num_classes))
    guessed = draw(st.integers(1, num_classes))
    length = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    targets = rng.choice(num_classes, present, replace=False)[rng.integers(0, present, length)]
    predicted = rng.choice(num_classes, guessed, replace=False)[rng.integers(0, guessed, length)]
    return targets, predicted, num_classes


@settings(max_examples=200, deadline=None)
@given(answers())
def test_every_score_equals_scikit_learn_with_absent_classes(case):
    targets, predicted, num_classes = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn remarks on classes seen only among predictions
        expected = {
            "accuracy": reference.accuracy_score(targets, predicted),
            "balanced_accuracy": reference.balanced_accuracy_score(targets, predicted),
            "macro_precision": reference.precision_score(targets, predicted, average="macro", zero_division=0),
            "macro_f1": reference.f1_score(targets, predicted, average="macro", zero_division=0),
        }
    confusion = ours.confusion_matrix(targets, predicted, num_classes)
    found = {
        "accuracy": ours.accuracy_score(targets, predicted, num_classes),
        "balanced_accuracy": ours.balanced_accuracy_score(targets, predicted, num_classes),
        "macro_precision": ours.macro_precision(ours.class_counts(confusion)),
        "macro_f1": ours.macro_f1_score(targets, predicted, num_classes),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


@settings(max_examples=100, deadline=None)
@given(answers())
def test_every_class_score_equals_scikit_learn(case):
    targets, predicted, num_classes = case
    labels = np.arange(num_classes)
    confusion = ours.confusion_matrix(targets, predicted, num_classes)
    assert (confusion == reference.confusion_matrix(targets, predicted, labels=labels)).all()
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        targets, predicted, labels=labels, zero_division=0
    )
    scores = ours.per_class_scores(confusion)
    for name, expected in (("precision", precision), ("recall", recall), ("f1", f1), ("support", support)):
        np.testing.assert_allclose(scores[name], expected, atol=1e-12, err_msg=name)
    for k in labels:
        others = targets != k
        right = (predicted[others] != k).mean() if others.any() else 0.0
        assert scores["specificity"][k] == pytest.approx(right, abs=1e-12)


def test_scores_of_a_small_matrix_are_those_worked_out_by_hand():
    targets = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    predicted = np.array([0, 0, 0, 1, 1, 1, 2, 2, 0, 0])
    confusion = ours.confusion_matrix(targets, predicted, 3)
    assert confusion.tolist() == [[3, 1, 0], [0, 2, 1], [2, 0, 1]]
    assert ours.accuracy_score(targets, predicted, 3) == pytest.approx(6 / 10)
    assert ours.balanced_accuracy_score(targets, predicted, 3) == pytest.approx((3 / 4 + 2 / 3 + 1 / 3) / 3)
    assert ours.macro_precision(ours.class_counts(confusion)) == pytest.approx((3 / 5 + 2 / 3 + 1 / 2) / 3)
    assert ours.macro_f1_score(targets, predicted, 3) == pytest.approx((6 / 9 + 4 / 6 + 2 / 5) / 3)
    assert ours.per_class_scores(confusion)["specificity"] == pytest.approx([4 / 6, 6 / 7, 6 / 7])


def test_a_class_that_is_only_predicted_lowers_precision_but_not_balanced_accuracy():
    targets, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2])
    assert ours.balanced_accuracy_score(targets, predicted, 4) == pytest.approx((1 + 1 / 2) / 2)
    assert ours.macro_precision(ours.class_counts(ours.confusion_matrix(targets, predicted, 4))) == pytest.approx(
        (1 + 1 + 0) / 3
    )


def test_leading_axes_are_scored_one_by_one():
    rng = np.random.default_rng(0)
    matrices = rng.integers(0, 5, (6, 4, 4))
    together = ours.macro_f1(ours.class_counts(matrices))
    assert together.shape == (6,)
    for one, matrix in zip(together, matrices, strict=True):
        assert one == ours.macro_f1(ours.class_counts(matrix))


@pytest.mark.parametrize(
    ("targets", "predicted"), [([0, 3], [0, 0]), ([0, 0], [0, -1]), ([0, 1, 1], [0, 1]), ([[0]], [[0]])]
)
def test_positions_outside_the_classes_and_unequal_lengths_are_refused(targets, predicted):
    with pytest.raises(ValueError, match=r"outside|equally long"):
        ours.confusion_matrix(np.array(targets), np.array(predicted), 3)
