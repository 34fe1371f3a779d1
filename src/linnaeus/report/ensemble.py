"""The runs that answer together, each with its weight and its own test score, beside their joint answer."""

from __future__ import annotations

from dataclasses import dataclass

from linnaeus.judging.evaluation import Evaluation
from linnaeus.report.baselines import ScoreRow, score_row
from linnaeus.report.wording import score_words


@dataclass(frozen=True)
class EnsembleSection:
    """(row, weight in words) of every run, the joint answer last; `method` and `verdict` are sentences."""

    score: str
    method: str
    rows: list[tuple[ScoreRow, str]]
    verdict: str


def make_ensemble(evaluation: Evaluation) -> EnsembleSection | None:
    """The table; None for a run that was trained by itself."""
    ensemble, test = evaluation.ensemble, evaluation.test
    if ensemble is None:
        return None
    taken = sum(weight > 0 for weight in ensemble.weights.values())
    rows = [
        (score_row(path, ensemble.members[path]), f"{100 * weight:.0f} %" if weight else "left out")
        for path, weight in ensemble.weights.items()
    ]
    return EnsembleSection(
        score=score_words(test.main),
        method=f"The {ensemble.method} of {taken} of {len(ensemble.weights)} runs are averaged.",
        rows=[*rows, (score_row("Together", test.score(test.main)), "")],
        verdict=ensemble.verdict,
    )
