"""After training: the one look at the test split, and all that follows from it.

Between training and the finished folder: kept weights in; predictions, scores, the bundle and the report out. What is
chosen here (temperature, operating point, thresholds, prediction sets) is chosen by images of validation or of held-out
folds. Trains nothing, and knows nothing of how the weights came about.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from linnaeus import atomic
from linnaeus.config.settings import RunConfig
from linnaeus.data.appearance import known_columns, measure_appearance
from linnaeus.data.manifest import SPLITS, TEST, VALIDATION
from linnaeus.judging.curves import class_curves
from linnaeus.judging.score_table import table_of
from linnaeus.judging.scores import evaluate_predictions
from linnaeus.judging.settle import describe_settled
from linnaeus.judging.trust import describe_trust
from linnaeus.models import Classifier
from linnaeus.predictions import Predictions, groups_of, rows_of
from linnaeus.run.alternatives import describe_alternatives
from linnaeus.run.answers import HeldOut, predict_held_out
from linnaeus.run.write import deliver
from linnaeus.run_folder import RunDir
from linnaeus.training.checkpoint import Position
from linnaeus.training.job import Job


def judge(
    run: RunDir, job: Job, classifiers: Sequence[Classifier], position: Position, settled: dict[str, Any]
) -> None:
    """Score the kept weights, or those of all folds together, on validation and, this once, on test; write scores,
    bundle and report.

    Args:
        settled: what was settled before training, as the run folder keeps it.
    """
    clock = time.perf_counter()
    held_out = predict_held_out(run, job, classifiers, position)
    for line in held_out.settled.chosen.describe():
        job.progress.say(line)
    held_out.predictions.save(run.predictions)
    scores = _scores(job, held_out, leaked=settled.get("leaked_test_ids", []))
    described = _described(job, held_out, test_scores=scores["test"])
    described |= describe_alternatives(job, held_out, settled)
    seconds = {"prepare": settled["seconds"], "train": position.seconds, "evaluate": time.perf_counter() - clock}
    seconds = {name: round(value, 2) for name, value in seconds.items()}
    seconds["total"] = round(sum(seconds.values()), 2)
    if earlier := round(sum(position.earlier_seconds.values()), 2):
        seconds["features_at_hand"] = earlier
    evaluation = {"format": 1, **scores, **described, "seconds": seconds}
    atomic.write_json(run.evaluation, evaluation)
    deliver(run, job, held_out, position, evaluation=evaluation, settled=settled)


def _scores(job: Job, held_out: HeldOut, *, leaked: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of test and validation images, and of the test images that have no copy among those of training."""
    config, thresholds, predictions = job.config, held_out.settled.thresholds, held_out.predictions
    groups = groups_of(predictions, job.manifest)
    scores = {
        SPLITS[split]: _score(predictions.of_split(split), config, thresholds, groups[predictions.splits == split])
        for split in (TEST, VALIDATION)
    }
    test, groups = held_out.test, groups[predictions.splits == TEST]
    unseen = np.flatnonzero(~np.isin(test.ids.to_pylist(), leaked))
    if 0 < len(unseen) < len(test):
        scores["test_without_duplicates"] = _score(test.take(unseen), config, thresholds, groups[unseen])
    return scores


def _score(
    predictions: Predictions,
    config: RunConfig,
    thresholds: tuple[float, ...] | None,
    groups: npt.NDArray[np.int64],
) -> dict[str, Any]:
    return evaluate_predictions(
        predictions,
        confidence=config.evaluate.confidence,
        bootstrap_samples=config.evaluate.bootstrap_samples,
        seed=config.seed,
        thresholds=thresholds,
        groups=groups,
    )


def _described(job: Job, held_out: HeldOut, *, test_scores: dict[str, Any]) -> dict[str, Any]:
    """What else evaluation.json says of the test: what became of what was settled, limits, slices and curves."""
    raw, confidence = held_out.raw, job.config.evaluate.confidence
    tested, table = rows_of(held_out.test, job.manifest), table_of(held_out.test)
    return {
        **describe_settled(
            held_out.settled, validation=raw.of_split(VALIDATION), test=raw.of_split(TEST), confidence=confidence
        ),
        **describe_trust(
            held_out.trust,
            table,
            features=held_out.test_features,
            columns=measure_appearance(job.images, tested) | known_columns(job.manifest, tested),
            thresholds=held_out.settled.thresholds,
            confidence=confidence,
        ),
        "curves": class_curves(table, scores=test_scores),
    }
