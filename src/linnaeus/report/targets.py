"""The operating point: how probabilities become answers, and whether scores that were asked for are reached."""

from __future__ import annotations

from dataclasses import dataclass

from linnaeus.judging.evaluation import Evaluation, OperatingPointEvaluation, Score, TargetOutcome
from linnaeus.report.wording import percent, percent_range, plural

_UNKNOWN = "—"


@dataclass(frozen=True)
class TargetRow:
    """One score that was asked for: in words, what validation and test images say, and whether it was met."""

    target: str
    validation: str
    met: bool
    test: str


@dataclass(frozen=True)
class TargetsSection:
    """The operating point in sentences, and a row for each target."""

    sentences: list[str]
    rows: list[TargetRow]


def make_targets(evaluation: Evaluation) -> TargetsSection | None:
    """The operating point; None where answers are simply the most probable class and nothing was asked for."""
    point = evaluation.operating_point
    if point is None or not (point.targets or point.num_changed is not None):
        return None
    return TargetsSection(_sentences(point), [_row(target) for target in point.targets])


def _sentences(point: OperatingPointEvaluation) -> list[str]:
    found = []
    if point.num_changed is not None and point.accuracy_of_argmax is not None:
        found.append(
            f"The operating point, chosen on validation images, changes {plural(point.num_changed, 'prediction')} on "
            f"test images. The most probable class would be right for {percent(point.accuracy_of_argmax.value)} of "
            "all test images."
        )
    if point.mean_cost is not None and point.mean_cost_of_argmax is not None:
        found.append(
            f"The mean cost of a prediction is {point.mean_cost:.3f}; with the most probable class it would be "
            f"{point.mean_cost_of_argmax:.3f}."
        )
    return found


def _row(target: TargetOutcome) -> TargetRow:
    return TargetRow(
        f"{target.score} of {target.class_name} at least {percent(target.target)}",
        _UNKNOWN if target.validation is None else percent(target.validation),
        target.met,
        _UNKNOWN if target.test is None else _score_words(target.test),
    )


def _score_words(score: Score) -> str:
    return f"{percent(score.value)} ({percent_range(score.low, score.high)})"
