"""What the pretrained features answer without any training, beside the model: the least that training must beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from linnaeus.judging.evaluation import Evaluation, PairedDifference, Score
from linnaeus.report.wording import capital, figure, listing, p_words, percent_range, plural, score_words


@dataclass(frozen=True)
class ScoreRow:
    """One row: who answers, what it scores on the test images, and its interval; `fraction` 0-1 is the score."""

    name: str
    value: str
    interval: str
    fraction: float


@dataclass(frozen=True)
class BaselinesSection:
    """The rows, the model last; `verdict` says in a sentence whether it beats the others."""

    score: str
    rows: list[ScoreRow]
    verdict: str


def make_baselines_section(evaluation: Evaluation) -> BaselinesSection | None:
    """The table and the verdict; None where no features were computed before training."""
    baselines, test = evaluation.baselines, evaluation.test
    if not baselines:
        return None
    names = {
        key: "nearest class mean" if entry.num_neighbours is None else _voters(entry.num_neighbours)
        for key, entry in baselines.items()
    }
    rows = [score_row(capital(names[key]), entry.test.score(test.main)) for key, entry in baselines.items()]
    return BaselinesSection(
        score=score_words(test.main),
        rows=[*rows, score_row("This model", test.score(test.main))],
        verdict=_verdict({names[key]: entry.model_minus_baseline for key, entry in baselines.items()}),
    )


def score_row(name: str, score: Score) -> ScoreRow:
    """A score as a row of a table."""
    return ScoreRow(name, figure(score.value), percent_range(score.low, score.high), score.value)


def _voters(number: int) -> str:
    return "nearest training image" if number == 1 else f"votes of the {plural(number, 'nearest training image')}"


def _verdict(differences: Mapping[str, PairedDifference]) -> str:
    """Whether the model is significantly better than each baseline, on the same test images."""
    unbeaten = [name for name, gap in differences.items() if not (gap.significant and gap.value > 0)]
    if unbeaten:
        return (
            "Training has no significant benefit: on these images the model is not significantly better than "
            f"{listing([f'the {name}' for name in unbeaten], at_most=2)}."
        )
    least = min(differences.values(), key=lambda gap: gap.value)
    return (
        f"Training helps: the model is {figure(least.value)} points better than the best of these "
        f"({100 * least.low:.1f} to {100 * least.high:.1f}), significantly so ({p_words(least.p_value)})."
    )
