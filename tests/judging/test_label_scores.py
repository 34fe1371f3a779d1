"""Several labels scored with intervals: values by scikit-learn, resampling image by image, coverage by simulation."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, hamming_loss

from linnaeus.judging import label_scores, score_table
from linnaeus.judging.evaluation import Scores
from linnaeus.judging.label_scores import resampled_scores, tally_labels
from linnaeus.judging.score_table import table_of
from linnaeus.judging.scores import evaluate_predictions
from linnaeus.metrics.multilabel import label_counts, mean_average_precision, micro_f1
from linnaeus.predictions import Predictions
from linnaeus.statistics import resample

THRESHOLDS = (0.4, 0.6, 0.5)


def draw(num: int, *, seed: int, strength: float = 1.5) -> Predictions:
    rng = np.random.default_rng(seed)
    targets = (rng.random((num, 3)) < [0.5, 0.3, 0.15]).astype(np.uint8)
    logits = rng.normal(strength * (2.0 * targets - 1), 1.5).round(2).astype(np.float32)
    ids = pa.array([str(k) for k in range(num)], pa.large_string())
    return Predictions(ids, logits, targets, ("sky", "tree", "N/A"), np.full(num, 2, np.int8), "none")


def evaluate(predictions: Predictions, **changes: object) -> Scores:
    settings = {"confidence": 0.95, "bootstrap_samples": 200, "seed": 0, "thresholds": THRESHOLDS, **changes}
    return evaluate_predictions(predictions, **settings)  # type: ignore[arg-type]


def test_values_are_scikit_learns() -> None:
    predictions = draw(150, seed=0)
    scores = evaluate(predictions)
    targets, given = predictions.targets, predictions.probabilities >= np.array(THRESHOLDS)
    for average in ("micro", "macro", "weighted", "samples"):
        expected = f1_score(targets, given, average=average, zero_division=1 if average == "samples" else 0)
        assert getattr(scores, f"{average}_f1").value == pytest.approx(expected, abs=1e-12)
    assert scores.score("subset_accuracy").value == pytest.approx(accuracy_score(targets, given), abs=1e-12)
    assert scores.score("hamming_accuracy").value == pytest.approx(1 - hamming_loss(targets, given), abs=1e-12)
    expected = average_precision_score(targets, predictions.logits, average="macro")
    assert scores.score("mean_average_precision").value == pytest.approx(expected, abs=1e-12)
    assert scores.per_class is not None
    assert scores.per_class["tree"].threshold == 0.6
    wrong = np.bincount((targets != given).sum(axis=1))
    assert scores.wrong_labels is not None
    assert scores.wrong_labels == wrong.tolist() and sum(scores.wrong_labels) == 150
    plain = scores.model_dump(mode="json")
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_the_seed_decides_the_intervals_and_they_hold_the_value() -> None:
    predictions = draw(80, seed=1)
    assert evaluate(predictions) == evaluate(predictions)
    assert evaluate(predictions) != evaluate(predictions, seed=1)
    for _, score in evaluate(predictions).named():
        assert 0 <= score.low <= score.value <= score.high <= 1
    wide = evaluate(predictions).score("micro_f1")
    narrow = evaluate(predictions, confidence=0.5).score("micro_f1")
    assert wide.high - wide.low > narrow.high - narrow.low


def test_a_resample_is_scored_like_a_test_set_of_the_images_drawn() -> None:
    predictions = draw(60, seed=2)
    table = table_of(predictions)
    weights = label_scores._draw(60, groups=None, num_samples=25, seed=7)
    tally = tally_labels(table, thresholds=np.array(THRESHOLDS), weights=weights)
    found = resampled_scores(table, tally, weights)
    assert len(found) == 11
    drawn = np.random.default_rng(7).integers(0, 60, (25, 60))
    for number, rows in enumerate(drawn):
        expected = evaluate(predictions.take(rows))
        for name, values in found.items():
            assert values[number] == pytest.approx(getattr(expected, name).value, abs=1e-12), name


def test_chunks_of_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = draw(40, seed=3)
    whole = evaluate(predictions)
    for module, name in ((resample, "CELLS_AT_ONCE"), (label_scores, "_CELLS_AT_ONCE"), (score_table, "CELLS_AT_ONCE")):
        monkeypatch.setattr(module, name, 7 * 40)
    for name, score in evaluate(predictions).named():
        # The same resamples, whose sums may be rounded in another order.
        assert [*score.model_dump().values()] == pytest.approx([*getattr(whole, name).model_dump().values()], abs=1e-14)


def test_intervals_cover_the_truth_about_95_times_in_100() -> None:
    """200 test sets of 120 images; the truth is measured on 400,000."""
    many = draw(400_000, seed=4)
    thresholds = np.array(THRESHOLDS)
    has_label = many.targets.astype(np.uint8)
    counts = label_counts(has_label, many.given_labels(thresholds))
    truth = {
        "micro_f1": float(micro_f1(counts)),
        "mean_average_precision": mean_average_precision(has_label, many.logits),
        "subset_accuracy": float((many.targets == many.given_labels(thresholds)).all(axis=1).mean()),
    }
    covered = dict.fromkeys(truth, 0)
    for trial in range(200):
        found = evaluate(many.take(np.arange(120) + 120 * trial), bootstrap_samples=150, seed=trial)
        for name, value in truth.items():
            covered[name] += getattr(found, name).low <= value <= getattr(found, name).high
    assert all(0.89 <= number / 200 <= 0.99 for number in covered.values()), covered


def test_without_a_single_mistake_the_interval_still_has_a_width() -> None:
    predictions = draw(50, seed=5, strength=40.0)
    scores = evaluate(predictions)
    assert scores.score("micro_f1").value == 1.0
    assert (
        0.8 < scores.score("micro_f1").low < 1.0 and scores.score("macro_f1").low < scores.score("subset_accuracy").low
    )


def test_labels_that_no_image_has_do_not_make_a_score_fail() -> None:
    predictions = draw(30, seed=6)
    predictions.targets[:, 2] = 0
    scores = evaluate(predictions)
    assert scores.per_class is not None
    assert scores.per_class["N/A"].average_precision == 0.0
    expected = average_precision_score(predictions.targets[:, :2], predictions.logits[:, :2], average="macro")
    assert scores.score("mean_average_precision").value == pytest.approx(expected, abs=1e-12)


def test_perfect_answers_to_images_in_groups_are_worth_no_more_than_the_groups() -> None:
    predictions = draw(50, seed=5, strength=40.0)
    groups = np.arange(50) // 10
    alone, grouped = evaluate(predictions), evaluate(predictions, groups=groups)
    assert grouped.num_groups == 5 and alone.num_groups is None
    for name in ("micro_f1", "subset_accuracy", "mean_average_precision"):
        assert getattr(grouped, name).low < 0.5 < getattr(alone, name).low, name
