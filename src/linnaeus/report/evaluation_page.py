"""The page of `linnaeus evaluate`: what can be said of predictions alone, without images. Rendering only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linnaeus.atomic import write_text
from linnaeus.report.embedded import render_page
from linnaeus.report.limits import slices_of, sureness_of
from linnaeus.report.page import frame_parts, make_environment
from linnaeus.report.ranking import ranking_of
from linnaeus.report.wording import capital, count, figure, score_words

MOST_CLASSES = 1000
_UNBOUNDED = ("log_loss", "brier")


def write_evaluation_page(path: Path, evaluation: Mapping[str, Any], *, title: str, level: float) -> None:
    """Write the page, whole or not at all. Raises OutputError if it cannot be written.

    Args:
        evaluation: as `linnaeus.runs.evaluate.evaluate` makes it.
        title: a file or run.
        level: of the intervals, such as 0.95.
    """
    environment = make_environment()
    test = evaluation["test"]
    rows = []
    for name, score in test.items():
        if isinstance(score, Mapping) and set(score) == {"value", "low", "high"}:
            write = (lambda v: f"{v:.4f}") if name in _UNBOUNDED else figure
            rows.append(
                (capital(score_words(name)), write(score["value"]), f"{write(score['low'])}–{write(score['high'])}")
            )
    columns = ("precision", "recall", "f1", "roc_auc", "average_precision")
    classes = [
        (name, [(row[c], "—" if row[c] is None else figure(row[c])) for c in columns], count(row["support"]))
        for name, row in list(test["per_class"].items())[:MOST_CLASSES]
    ]
    values = {
        "title": title,
        "num_images": count(test["num_images"]),
        "level": f"{100 * level:g} %",
        "scores": rows,
        "classes": classes,
        "columns": [capital(score_words(column)) for column in columns],
        "sureness": sureness_of(evaluation),
        "has_sets": "prediction_sets" in evaluation,
        "ranking": ranking_of(evaluation),
        "slices": slices_of(evaluation),
    }
    write_text(path, render_page(environment, "evaluation.html", {**frame_parts(environment), **values}))
