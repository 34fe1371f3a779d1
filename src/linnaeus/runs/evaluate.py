"""Judging what is there already: the predictions of a finished run, or of a model that Linnaeus did not train.

It trains nothing and reads no image. Knows nothing of terminals.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from linnaeus import run_folder
from linnaeus.bundle.facts import read_facts
from linnaeus.bundle.files import FACTS, load_ood_detector
from linnaeus.config.settings import EvaluateConfig, ScoreTarget
from linnaeus.data.appearance import known_columns
from linnaeus.data.manifest import TEST, Manifest
from linnaeus.errors import RunError
from linnaeus.judging.evaluation import Evaluation, read_evaluation
from linnaeus.judging.foreign import open_predictions
from linnaeus.judging.judge import Settled, Submission, judge
from linnaeus.judging.operating_point import Chosen, TargetResult
from linnaeus.predictions import Predictions, groups_of, rows_of
from linnaeus.run_folder import RunDir

_NO_IMAGES = "A file of predictions has no validation images on which it could be computed."
_NO_FEATURES = "A file of predictions has no features of the images."


def evaluate_file(path: Path, *, config: EvaluateConfig, threshold: float, seed: int = 0) -> Evaluation:
    """What evaluation.json says of predictions in a file (see `judging.foreign`).

    Args:
        threshold: probability from which a label is predicted, where images have several.
    """
    with open_predictions(path) as found:
        thresholds = (threshold,) * len(found.table.classes) if found.table.task == "multi" else None
        submission = Submission(
            table=found.table,
            settled=Settled(1.0, Chosen("argmax" if thresholds is None else "f1", None, thresholds, ())),
            groups=found.groups,
            columns=found.columns,
            omitted={"validation": _NO_IMAGES, "prediction_sets": _NO_IMAGES, "ood": _NO_FEATURES},
        )
        return judge(submission, config, seed=seed).evaluation


def evaluate_run(path: Path, *, confidence: float | None = None) -> Evaluation:
    """What evaluation.json says of the predictions of a run or an ensemble, worked out again with what was settled.

    Args:
        confidence: level of intervals and tests; that of the run if not given, as its resamples and its seed.

    Raises RunNotFoundError or RunError for a run that is not there or not finished.
    """
    run = RunDir(path)
    if not run.predictions.is_file() or not (run.model / FACTS).is_file() or not run.evaluation.is_file():
        run_folder.open_existing(path)  # an ensemble has no config.yaml, but a model
        raise RunError(f"The run {path} is not finished. Go on with it first: linnaeus resume {path}")
    earlier = read_evaluation(run.evaluation)
    predictions, manifest = Predictions.load(run.predictions), Manifest.load(run.manifest)
    settled = _settled(run, predictions, earlier)
    test = predictions.of_split(TEST)
    submission = Submission(
        predictions,
        settled=settled,
        groups=groups_of(predictions, manifest),
        columns=known_columns(manifest, rows_of(test, manifest)),
        omitted=earlier.omitted,
    )
    config = EvaluateConfig(
        confidence=earlier.confidence if confidence is None else confidence,
        bootstrap_samples=earlier.bootstrap_samples,
    )
    found = judge(submission, config, seed=earlier.seed).evaluation
    kept = ("test_without_duplicates", "baselines", "balancing", "tta", "ensemble", "seconds")
    return found.model_copy(update={name: getattr(earlier, name) for name in kept})


def _settled(run: RunDir, predictions: Predictions, earlier: Evaluation) -> Settled:
    """What was settled for the model, from its folder; what was asked for single classes, from its evaluation."""
    facts, told = read_facts(run.model / FACTS), earlier.operating_point
    results = (
        ()
        if told is None
        else tuple(
            TargetResult(ScoreTarget(target.score, target.class_name, target.target), target.validation)
            for target in told.targets
        )
    )
    chosen = Chosen(
        rule="argmax" if told is None else told.rule,
        point=predictions.operating_point,
        thresholds=None
        if facts.thresholds is None
        else _in_order(facts.classes, facts.thresholds, predictions.classes),
        results=results,
    )
    return Settled(predictions.temperature, chosen, facts.sets, load_ood_detector(facts, run.model))


def _in_order(classes: tuple[str, ...], values: tuple[float, ...], wanted: tuple[str, ...]) -> tuple[float, ...]:
    return tuple(np.array(values)[[classes.index(name) for name in wanted]].tolist())
