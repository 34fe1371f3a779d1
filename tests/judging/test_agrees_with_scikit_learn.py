"""evaluation.json against scikit-learn, score by score, on random predictions: temperatures, operating points,
thresholds, classes that no image has, equal probabilities, one label per image and several.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn.calibration import calibration_curve

from linnaeus.judging.evaluation import ClassScores
from linnaeus.judging.score_table import table_of
from linnaeus.judging.scores import evaluate_predictions
from linnaeus.metrics.operating_point import OperatingPoint
from linnaeus.predictions import Predictions

SETTINGS: dict[str, Any] = {"confidence": 0.95, "bootstrap_samples": 100, "seed": 0}
close: dict[str, Any] = {"abs": 1e-12, "rel": 0}


def predictions_of(logits: np.ndarray, targets: np.ndarray, **more: Any) -> Predictions:
    num, names = len(logits), tuple(f"class {k}" for k in range(logits.shape[1]))
    ids = pa.array([str(k) for k in range(num)], pa.large_string())
    return Predictions(ids, logits.astype(np.float32), targets, names, np.full(num, 2, np.int8), "none", **more)


def known(predictions: Predictions, expected: np.ndarray) -> np.ndarray:
    """Its probabilities, which are those expected but for the last digits: a logarithm or a rank could show these."""
    probabilities = predictions.probabilities
    np.testing.assert_allclose(probabilities, expected, rtol=1e-11, atol=1e-15)
    for c in range(expected.shape[1]):
        np.testing.assert_allclose(table_of(predictions).column(c), probabilities[:, c], rtol=1e-11, atol=1e-15)
    return probabilities


def ece(right: np.ndarray, probabilities: np.ndarray) -> float:
    """15 bins of equal width, by scikit-learn's means of each; it leaves out empty ones."""
    fractions, means = calibration_curve(right, probabilities, n_bins=15)
    edges = np.linspace(0, 1, 16)
    counts = np.bincount(np.searchsorted(edges[1:-1], probabilities), minlength=15)
    return float((counts[counts > 0] * np.abs(fractions - means)).sum() / len(right))


@st.composite
def single_cases(draw: st.DrawFn) -> tuple[Predictions, np.ndarray, np.ndarray]:
    """Predictions, their probabilities float64 [N, K], and what they answer, worked out here."""
    num, k = draw(st.integers(3, 80)), draw(st.integers(2, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = rng.normal(size=(num, k)).round(draw(st.sampled_from([0, 1, 5]))) * draw(st.sampled_from([0.5, 3.0, 12.0]))
    targets = rng.integers(0, draw(st.integers(1, k)), num)
    temperature = draw(st.sampled_from([1.0, 0.4, 2.5]))
    probabilities = softmax(logits.astype(np.float32).astype(np.float64) / temperature, axis=1)
    kind = draw(st.sampled_from(["argmax", "weights", "costs"]))
    point, answers = None, probabilities.argmax(axis=1)
    if kind == "weights":
        weights = rng.uniform(0.2, 5, k)
        point, answers = OperatingPoint(weights=tuple(weights)), (weights * probabilities).argmax(axis=1)
    elif kind == "costs":
        costs = rng.uniform(0, 5, (k, k)) * (1 - np.eye(k))
        expected = np.array([[sum(p[j] * costs[j, a] for j in range(k)) for a in range(k)] for p in probabilities])
        point, answers = OperatingPoint(costs=tuple(map(tuple, costs))), expected.argmin(axis=1)
    more = {"temperature": temperature, "operating_point": point}
    return predictions_of(logits, targets.astype(np.int64), **more), probabilities, answers


@settings(max_examples=60, deadline=None)
@given(single_cases())
def test_one_label_per_image(case: tuple[Predictions, np.ndarray, np.ndarray]) -> None:
    predictions, expected_probabilities, answers = case
    probabilities = known(predictions, expected_probabilities)
    targets, k = predictions.targets, probabilities.shape[1]
    found = evaluate_predictions(predictions, **SETTINGS)
    occurring, every = np.unique(np.concatenate([targets, answers])), np.arange(k)
    settled = {"labels": occurring, "average": "macro", "zero_division": 0}
    expected = {
        "accuracy": reference.accuracy_score(targets, answers),
        "balanced_accuracy": reference.recall_score(
            targets, answers, labels=np.unique(targets), average="macro", zero_division=0
        ),
        "macro_precision": reference.precision_score(targets, answers, **settled),
        "macro_f1": reference.f1_score(targets, answers, **settled),
        "log_loss": reference.log_loss(targets, probabilities, labels=every),
        "brier": reference.brier_score_loss(targets, probabilities, labels=every, scale_by_half=False),
        "ece": ece(probabilities.argmax(axis=1) == targets, probabilities.max(axis=1)),
    }
    for top in (3, 5):
        if top < k and len(np.unique(probabilities)) == probabilities.size:
            expected[f"top_{top}_accuracy"] = reference.top_k_accuracy_score(
                targets, probabilities, k=top, labels=every
            )
    for name, value in expected.items():
        assert getattr(found, name).value == pytest.approx(value, **close), name
    matrix = reference.confusion_matrix(targets, answers, labels=every)
    assert found.confusion == matrix.tolist()
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        targets, answers, labels=every, zero_division=0
    )
    assert found.per_class is not None
    for c, own in enumerate(found.per_class.values()):
        assert (own.precision, own.recall, own.f1) == pytest.approx((precision[c], recall[c], f1[c]), **close)
        assert own.support == support[c]
        others = reference.recall_score(targets != c, answers != c, zero_division=0)
        assert own.specificity == pytest.approx(others, **close)
        areas_of(own, targets == c, table_of(predictions).column(c))


def areas_of(own: ClassScores, positive: np.ndarray, scores: np.ndarray) -> None:
    if positive.any() and not positive.all():
        assert own.roc_auc == pytest.approx(reference.roc_auc_score(positive, scores), **close)
    else:
        assert own.roc_auc is None
    expected = reference.average_precision_score(positive, scores) if positive.any() else 0.0
    assert own.average_precision == pytest.approx(expected, **close)


@st.composite
def multi_cases(draw: st.DrawFn) -> tuple[Predictions, np.ndarray, np.ndarray]:
    """Predictions, their probabilities float64 [N, K], and thresholds float64 [K]."""
    num, k = draw(st.integers(3, 80)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = rng.normal(size=(num, k)).round(draw(st.sampled_from([0, 1, 5]))) * draw(st.sampled_from([0.5, 3.0]))
    targets = (rng.random((num, k)) < rng.uniform(0, 0.8, k)).astype(np.uint8)
    temperatures = rng.uniform(0.5, 2, k) if draw(st.booleans()) else np.full(k, draw(st.sampled_from([1.0, 2.0])))
    probabilities = expit(logits.astype(np.float32).astype(np.float64) / temperatures)
    thresholds = rng.uniform(0.1, 0.9, k)
    return predictions_of(logits, targets, temperature=tuple(temperatures.tolist())), probabilities, thresholds


@settings(max_examples=40, deadline=None)
@given(multi_cases())
def test_several_labels_per_image(case: tuple[Predictions, np.ndarray, np.ndarray]) -> None:
    predictions, expected_probabilities, thresholds = case
    probabilities = known(predictions, expected_probabilities)
    targets, answers = predictions.targets, (probabilities >= thresholds).astype(np.uint8)
    found = evaluate_predictions(predictions, thresholds=thresholds.tolist(), **SETTINGS)
    had, either = np.flatnonzero(targets.any(axis=0)), np.flatnonzero((targets | answers).any(axis=0))

    def mean(score: Any, labels: np.ndarray, average: str = "macro") -> float:
        if not len(labels):
            return 0.0
        return float(score(targets, answers, labels=labels, average=average, zero_division=0))

    every = np.arange(targets.shape[1])
    expected = {
        "micro_f1": mean(reference.f1_score, every, "micro"),
        "micro_precision": mean(reference.precision_score, every, "micro"),
        "micro_recall": mean(reference.recall_score, every, "micro"),
        "weighted_f1": mean(reference.f1_score, every, "weighted"),
        "macro_f1": mean(reference.f1_score, either),
        "macro_precision": mean(reference.precision_score, either),
        "macro_recall": mean(reference.recall_score, had),
        "samples_f1": reference.f1_score(targets, answers, average="samples", zero_division=1),
        "subset_accuracy": reference.accuracy_score(targets, answers),
        "hamming_accuracy": 1 - reference.hamming_loss(targets, answers),
        "mean_average_precision": float(
            np.mean([reference.average_precision_score(targets[:, c], probabilities[:, c]) for c in had])
        )
        if len(had)
        else 0.0,
        "log_loss": np.mean([reference.log_loss(targets[:, c], probabilities[:, c], labels=[0, 1]) for c in every]),
        "brier": np.mean((targets - probabilities) ** 2),
        "ece": ece(targets.reshape(-1), probabilities.reshape(-1)),
    }
    for name, value in expected.items():
        assert getattr(found, name).value == pytest.approx(value, **close), name
    assert found.per_class is not None
    for c, own in enumerate(found.per_class.values()):
        t, a = targets[:, c], answers[:, c]
        assert own.precision == pytest.approx(reference.precision_score(t, a, zero_division=0), **close)
        assert own.recall == pytest.approx(reference.recall_score(t, a, zero_division=0), **close)
        assert own.f1 == pytest.approx(reference.f1_score(t, a, zero_division=0), **close)
        assert own.specificity == pytest.approx(reference.recall_score(1 - t, 1 - a, zero_division=0), **close)
        assert (own.false_negatives, own.false_positives) == (int((t > a).sum()), int((a > t).sum()))
        areas_of(own, t > 0, table_of(predictions).column(c))
