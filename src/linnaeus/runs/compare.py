"""Comparing finished runs: their folders in, one table and the tests of every pair out.

On the test images, or on others where a choice is to be made of it. Beside the story: it reads what runs have written
and trains nothing. Knows nothing of terminals or pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from linnaeus import run_folder
from linnaeus.bundle.facts import read_facts
from linnaeus.bundle.files import FACTS
from linnaeus.config.resolved import read_resolved
from linnaeus.data.manifest import TEST, VALIDATION, Manifest
from linnaeus.errors import ConfigError, RunError
from linnaeus.judging.evaluation import Score, read_evaluation
from linnaeus.judging.pairwise import Candidate, Pairing, compare_all
from linnaeus.judging.scores import evaluate_predictions
from linnaeus.predictions import Predictions, groups_of
from linnaeus.run_folder import RunDir

ComparedSplit = Literal["test", "validation", "out-of-fold"]
"""Which images runs are compared on; "out-of-fold": all of training and validation, by classifiers that have not seen
them."""
BOOTSTRAP_SAMPLES = 1000
_SINGLE = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece")
_SEVERAL = ("micro_f1", "macro_f1", "mean_average_precision", "subset_accuracy", "log_loss", "ece")


@dataclass(frozen=True)
class RunComparison:
    """Runs side by side.

    Attributes:
        candidates: in the order in which they were named.
        pairings: of every two of them.
        confidence: level of intervals and tests.
        images: on which they are compared.
    """

    candidates: tuple[Candidate, ...]
    pairings: tuple[Pairing, ...]
    confidence: float
    split: ComparedSplit

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores to show, of those that every run has."""
        names = _SINGLE if self.candidates[0].predictions.task == "single" else _SEVERAL
        return tuple(name for name in names if all(name in each.scores for each in self.candidates))

    @property
    def images_in_words(self) -> str:
        """Such as "test images"."""
        return f"{self.split} images"

    def to_frame(self) -> pd.DataFrame:
        """One row per run: run, each score with its interval, `seconds`, `seconds_of_cached_features`, `num_parameters`
        and `num_bytes`.

        `seconds_of_cached_features` is what earlier runs spent on features that this one found in the cache.
        """
        rows: list[dict[str, Any]] = []
        for each in self.candidates:
            row: dict[str, Any] = {"run": each.name}
            for name in self.score_names:
                score = each.scores[name]
                row |= {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}
            rows.append({**row, **each.facts})
        return pd.DataFrame(rows)

    def pairs_to_frame(self) -> pd.DataFrame:
        """One row per pair: `better`, `worse`, `score`, `difference`, `low`, `high`, the corrected `p_value`, and
        whether it is `significant`.
        """
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
                    "significant": pair.significant,
                }
                for pair in self.pairings
            ]
        )


def compare_runs(
    paths: Sequence[Path], *, confidence: float, split: ComparedSplit = "test", seed: int = 0
) -> RunComparison:
    """Compare finished runs on images that all of them were judged by; images that belong together stay together.

    Raises ConfigError for fewer than two or the same twice, RunNotFoundError or RunError for one that is not there, not
    finished or without such predictions, DataError where images differ, ClassesError where classes do; both name the
    two runs.
    """
    if len(paths) < 2:
        raise ConfigError("There is nothing to compare with a single run: linnaeus compare runs/a runs/b")
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("The same run is named twice.")
    candidates = tuple(_read(path, split, confidence=confidence) for path in paths)
    groups = groups_of(candidates[0].predictions, Manifest.load(RunDir(paths[0]).manifest))
    pairings = compare_all(candidates, groups=groups, confidence=confidence, num_samples=BOOTSTRAP_SAMPLES, seed=seed)
    return RunComparison(candidates, tuple(pairings), confidence, split)


def _read(path: Path, split: ComparedSplit, *, confidence: float) -> Candidate:
    run = RunDir(path)
    if not run.evaluation.is_file() or not (run.model / FACTS).is_file():
        run_folder.open_existing(path)  # an ensemble has no config.yaml, but an evaluation
        raise RunError(f"The run {path} is not finished. Go on with it first: linnaeus resume {path}")
    evaluation, facts = read_evaluation(run.evaluation), read_facts(run.model / FACTS)
    if split == "out-of-fold":
        predictions = _out_of_fold(run)
    else:
        predictions = Predictions.load(run.predictions).of_split({"test": TEST, "validation": VALIDATION}[split])
    return Candidate(
        name=str(path),
        predictions=predictions,
        thresholds=facts.thresholds,
        facts={
            "seconds": evaluation.seconds.total,
            "seconds_of_cached_features": evaluation.seconds.cached_features or 0.0,
            "num_parameters": facts.num_parameters,
            "num_bytes": sum(file.stat().st_size for file in run.model.glob("*.safetensors")),
        },
        scores=_scores(predictions, run, facts.thresholds, confidence=confidence),
    )


def _out_of_fold(run: RunDir) -> Predictions:
    if not run.out_of_fold.is_file():
        raise RunError(
            f"The run {run.path} has no out-of-fold predictions. Train with --folds 5, or compare on the images of "
            "validation: --split validation"
        )
    config, history = read_resolved(run.config), pd.read_csv(run.history)
    kept = set(history.loc[history["kept"], "phase"])
    by_heads = config.data.folds is None or config.data.fold_training == "head"
    if by_heads and not kept <= {phase.name for phase in config.phases if phase.optimizer == "lbfgs"}:
        raise RunError(
            f"The out-of-fold predictions of the run {run.path} are those of the head before the network was "
            "fine-tuned, not of its model. Compare on the images of validation: --split validation"
        )
    return Predictions.load(run.out_of_fold)


def _scores(
    predictions: Predictions, run: RunDir, thresholds: tuple[float, ...] | None, *, confidence: float
) -> dict[str, Score]:
    scores = evaluate_predictions(
        predictions,
        confidence=confidence,
        bootstrap_samples=BOOTSTRAP_SAMPLES,
        seed=0,
        thresholds=thresholds,
        groups=groups_of(predictions, Manifest.load(run.manifest)),
    )
    return dict(scores.named())
