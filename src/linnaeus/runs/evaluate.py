"""Evaluating what is there already: the predictions of a finished run, or of a model that Linnaeus did not train.

Beside the story: it trains nothing and reads no image. Knows nothing of terminals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from linnaeus import run_folder
from linnaeus.bundle.facts import read_facts
from linnaeus.bundle.files import FACTS
from linnaeus.config.settings import EvaluateConfig
from linnaeus.data.appearance import known_columns
from linnaeus.data.manifest import TEST, Manifest
from linnaeus.errors import RunError
from linnaeus.judging.calibration import describe_calibration
from linnaeus.judging.conformal import describe_sets
from linnaeus.judging.curves import class_curves
from linnaeus.judging.foreign import open_predictions
from linnaeus.judging.score_table import ScoreTable, table_of
from linnaeus.judging.scores import evaluate_table
from linnaeus.judging.selective import accuracy_coverage_curve
from linnaeus.judging.slices import find_slices
from linnaeus.judging.trust import judge_images
from linnaeus.metrics.classification import IntArray
from linnaeus.metrics.conformal import LabelSetRule, SetRule
from linnaeus.predictions import Predictions, groups_of, rows_of
from linnaeus.run_folder import RunDir


def evaluate_file(path: Path, *, config: EvaluateConfig, threshold: float, seed: int = 0) -> dict[str, Any]:
    """What evaluation.json says of predictions in a file (see `evaluation.foreign`).

    Args:
        threshold: probability from which a label is given, where images have several.
    """
    with open_predictions(path) as found:
        thresholds = (threshold,) * len(found.table.classes) if found.table.task == "multi" else None
        return evaluate(
            found.table, groups=found.groups, columns=found.columns, thresholds=thresholds, config=config, seed=seed
        )


def evaluate_run(path: Path, *, config: EvaluateConfig, seed: int = 0) -> dict[str, Any]:
    """What evaluation.json says of the test predictions of a run or an ensemble, worked out again.

    Raises RunNotFoundError or RunError for a run that is not there or not finished.
    """
    run = RunDir(path)
    if not run.predictions.is_file() or not (run.model / FACTS).is_file():
        run_folder.open_existing(path)  # an ensemble has no config.yaml, but a model
        raise RunError(f"The run {path} is not finished. Go on with it first: linnaeus resume {path}")
    facts = read_facts(run.model / FACTS)
    test = Predictions.load(run.predictions).of_split(TEST)
    manifest = Manifest.load(run.manifest)
    groups = groups_of(test, manifest)
    return evaluate(
        table_of(test),
        groups=groups,
        columns=known_columns(manifest, rows_of(test, manifest)),
        thresholds=facts.thresholds,
        sets=facts.sets,
        config=config,
        seed=seed,
    )


def evaluate(
    table: ScoreTable,
    *,
    groups: IntArray | None,
    columns: dict[str, npt.NDArray[Any]],
    thresholds: tuple[float, ...] | None,
    sets: SetRule | LabelSetRule | None = None,
    config: EvaluateConfig,
    seed: int,
) -> dict[str, Any]:
    """Scores, calibration, selective prediction, slices and curves of one table of test predictions, as plain JSON;
    what became of prediction sets too, where there is a rule for them.
    """
    scores = evaluate_table(
        table,
        confidence=config.confidence,
        bootstrap_samples=config.bootstrap_samples,
        seed=seed,
        thresholds=thresholds,
        groups=groups,
    )
    of_answers, correct, of_images = judge_images(table, thresholds=thresholds)
    settings: dict[str, Any] = {"groups": groups, "confidence": config.confidence}
    kept = {} if sets is None else {"prediction_sets": describe_sets(table, sets, **settings).model_dump(mode="json")}
    return {
        "format": 1,
        "test": scores.model_dump(mode="json", exclude_none=True),
        "calibration": {"test": {"after": describe_calibration(table).model_dump(mode="json")}},
        **kept,
        "selective_prediction": accuracy_coverage_curve(of_answers, correct, **settings).model_dump(mode="json"),
        "slices": find_slices(of_images, columns, **settings).model_dump(mode="json"),
        "curves": {name: curves.model_dump(mode="json") for name, curves in class_curves(table, scores=scores).items()},
    }
