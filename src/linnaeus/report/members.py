"""The runs that answer together, each with its weight and its own test score, beside their joint answer."""

from __future__ import annotations

from dataclasses import dataclass

from linnaeus.report.baselines import Rival
from linnaeus.report.facts import ReportFacts
from linnaeus.report.wording import figure, percent_range, score_words


@dataclass(frozen=True)
class Members:
    """(rival, weight in words) of every run, the joint answer last; `how` and `verdict` are sentences."""

    score: str
    how: str
    rows: list[tuple[Rival, str]]
    verdict: str


def make_members(facts: ReportFacts) -> Members | None:
    """The table; None for a run that was trained by itself."""
    ensemble = facts.evaluation.get("ensemble")
    if not ensemble:
        return None
    score, rows = ensemble["score"], []
    for path, share in ensemble["weights"].items():
        rows.append((path, ensemble["members"][path][score], f"{100 * share:.0f} %" if share else "left out"))
    rows.append(("Together", facts.evaluation["test"][score], ""))
    return Members(
        score=score_words(score),
        how=ensemble["how"],
        rows=[
            (Rival(name, figure(s["value"]), percent_range(s["low"], s["high"]), float(s["value"])), weight)
            for name, s, weight in rows
        ],
        verdict=ensemble["verdict"],
    )
