"""Comparing finished runs: their folders in, one table and the tests of every pair out.

Beside the story: it reads what runs have written and trains nothing. Knows nothing of terminals or pages.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from linnaeus import rundir
from linnaeus.bundle.files import FACTS
from linnaeus.data.manifest import TEST
from linnaeus.errors import ConfigError, RunError
from linnaeus.evaluation.side_by_side import Contender, Pairing, compare_all
from linnaeus.predictions import Predictions

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
    """

    contenders: tuple[Contender, ...]
    pairings: tuple[Pairing, ...]
    confidence: float

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores to show, of those that every run has."""
        names = _SINGLE if self.contenders[0].predictions.task == "single" else _SEVERAL
        return tuple(name for name in names if all(name in each.scores for each in self.contenders))

    def to_frame(self) -> pd.DataFrame:
        """One row per run: run, each score with its interval, seconds, num_parameters, num_bytes."""
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


def compare_runs(paths: Sequence[Path], *, confidence: float, seed: int = 0) -> RunComparison:
    """Compare finished runs on their common test images.

    Raises ConfigError for fewer than two or the same twice, RunNotFoundError or RunError for one that is not there or
    not finished, DataError where test images differ, ClassesError where classes do; both name the two runs.
    """
    if len(paths) < 2:
        raise ConfigError("There is nothing to compare with a single run: linnaeus compare runs/a runs/b")
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("The same run is named twice.")
    contenders = tuple(_read(path) for path in paths)
    pairings = compare_all(contenders, confidence=confidence, num_samples=BOOTSTRAP_SAMPLES, seed=seed)
    return RunComparison(contenders, tuple(pairings), confidence)


def _read(path: Path) -> Contender:
    run = rundir.RunDir(path)
    if not run.evaluation.is_file():
        rundir.open_existing(path)  # an ensemble has no config.yaml, but an evaluation
    if not run.evaluation.is_file() or not (run.model / FACTS).is_file():
        raise RunError(f"The run {path} is not finished. Go on with it first: linnaeus resume {path}")
    evaluation = json.loads(run.evaluation.read_text(encoding="utf-8"))
    facts = json.loads((run.model / FACTS).read_text(encoding="utf-8"))
    thresholds = facts["thresholds"]
    return Contender(
        name=str(path),
        predictions=Predictions.load(run.predictions).of_split(TEST),
        thresholds=None if thresholds is None else tuple(thresholds),
        facts={
            "seconds": evaluation["seconds"].get("total"),
            "num_parameters": facts["num_parameters"],
            "num_bytes": sum(file.stat().st_size for file in run.model.glob("*.safetensors")),
        },
        scores={name: score for name, score in evaluation["test"].items() if _is_score(score)},
    )


def _is_score(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"value", "low", "high"}
