"""Selective prediction: how right the model is where it answers only when it is confident."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from linnaeus.judging.evaluation import Evaluation, SelectivePoint
from linnaeus.judging.selective import LEAST_ANSWERED
from linnaeus.report.wording import percent
from linnaeus.report.xy_chart import Trace, fraction_chart

_MOST_GOALS = 3
_FEW_POINTS = 4
_FLOORS = (0.0, 0.5, 0.8, 0.9)
"""Where the vertical axis may begin."""


@dataclass(frozen=True)
class SelectiveSection:
    """(title, chart) of the accuracy-coverage curve, and what it takes to reach higher accuracies."""

    charts: list[tuple[str, Markup]]
    goals: list[str]


def make_selective(evaluation: Evaluation) -> SelectiveSection | None:
    """The accuracy-coverage curve of the test images; None without points."""
    points = evaluation.selective_prediction.points
    if not points:
        return None
    several = evaluation.test.several_labels
    outcome = "have every label right" if several else "be right"
    goals = [
        f"Predicting only the most confident {percent(goal.coverage)} of the images (confidence of at least "
        f"{goal.threshold:.2f}) would {outcome} for {percent(goal.accuracy)} of them."
        for goal in evaluation.selective_prediction.goals[:_MOST_GOALS]
    ]
    chart = _chart(points, num_images=evaluation.test.num_images, several=several)
    return SelectiveSection([("Accuracy-coverage curve", chart)], goals)


def _chart(points: list[SelectivePoint], *, num_images: int, several: bool) -> Markup:
    least = LEAST_ANSWERED / num_images  # the accuracy on fewer images is luck
    shown = [point for point in points if point.coverage >= least] or points[-1:]
    floor = max(value for value in _FLOORS if value <= min(point.accuracy for point in shown))
    name = "all right" if several else "right"
    curve = Trace(
        name, "validation", [(point.coverage, point.accuracy) for point in shown], dots=len(shown) < _FEW_POINTS
    )
    what = "images with every label right" if several else "right answers"
    return fraction_chart(
        [curve],
        key="chart-selective",
        title=f"Accuracy-coverage curve: fraction of {what} when only the most confident are given",
        x_name="coverage: images answered",
        floor=floor,
    )
