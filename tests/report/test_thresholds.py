"""The counts behind the threshold slider, against counting anew."""

import dataclasses
import types

import numpy as np
import pyarrow as pa
from tests.report.reading import present

from linnaeus.config.settings import EvaluateConfig
from linnaeus.judging.judge import Settled, Submission, judge
from linnaeus.judging.operating_point import Chosen
from linnaeus.predictions import Predictions
from linnaeus.report.thresholds import STEPS, make_thresholds


def facts_of(num: int = 200, labels: int = 4, split: int = 1):
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, (num, labels)).astype(np.uint8)
    logits = (generator.normal(size=(num, labels)) + targets).astype(np.float32)
    ids = pa.array([str(k) for k in range(num)], pa.large_string())
    names = tuple(f"l{k}" for k in range(labels))
    predictions = Predictions(ids, logits, targets, names, np.full(num, split, np.int8), "")
    thresholds = tuple(0.305 + 0.1 * k for k in range(labels))
    settled = Settled(1.0, Chosen("f1", None, thresholds, ()))
    both = dataclasses.replace(predictions, splits=np.full(num, 2, np.int8))
    evaluation = judge(Submission(both, settled=settled), EvaluateConfig(bootstrap_samples=100), seed=0).evaluation
    return types.SimpleNamespace(predictions=predictions, evaluation=evaluation)


def test_counts_at_every_threshold_are_those_of_counting_anew():
    facts = facts_of()
    predictions = facts.predictions
    section = make_thresholds(facts)
    assert section is not None
    for k, row in enumerate(section.rows):
        for step in range(STEPS + 1):
            predicted = predictions.probabilities[:, k] >= step / STEPS
            assert row.true_positives[step] == (predicted & (predictions.targets[:, k] == 1)).sum()
            assert row.false_positives[step] == (predicted & (predictions.targets[:, k] == 0)).sum()
        given = predictions.probabilities[:, k] >= 0.305 + 0.1 * k  # between two steps of the slider
        true_positives = (given & (predictions.targets[:, k] == 1)).sum()
        assert row.chosen == (true_positives, given.sum() - true_positives)
        assert row.precision == f"{100 * true_positives / given.sum():.1f}"
        assert row.recall == f"{100 * true_positives / predictions.targets[:, k].sum():.1f}"


def test_only_validation_images_are_counted():
    assert make_thresholds(facts_of(split=2)) is None
    both = facts_of()
    test = dataclasses.replace(both.predictions, splits=np.array([1, 2] * 100, np.int8))
    both.predictions = test
    assert present(make_thresholds(both)).rows[0].true_positives[0] == int(test.targets[::2, 0].sum())
