"""The page of `linnaeus evaluate`: what can be said of predictions alone, without images. Rendering only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from linnaeus.atomic import write_text
from linnaeus.judging.evaluation import ClassScores, Evaluation
from linnaeus.report.embedded import render_page
from linnaeus.report.headline import level_words
from linnaeus.report.page import frame_parts, make_environment
from linnaeus.report.sections import OF_EVALUATION, show_sections
from linnaeus.report.wording import capital, count, figure, images_words, score_words

MOST_CLASSES = 1000
_COLUMNS = ("precision", "recall", "f1", "roc_auc", "average_precision")
_UNBOUNDED = ("log_loss", "brier")
"""Scores that are no fractions."""


@dataclass(frozen=True)
class ClassRow:
    """One class: (0-1 or None where undefined, words) of each score, and its images in words."""

    name: str
    scores: list[tuple[float | None, str]]
    images: str


def write_evaluation_page(path: Path, evaluation: Evaluation, *, title: str) -> None:
    """Write the page, whole or not at all. Raises OutputError if it cannot be written.

    Args:
        evaluation: of a run, or of predictions from a file.
        title: a file or run.
    """
    environment = make_environment()
    test = evaluation.test
    classes = list((test.per_class or {}).items())
    values = {
        "title": title,
        "images": images_words(test.num_images, test.num_groups),
        "grouped": test.num_groups is not None,
        "level": level_words(evaluation.confidence),
        "scores": _score_rows(evaluation),
        "classes": [_class_row(name, row) for name, row in classes[:MOST_CLASSES]],
        "columns": [capital(score_words(column)) for column in _COLUMNS],
        "sections": show_sections(
            OF_EVALUATION,
            evaluation,
            task="multi" if test.several_labels else "single",
            omitted=evaluation.omitted,
        ),
    }
    write_text(path, render_page(environment, "evaluation.html", {**frame_parts(environment), **values}))


def _score_rows(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """(name, value, interval) of every score of the test images, in words."""
    rows = []
    for name, score in evaluation.test.named():
        value, low, high = (
            f"{number:.4f}" if name in _UNBOUNDED else figure(number) for number in (score.value, score.low, score.high)
        )
        rows.append((capital(score_words(name)), value, f"{low}–{high}"))
    return rows


def _class_row(name: str, row: ClassScores) -> ClassRow:
    values = (row.precision, row.recall, row.f1, row.roc_auc, row.average_precision)
    return ClassRow(name, [(value, "—" if value is None else figure(value)) for value in values], count(row.support))
