"""How well probabilities rank the images of each class: ROC and precision-recall curves, the worst of them strong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from linnaeus.report.facts import ReportFacts
from linnaeus.report.headline import SMALL_CLASS
from linnaeus.report.wording import figure, plural, shorten
from linnaeus.report.xy_chart import Trace, share_chart

NUM_STRONG = 3
LONGEST_NAME = 9
_STYLES = ("validation", "train", "third")


@dataclass(frozen=True)
class Ranking:
    """Two charts and what is said of them."""

    charts: list[tuple[str, Markup]]
    words: str


def make_ranking(facts: ReportFacts) -> Ranking | None:
    """The curves of a run."""
    return ranking_of(facts.evaluation)


def ranking_of(evaluation: Mapping[str, Any]) -> Ranking | None:
    """`make_ranking` from what evaluation.json holds; None where it has no curves."""
    curves, scores = evaluation.get("curves"), evaluation["test"]["per_class"]
    if not curves:
        return None
    few = {name for name in curves if scores[name]["support"] < SMALL_CLASS}
    order = sorted(curves, key=lambda name: (name in few, scores[name]["average_precision"]))
    strong = order[:NUM_STRONG]
    recalls = [_trace(n, order, curves[n]["roc"], "false_alarm_rate", "recall", evaluation) for n in reversed(order)]
    precisions = [
        _trace(n, order, curves[n]["precision_recall"], "recall", "precision", evaluation) for n in reversed(order)
    ]
    charts = [
        (
            "ROC curves",
            share_chart(
                recalls,
                key="chart-roc",
                title="Share of the images of a class that are found, by the share of false alarms",
                x_name="false alarms among images of other classes",
                diagonal=True,
            ),
        ),
        (
            "Precision and recall",
            share_chart(
                precisions,
                key="chart-precision-recall",
                title="Share of right answers among those given, by the share of a class that is found",
                x_name="images of the class that are found",
            ),
        ),
    ]
    areas = [row["roc_auc"] for row in scores.values() if row.get("roc_auc") is not None]
    averages = [row["average_precision"] for row in scores.values() if row["support"]]
    # A curve for each class that has images, or for the thirty worst of them
    one, many = ("label", "labels") if "micro_f1" in evaluation["test"] else ("class", "classes")
    shown = plural(len(order), one, many) if len(order) < len(averages) else f"every {one}"
    mean = f"The area under the ROC curve is {figure(float(np.mean(areas)))} on average, and " if areas else ""
    middle = f"average precision {figure(float(np.mean(averages)))}"
    words = f"{mean}{middle if mean else middle.capitalize()}. There is a line for {shown}"
    if len(order) > len(strong):
        enough = f" of those with {SMALL_CLASS} test images and more" if few and len(few) < len(order) else ""
        words += f"; those of the lowest average precision{enough} are drawn strong"
    return Ranking(charts, f"{words}.")


def _trace(
    name: str, order: list[str], curve: Mapping[str, Any], x: str, y: str, evaluation: Mapping[str, Any]
) -> Trace:
    place, row = order.index(name), evaluation["test"]["per_class"][name]
    points = list(zip(curve[x], curve[y], strict=True))
    if points[0][0] > points[-1][0]:  # names stand at the right end
        points.reverse()
    area = "" if row.get("roc_auc") is None else f", ROC area {figure(row['roc_auc'])}"
    about = f"{name}: average precision {figure(row['average_precision'])}{area}"
    if place < NUM_STRONG:
        return Trace(shorten(name, at_most=LONGEST_NAME), _STYLES[place], points, about=about)
    return Trace("", "rest", points, about=about)
