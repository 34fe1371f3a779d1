"""The judge: what any model brings to be judged goes in; settled values, a typed evaluation and what ships come out.

A run, a run of folds, an ensemble, averaged weights and a foreign file of probabilities all bring a `Submission`. What
is left to choose (temperature, operating point or thresholds, prediction sets, what is out of distribution) is settled
on validation images that the model *as it ships* has not seen; then the test images are scored, once. Knows nothing of
networks, training or files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from linnaeus.config.settings import EvaluateConfig, parse_score_target
from linnaeus.data.manifest import TEST, VALIDATION
from linnaeus.judging.calibration import describe_calibration, fit_temperature
from linnaeus.judging.conformal import describe_sets, learn_sets
from linnaeus.judging.curves import class_curves
from linnaeus.judging.evaluation import Calibration, CalibrationChange, Evaluation, Scores
from linnaeus.judging.image_scores import score_images
from linnaeus.judging.ood import describe_ood, fit_ood_detector
from linnaeus.judging.operating_point import Chosen, choose_point, describe_operating_point
from linnaeus.judging.score_table import ScoreTable, table_of
from linnaeus.judging.scores import evaluate_table
from linnaeus.judging.selective import accuracy_coverage_curve
from linnaeus.judging.slices import find_slices
from linnaeus.metrics.classification import FloatArray, IntArray
from linnaeus.metrics.conformal import LabelSetRule, SetRule
from linnaeus.metrics.ood import OodDetector, feature_distances
from linnaeus.predictions import Predictions, Temperature

Columns = Mapping[str, npt.NDArray[np.generic]]
Features = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Settled:
    """What was chosen on images that the model as it ships has not seen; the bundle carries all of it.

    Attributes:
        temperature: logits are divided by it.
        chosen: the operating point, or thresholds for several labels.
        sets: the rule of prediction sets; None where there were no images to calibrate them on.
        ood: what is out of distribution; None without features.
    """

    temperature: Temperature
    chosen: Chosen
    sets: SetRule | LabelSetRule | None = None
    ood: OodDetector | None = None

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Probabilities from which each of several labels is predicted; None for one label per image."""
        return self.chosen.thresholds

    def applied(self, predictions: Predictions) -> Predictions:
        """The same logits, with this temperature and operating point."""
        return replace(predictions, temperature=self.temperature, operating_point=self.chosen.point)


@dataclass(frozen=True)
class SubmittedFeatures:
    """What the network sees in images, by which those out of distribution are told.

    Attributes:
        reference: float [M, D], of a sample of the training images.
        validation, test: float [N, D], of all validation and all test images, in the order of the predictions.
    """

    reference: Features
    validation: Features
    test: Features


@dataclass(frozen=True)
class Submission:
    """What a model brings to be judged. Either `predictions`, or (of a foreign model) a `table` and `settled`.

    Attributes:
        predictions: of validation and test images, by the model as it ships; logits at temperature 1.
        table: probabilities of the test images.
        settled: where nothing is left to choose: values that were settled before, or that came with a table.
        groups: int64 [N] of `predictions` (or of `table`), images that belong together; None where each is its own.
        columns: what is known of the test images: name -> N values.
        features: where there are any.
        ood: a detector that came with the model; its distances are in `predictions`.
        duplicates: bool [N] of the test images: those with a copy in training or validation.
        omitted: section of the evaluation -> why this model has none.
    """

    predictions: Predictions | None = None
    table: ScoreTable | None = None
    settled: Settled | None = None
    groups: IntArray | None = None
    columns: Columns = field(default_factory=dict)
    features: SubmittedFeatures | None = None
    ood: OodDetector | None = None
    duplicates: npt.NDArray[np.bool_] | None = None
    omitted: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """What the judge found.

    Attributes:
        settled: what the bundle carries.
        predictions: those of the submission with settled values and distances; None for a table.
        evaluation: what evaluation.json says.
    """

    settled: Settled
    predictions: Predictions | None
    evaluation: Evaluation


@dataclass(frozen=True)
class _Answers:
    """Settled answers to one set of images, which of them belong together, and how far each is from training images."""

    table: ScoreTable
    groups: IntArray | None
    distances: FloatArray | None = None


def judge(submission: Submission, config: EvaluateConfig, *, seed: int) -> Judgement:
    """Settle what is left to choose on validation images, then score the test images.

    Args:
        submission: what the model brings.
        config: level of intervals, coverage, rules, targets and costs.
        seed: of resampling, and of the draw that tunes prediction sets.

    Raises DataError where there is no test image.
    """
    brought = submission.predictions
    if brought is None:
        assert submission.table is not None and submission.settled is not None, "a table comes with settled values"
        test = _Answers(submission.table, submission.groups)
        evaluation = _evaluate(submission.settled, submission, config, test=test, seed=seed)
        return Judgement(submission.settled, None, evaluation)
    settled = submission.settled or _settle(brought.of_split(VALIDATION), submission, config, seed=seed)
    if submission.features is not None and settled.ood is not None:
        brought = _with_distances(brought, submission.features, settled.ood)
    predictions = settled.applied(brought)
    test, validation = (_answers(predictions, submission.groups, split) for split in (TEST, VALIDATION))
    evaluation = _evaluate(settled, submission, config, test=test, validation=validation, seed=seed)
    if submission.duplicates is not None and submission.duplicates.any() and not submission.duplicates.all():
        unseen = _answers(predictions, submission.groups, TEST, only=~submission.duplicates)
        scores = _score(unseen, settled, config, seed=seed)
        evaluation = evaluation.model_copy(update={"test_without_duplicates": scores})
    return Judgement(settled, predictions, evaluation)


def _settle(unseen: Predictions, submission: Submission, config: EvaluateConfig, *, seed: int) -> Settled:
    """Fit the temperature, then choose everything else on the calibrated probabilities of `unseen` images."""
    temperature = fit_temperature(unseen)
    calibrated = replace(unseen, temperature=temperature)
    chosen = choose_point(
        calibrated,
        rule=config.decide,
        threshold_rule=config.thresholds,
        costs=config.costs,
        score_targets=[parse_score_target(text) for text in config.targets],
    )
    sets = learn_sets(replace(calibrated, operating_point=chosen.point), coverage=config.coverage, seed=seed)
    ood, features = submission.ood, submission.features
    if features is not None and len(features.reference) > 1 and len(features.validation) > 1:
        ood = fit_ood_detector(
            features.reference, features.validation, in_distribution_fraction=config.in_distribution_fraction
        )
    return Settled(temperature, chosen, sets, ood)


def _with_distances(predictions: Predictions, features: SubmittedFeatures, ood: OodDetector) -> Predictions:
    """With the distance of each validation and test image from the training images."""
    distances = np.full(len(predictions), np.nan, np.float32)
    for split, own in ((VALIDATION, features.validation), (TEST, features.test)):
        distances[predictions.splits == split] = feature_distances(own, reference=ood.reference, centre=ood.centre)
    return replace(predictions, ood_distances=distances)


def _answers(
    predictions: Predictions, groups: IntArray | None, split: int, *, only: npt.NDArray[np.bool_] | None = None
) -> _Answers:
    rows = np.flatnonzero(predictions.splits == split)
    rows = rows if only is None else rows[only]
    own = predictions.take(rows)
    distances = None if own.ood_distances is None else own.ood_distances.astype(np.float64)
    return _Answers(table_of(own), None if groups is None else groups[rows], distances)


def _evaluate(
    settled: Settled,
    submission: Submission,
    config: EvaluateConfig,
    *,
    test: _Answers,
    validation: _Answers | None = None,
    seed: int,
) -> Evaluation:
    level, table, groups = config.confidence, test.table, test.groups
    scores = _score(test, settled, config, seed=seed)
    images = score_images(table, thresholds=settled.thresholds)
    held_out = validation if validation is not None and len(validation.table) else None
    return Evaluation(
        confidence=level,
        bootstrap_samples=config.bootstrap_samples,
        seed=seed,
        test=scores,
        validation=None if held_out is None else _score(held_out, settled, config, seed=seed),
        calibration=_calibration(settled, submission.predictions, test=test, validation=held_out),
        operating_point=describe_operating_point(settled.chosen, table, groups=groups, confidence=level),
        prediction_sets=None
        if settled.sets is None
        else describe_sets(table, settled.sets, groups=groups, confidence=level),
        ood=None
        if settled.ood is None or test.distances is None
        else describe_ood(settled.ood, test.distances, correct=images.correct, groups=groups, confidence=level),
        selective_prediction=accuracy_coverage_curve(
            images.confidence, images.correct, groups=groups, confidence=level
        ),
        slices=find_slices(images.score, submission.columns, groups=groups, confidence=level),
        curves=class_curves(table, scores=scores),
        omitted=dict(submission.omitted),
    )


def _score(answers: _Answers, settled: Settled, config: EvaluateConfig, *, seed: int) -> Scores:
    return evaluate_table(
        answers.table,
        confidence=config.confidence,
        bootstrap_samples=config.bootstrap_samples,
        seed=seed,
        thresholds=settled.thresholds,
        groups=answers.groups,
    )


def _calibration(
    settled: Settled, brought: Predictions | None, *, test: _Answers, validation: _Answers | None
) -> Calibration:
    temperature, classes = settled.temperature, test.table.classes

    def change(answers: _Answers, split: int) -> CalibrationChange:
        raw = None if brought is None else table_of(replace(brought, temperature=1.0).of_split(split))
        return CalibrationChange(
            before=None if raw is None else describe_calibration(raw), after=describe_calibration(answers.table)
        )

    return Calibration(
        temperature=dict(zip(classes, temperature, strict=True)) if isinstance(temperature, tuple) else temperature,
        validation=None if validation is None else change(validation, VALIDATION),
        test=change(test, TEST),
    )
