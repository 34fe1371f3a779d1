"""The judge: whatever brings predictions is settled and scored in one way, by what ships and by groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from linnaeus.config.settings import EvaluateConfig
from linnaeus.data.manifest import TEST, VALIDATION
from linnaeus.judging.calibration import fit_temperature
from linnaeus.judging.judge import Settled, Submission, SubmittedFeatures, judge
from linnaeus.judging.operating_point import Chosen
from linnaeus.judging.score_table import table_of
from linnaeus.metrics.classification import IntArray
from linnaeus.predictions import Predictions, mean_predictions
from linnaeus.statistics.intervals import wilson_interval

CLASSES = ("ant", "bee", "cat")
CONFIG = EvaluateConfig(bootstrap_samples=200)


def draw(num_images: int, *, seed: int, sharpness: float = 2.0, noise_seed: int | None = None) -> Predictions:
    """Validation and test images, half of each, by a model whose logits are too sharp by a factor."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, num_images)
    noise = np.random.default_rng(seed if noise_seed is None else noise_seed).normal(size=(num_images, 3))
    logits = sharpness * (1.5 * np.eye(3)[targets] + noise)
    return Predictions(
        ids=pa.array([f"{k}.jpg" for k in range(num_images)], pa.large_string()),
        logits=logits.astype(np.float32),
        targets=targets,
        classes=CLASSES,
        splits=np.where(np.arange(num_images) % 2 == 0, VALIDATION, TEST).astype(np.int8),
        manifest_fingerprint="none",
    )


def test_everything_is_settled_on_validation_and_told_of_the_test() -> None:
    brought = draw(400, seed=1)
    found = judge(Submission(brought), CONFIG, seed=0)
    held_out = brought.of_split(VALIDATION)
    assert found.settled.temperature == fit_temperature(held_out)
    assert found.predictions is not None and found.predictions.temperature == found.settled.temperature
    evaluation = found.evaluation
    assert evaluation.test.num_images == evaluation.validation.num_images == 200  # type: ignore[union-attr]
    assert evaluation.calibration.temperature == found.settled.temperature
    assert evaluation.calibration.test.before is not None
    assert evaluation.calibration.test.after.log_loss < evaluation.calibration.test.before.log_loss
    assert evaluation.prediction_sets is not None and evaluation.operating_point is not None
    assert evaluation.ood is None


def test_test_labels_have_no_say_in_what_is_settled() -> None:
    brought = draw(400, seed=2)
    targets = brought.targets.copy()
    targets[brought.splits == TEST] = np.roll(targets[brought.splits == TEST], 1)
    other = replace(brought, targets=targets)
    features = SubmittedFeatures(*(np.random.default_rng(k).normal(size=(200, 4)) for k in range(3)))
    one, two = (judge(Submission(each, features=features), CONFIG, seed=0) for each in (brought, other))
    assert one.settled.temperature == two.settled.temperature and one.settled.sets == two.settled.sets
    assert one.settled.ood is not None and two.settled.ood is not None
    assert one.settled.ood.threshold == two.settled.ood.threshold
    assert one.evaluation.validation == two.evaluation.validation


def test_a_mean_of_models_is_calibrated_as_a_mean() -> None:
    """Members that err differently are each too confident at temperature 1, and their mean is less so: temperatures of
    members, applied to the mean, leave it miscalibrated.
    """
    members = [draw(4000, seed=3, sharpness=2.0, noise_seed=k) for k in range(10, 15)]
    mean = mean_predictions(members, [1.0] * len(members))
    found = judge(Submission(mean), CONFIG, seed=0)
    of_member = fit_temperature(members[0].of_split(VALIDATION))
    assert found.settled.temperature == fit_temperature(mean.of_split(VALIDATION)) != pytest.approx(of_member, rel=0.1)
    told = found.evaluation.calibration.test.after
    as_member = judge(
        Submission(mean, settled=replace(found.settled, temperature=of_member)), CONFIG, seed=0
    ).evaluation.calibration.test.after
    assert told.ece < 0.5 * as_member.ece and told.log_loss < as_member.log_loss


def test_groups_widen_intervals_and_are_counted() -> None:
    brought = draw(400, seed=4)
    groups: IntArray = np.arange(400) // 40
    for k in range(10):  # images of a group are alike: one is as good as all
        rows = np.flatnonzero(groups == k)
        brought.logits[rows] = brought.logits[rows[0]]
        brought.targets[rows] = brought.targets[rows[0]]
    alone = judge(Submission(brought), CONFIG, seed=0).evaluation.test
    together = judge(Submission(brought, groups=groups), CONFIG, seed=0).evaluation.test
    assert alone.accuracy is not None and together.accuracy is not None
    assert together.num_groups == 10 and alone.num_groups is None
    assert together.accuracy.value == alone.accuracy.value
    wide, narrow = (each.high - each.low for each in (together.accuracy, alone.accuracy))
    assert wide > 2 * narrow


def test_a_foreign_table_is_judged_with_the_values_that_it_brings() -> None:
    test = draw(400, seed=5).of_split(TEST)
    settled = Settled(1.0, Chosen("argmax", None, None, ()))
    submission = Submission(table=table_of(test), settled=settled, omitted={"ood": "no features"})
    evaluation = judge(submission, CONFIG, seed=0).evaluation
    right = int((test.predicted == test.targets).sum())
    low, high = wilson_interval(right, len(test), confidence=0.95)
    assert evaluation.test.accuracy is not None and evaluation.validation is None
    assert evaluation.test.accuracy.value == right / len(test)
    assert evaluation.test.accuracy.low == pytest.approx(low)
    assert evaluation.test.accuracy.high == pytest.approx(high)
    assert evaluation.calibration.test.before is None and evaluation.omitted == {"ood": "no features"}


def test_images_with_a_copy_in_training_are_also_left_out() -> None:
    brought = draw(100, seed=6)
    duplicates = np.arange(50) < 20
    evaluation = judge(Submission(brought, duplicates=duplicates), CONFIG, seed=0).evaluation
    assert evaluation.test_without_duplicates is not None and evaluation.test_without_duplicates.num_images == 30
    rest = brought.of_split(TEST).take(np.flatnonzero(~duplicates))
    assert evaluation.test_without_duplicates.accuracy is not None
    assert evaluation.test_without_duplicates.accuracy.value == (rest.predicted == rest.targets).mean()


def test_distances_travel_with_the_predictions() -> None:
    brought = draw(100, seed=7)
    rng = np.random.default_rng(0)
    features = SubmittedFeatures(rng.normal(size=(60, 8)), rng.normal(size=(50, 8)), rng.normal(size=(50, 8)))
    first = judge(Submission(brought, features=features), CONFIG, seed=0)
    assert first.predictions is not None and first.predictions.ood_distances is not None
    assert np.isfinite(first.predictions.ood_distances).all() and first.evaluation.ood is not None
    again = judge(Submission(first.predictions, settled=first.settled), CONFIG, seed=0)
    assert again.evaluation.ood == first.evaluation.ood
