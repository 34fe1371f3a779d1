"""ROC and precision-recall curves of each class against the rest: areas of all, points of as many as can be looked at.

Reads one column of probabilities at a time. Knows nothing of how they came about.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnaeus.judging.evaluation import ClassCurves, PrecisionRecallCurve, RocCurve, Scores
from linnaeus.judging.score_table import ScoreTable
from linnaeus.metrics.curves import precision_recall_points, ranked_counts, ranking_areas, roc_points

MOST_CLASSES, MOST_POINTS = 30, 100
_DIGITS = 5


def class_areas(table: ScoreTable) -> dict[str, list[float | None]]:
    """Areas under both curves, one per class; None where there are no images of the class, or no others."""
    roc: list[float | None] = []
    precision: list[float | None] = []
    for k in range(len(table.classes)):
        area, average = ranking_areas(_positive(table, k), table.column(k))
        roc.append(area)
        # 0 and not None for a label that no image has, as every other fraction of nothing
        precision.append(average or 0.0)
    return {"roc_auc": roc, "average_precision": precision}


def class_curves(table: ScoreTable, *, scores: Scores) -> dict[str, ClassCurves]:
    """The curves by class, thinned to 100 points each; of more than 30 classes those with the lowest average precision.

    Args:
        scores: of the same images, as from `evaluate_table`.
    """
    each = scores.per_class or {}
    known = [k for k, name in enumerate(table.classes) if each[name].support]
    known.sort(key=lambda k: each[table.classes[k]].average_precision)
    curves = {}
    for k in sorted(known[:MOST_CLASSES]):
        counts = ranked_counts(_positive(table, k), table.column(k))
        false_positives, found, at = roc_points(counts, at_most=MOST_POINTS)
        recall, precision, cut = precision_recall_points(counts, at_most=MOST_POINTS)
        curves[table.classes[k]] = ClassCurves(
            roc=RocCurve(
                false_positive_rate=_short(false_positives),
                true_positive_rate=_short(found),
                threshold=[None if np.isinf(value) else round(float(value), _DIGITS) for value in at],
            ),
            precision_recall=PrecisionRecallCurve(
                recall=_short(recall), precision=_short(precision), threshold=_short(cut)
            ),
        )
    return curves


def _positive(table: ScoreTable, k: int) -> npt.NDArray[np.bool_]:
    return np.asarray(table.targets == k if table.task == "single" else table.targets[:, k] > 0, np.bool_)


def _short(values: np.ndarray) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]
