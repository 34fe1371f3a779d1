"""What the pretrained features answer without any training, beside the model: the least that training must beat."""

from __future__ import annotations

from dataclasses import dataclass

from linnaeus.report.facts import ReportFacts
from linnaeus.report.wording import capital, figure, listing, percent_range, plural, score_words

_SCORES = ("accuracy", "micro_f1")
"""The first of these that a set of scores has is shown."""


@dataclass(frozen=True)
class Rival:
    """One row: who answers, what it scores on the test images, and its interval."""

    name: str
    value: str
    interval: str
    share: float


@dataclass(frozen=True)
class BaselinesSection:
    """The rows, the model last; `verdict` says in a sentence whether it beats the others."""

    score: str
    rows: list[Rival]
    verdict: str


def make_baselines_section(facts: ReportFacts) -> BaselinesSection | None:
    """The table and the verdict; None where no features were computed before training."""
    baselines, test = facts.evaluation.get("baselines"), facts.evaluation["test"]
    if not baselines:
        return None
    score = next(key for key in _SCORES if key in test)
    names = {
        key: _voters(entry["num_neighbours"]) if key == "nearest_neighbours" else "nearest class mean"
        for key, entry in baselines.items()
    }
    rows = [(capital(names[key]), entry["test"][score]) for key, entry in baselines.items()]
    rows.append(("This model", test[score]))
    return BaselinesSection(
        score=score_words(score),
        rows=[
            Rival(name, figure(s["value"]), percent_range(s["low"], s["high"]), float(s["value"])) for name, s in rows
        ],
        verdict=_verdict({names[key]: entry["model_minus_baseline"] for key, entry in baselines.items()}),
    )


def _voters(number: int) -> str:
    return "nearest training image" if number == 1 else f"votes of the {plural(number, 'nearest training image')}"


def _verdict(differences: dict[str, dict[str, float]]) -> str:
    """Whether the model beats each baseline beyond chance, on the same test images."""
    unbeaten = [name for name, gap in differences.items() if not (gap["beyond_noise"] and gap["value"] > 0)]
    if unbeaten:
        return (
            f"Training has not clearly paid off: on these images the model is not beyond chance better than "
            f"{listing([f'the {name}' for name in unbeaten], at_most=2)}."
        )
    least = min(differences.values(), key=lambda gap: gap["value"])
    return (
        f"Training has paid off: the model is {figure(least['value'])} points better than the best of these "
        f"({100 * least['low']:.1f} to {100 * least['high']:.1f}), more than chance would do."
    )
