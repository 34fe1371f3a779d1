"""Comparing finished runs: their folders in, one table and the tests of every pair out.

On the test images, or on others where a choice is to be made of it. Beside the story: it reads what runs have written
and trains nothing. Knows nothing of terminals or pages.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from linnaeus import run_folder
from linnaeus.bundle.files import FACTS
from linnaeus.config.resolved import read_resolved
from linnaeus.data.manifest import TEST, VALIDATION, Manifest
from linnaeus.errors import ConfigError, RunError
from linnaeus.judging.pairwise import Contender, Pairing, compare_all
from linnaeus.judging.scores import evaluate_predictions
from linnaeus.predictions import Predictions, groups_of

Images = Literal["test", "validation", "out-of-fold"]
"""Which images runs are compared on; "out-of-fold": all of training and validation, by classifiers that have not seen
them."""
BOOTSTRAP_SAMPLES = 1000
_SINGLE = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "calibration_error")
_SEVERAL = ("micro_f1", "macro_f1", "mean_average_precision", "exact_match", "log_loss", "calibration_error")


@dataclass(frozen=True)
class RunComparison:
    """Runs side by side.

    Attributes:
        contenders: in the order in which they were named.
        pairings: of every two of them.
        confidence: level of intervals and tests.
        images: on which they are compared.
    """

    contenders: tuple[Contender, ...]
    pairings: tuple[Pairing, ...]
    confidence: float
    images: Images

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores to show, of those that every run has."""
        names = _SINGLE if self.contenders[0].predictions.task == "single" else _SEVERAL
        return tuple(name for name in names if all(name in each.scores for each in self.contenders))

    @property
    def images_in_words(self) -> str:
        """Such as "test images"."""
        return f"{self.images} images"

    def to_frame(self) -> pd.DataFrame:
        """One row per run: run, each score with its interval, seconds, seconds_at_hand, num_parameters, num_bytes.

        `seconds_at_hand` is what earlier runs spent on features that this one found in the cache.
        """
        rows: list[dict[str, Any]] = []
        for each in self.contenders:
            row: dict[str, Any] = {"run": each.name}
            for name in self.score_names:
                score = each.scores[name]
                row |= {name: score["value"], f"{name}_low": score["low"], f"{name}_high": score["high"]}
            rows.append({**row, **each.facts})
        return pd.DataFrame(rows)

    def pairs_to_frame(self) -> pd.DataFrame:
        """One row per pair: better, worse, score, difference, low, high, corrected p value, whether it is real."""
        return pd.DataFrame(
            [
                {
                    "better": pair.better,
                    "worse": pair.worse,
                    "score": pair.comparison.score,
                    "difference": pair.comparison.difference.value,
                    "low": pair.comparison.difference.interval.low,
                    "high": pair.comparison.difference.interval.high,
                    "p_value": pair.p_value,
                    "real": pair.real,
                }
                for pair in self.pairings
            ]
        )


def compare_runs(paths: Sequence[Path], *, confidence: float, images: Images = "test", seed: int = 0) -> RunComparison:
    """Compare finished runs on images that all of them were judged by.

    Raises ConfigError for fewer than two or the same twice, RunNotFoundError or RunError for one that is not there, not
    finished or without such predictions, DataError where images differ, ClassesError where classes do; both name the
    two runs.
    """
    if len(paths) < 2:
        raise ConfigError("There is nothing to compare with a single run: linnaeus compare runs/a runs/b")
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("The same run is named twice.")
    contenders = tuple(_read(path, images, confidence=confidence) for path in paths)
    pairings = compare_all(contenders, confidence=confidence, num_samples=BOOTSTRAP_SAMPLES, seed=seed)
    return RunComparison(contenders, tuple(pairings), confidence, images)


def _read(path: Path, images: Images, *, confidence: float) -> Contender:
    run = run_folder.RunDir(path)
    if not run.evaluation.is_file():
        run_folder.open_existing(path)  # an ensemble has no config.yaml, but an evaluation
    if not run.evaluation.is_file() or not (run.model / FACTS).is_file():
        raise RunError(f"The run {path} is not finished. Go on with it first: linnaeus resume {path}")
    evaluation = json.loads(run.evaluation.read_text(encoding="utf-8"))
    facts = json.loads((run.model / FACTS).read_text(encoding="utf-8"))
    thresholds = None if facts["thresholds"] is None else tuple(facts["thresholds"])
    if images == "out-of-fold":
        predictions = _out_of_fold(run)
        scores = _scores(predictions, run, thresholds, confidence=confidence)
    else:
        predictions = Predictions.load(run.predictions).of_split({"test": TEST, "validation": VALIDATION}[images])
        scores = evaluation[images]
    return Contender(
        name=str(path),
        predictions=predictions,
        thresholds=thresholds,
        facts={
            "seconds": evaluation["seconds"].get("total"),
            "seconds_at_hand": evaluation["seconds"].get("features_at_hand", 0.0),
            "num_parameters": facts["num_parameters"],
            "num_bytes": sum(file.stat().st_size for file in run.model.glob("*.safetensors")),
        },
        scores={name: score for name, score in scores.items() if _is_score(score)},
    )


def _out_of_fold(run: run_folder.RunDir) -> Predictions:
    if not run.out_of_fold.is_file():
        raise RunError(
            f"The run {run.path} has no out-of-fold predictions. Train with --folds 5, or compare on the images of "
            "validation: --on validation"
        )
    config, history = read_resolved(run.config), pd.read_csv(run.history)
    kept = set(history.loc[history["kept"], "phase"])
    by_heads = config.data.folds is None or config.data.fold_training == "head"
    if by_heads and not kept <= {phase.name for phase in config.phases if phase.optimizer == "lbfgs"}:
        raise RunError(
            f"The out-of-fold predictions of the run {run.path} are those of the head before the network was "
            "fine-tuned, not of its model. Compare on the images of validation: --on validation"
        )
    return Predictions.load(run.out_of_fold)


def _scores(
    predictions: Predictions, run: run_folder.RunDir, thresholds: tuple[float, ...] | None, *, confidence: float
) -> dict[str, Any]:
    return evaluate_predictions(
        predictions,
        confidence=confidence,
        bootstrap_samples=BOOTSTRAP_SAMPLES,
        seed=0,
        thresholds=thresholds,
        groups=groups_of(predictions, Manifest.load(run.manifest)),
    )


def _is_score(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"value", "low", "high"}
