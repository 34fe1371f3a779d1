"""How well probabilities rank the images of each class: ROC and precision-recall curves, the worst of them strong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from linnaeus.judging.evaluation import ClassScores, Evaluation
from linnaeus.report.headline import SMALL_CLASS
from linnaeus.report.wording import figure, plural, shorten
from linnaeus.report.xy_chart import Trace, fraction_chart

NUM_STRONG = 3
LONGEST_NAME = 9
_STYLES = ("validation", "train", "third")


@dataclass(frozen=True)
class Ranking:
    """Two charts and what is said of them."""

    charts: list[tuple[str, Markup]]
    words: str


def make_ranking(evaluation: Evaluation) -> Ranking | None:
    """The curves of the test images; None without any."""
    curves, scores = evaluation.curves, evaluation.test.per_class or {}
    if not curves:
        return None
    few = {name for name in curves if scores[name].support < SMALL_CLASS}
    order = sorted(curves, key=lambda name: (name in few, scores[name].average_precision))
    strong = order[:NUM_STRONG]
    roc, precision_recall = [], []
    for name in reversed(order):
        place, own = order.index(name), curves[name]
        points = list(zip(own.roc.false_positive_rate, own.roc.true_positive_rate, strict=True))
        roc.append(_trace(name, place, points, scores[name]))
        points = list(zip(own.precision_recall.recall, own.precision_recall.precision, strict=True))
        precision_recall.append(_trace(name, place, points, scores[name]))
    charts = [
        (
            "ROC curves",
            fraction_chart(
                roc,
                key="chart-roc",
                title="ROC curves: true positive rate (recall) by false positive rate",
                x_name="false positive rate",
                diagonal=True,
            ),
        ),
        (
            "Precision-recall curves",
            fraction_chart(
                precision_recall,
                key="chart-precision-recall",
                title="Precision-recall curves: precision by recall",
                x_name="recall",
            ),
        ),
    ]
    areas = [row.roc_auc for row in scores.values() if row.roc_auc is not None]
    averages = [row.average_precision for row in scores.values() if row.support]
    # A curve for each class that has images, or for the thirty worst of them
    one, many = ("label", "labels") if evaluation.test.several_labels else ("class", "classes")
    shown = plural(len(order), one, many) if len(order) < len(averages) else f"every {one}"
    mean = (
        f"The area under the ROC curve (ROC AUC) is {figure(float(np.mean(areas)))} on average, and " if areas else ""
    )
    middle = f"average precision {figure(float(np.mean(averages)))}"
    words = f"{mean}{middle if mean else middle.capitalize()}. There is a line for {shown}"
    if len(order) > len(strong):
        enough = f" of those with {SMALL_CLASS} test images and more" if few and len(few) < len(order) else ""
        words += f"; those of the lowest average precision{enough} are drawn strong"
    return Ranking(charts, f"{words}.")


def _trace(name: str, place: int, points: list[tuple[float, float]], row: ClassScores) -> Trace:
    """The curve of a class; the first places are drawn strong, with a name at the right end."""
    if points[0][0] > points[-1][0]:
        points.reverse()
    area = "" if row.roc_auc is None else f", ROC AUC {figure(row.roc_auc)}"
    about = f"{name}: average precision {figure(row.average_precision)}{area}"
    if place < NUM_STRONG:
        return Trace(shorten(name, at_most=LONGEST_NAME), _STYLES[place], points, about=about)
    return Trace("", "rest", points, about=about)
