"""Scores of one split, as evaluation.json has them."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from linnaeus.errors import DataError
from linnaeus.judging.scores import evaluate_predictions
from linnaeus.predictions import Predictions

SETTINGS: dict[str, Any] = {"confidence": 0.95, "bootstrap_samples": 200, "seed": 0}


def make_predictions(targets: list[int], predicted: list[int], classes: tuple[str, ...]) -> Predictions:
    return Predictions(
        ids=pa.array([f"{i}.png" for i in range(len(targets))], pa.large_string()),
        logits=np.eye(len(classes), dtype=np.float32)[np.array(predicted, dtype=np.int64)] * 3,
        targets=np.array(targets, np.int64),
        classes=classes,
        splits=np.full(len(targets), 2, np.int8),
        manifest_fingerprint="0" * 16,
    )


def test_the_shape_is_the_documented_one_and_is_plain_json():
    found = evaluate_predictions(make_predictions([0, 0, 1, 1], [0, 1, 1, 1], ("a", "b", "c")), **SETTINGS)
    plain = found.model_dump(mode="json", exclude_none=True)
    assert list(plain) == [
        "accuracy",
        "balanced_accuracy",
        "macro_precision",
        "macro_f1",
        "log_loss",
        "brier",
        "ece",
        "per_class",
        "confusion",
        "num_images",
    ]
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert found.confusion == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert (found.num_images, found.num_groups) == (4, None)
    assert found.score("accuracy").value == 0.75
    assert found.per_class is not None
    assert list(found.per_class) == ["a", "b", "c"]
    assert found.per_class["b"].model_dump(exclude_none=True) == pytest.approx(
        {
            "precision": 2 / 3,
            "recall": 1.0,
            "specificity": 1 / 2,
            "f1": 4 / 5,
            "support": 2,
            "roc_auc": 3 / 4,
            "average_precision": 2 / 3,
        }
    )
    assert found.per_class["c"].roc_auc is None


def test_every_interval_holds_its_value():
    rng = np.random.default_rng(0)
    for _ in range(20):
        targets = rng.integers(0, 5, 40)
        predicted = np.where(rng.random(40) < 0.7, targets, rng.integers(0, 5, 40))
        found = evaluate_predictions(make_predictions(list(targets), list(predicted), tuple("vwxyz")), **SETTINGS)
        for name in ("accuracy", "balanced_accuracy", "macro_precision", "macro_f1", "top_3_accuracy"):
            assert 0 <= getattr(found, name).low <= getattr(found, name).value <= getattr(found, name).high <= 1
        for name in ("log_loss", "brier", "ece"):
            assert 0 <= getattr(found, name).low <= getattr(found, name).value <= getattr(found, name).high


def test_the_same_seed_gives_the_same_scores():
    predictions = make_predictions([0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 0, 1], ("a", "b"))
    assert evaluate_predictions(predictions, **SETTINGS) == evaluate_predictions(predictions, **SETTINGS)


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match="no images to evaluate"):
        evaluate_predictions(make_predictions([], [], ("a", "b")), **SETTINGS)
