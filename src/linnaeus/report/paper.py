"""Figures and tables of a run for a paper: SVG files that stand alone, the same as PNG, and tables as CSV and LaTeX.

Beside the page, from the same charts and numbers. Rendering only.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from linnaeus.atomic import write_text, write_whole
from linnaeus.judging.evaluation import ClassScores, Evaluation, Slice
from linnaeus.report.calibration import make_calibration
from linnaeus.report.co_occurrence import make_co_occurrence
from linnaeus.report.curves import make_curves_section
from linnaeus.report.facts import ReportFacts
from linnaeus.report.grid_chart import bar_chart, grid_chart
from linnaeus.report.ranking import make_ranking
from linnaeus.report.selective import make_selective
from linnaeus.report.tables import make_matrix
from linnaeus.report.wording import score_words

MOST_BARS = 60
_ZOOM = 3
"""Pixels of a PNG per unit of the SVG: 440 units in a column of 8.5 cm are about 400 dots per inch."""
_INK, _GREEN, _RED = "#333", "#1b6b52", "#b4552d"
_STYLE = f"""
text {{ font-family: sans-serif; font-size: 12px; fill: {_INK} }} .end {{ text-anchor: end }}
.middle {{ text-anchor: middle }} .light {{ fill: #fff }} .own {{ fill: {_GREEN} }} .other {{ fill: {_RED} }}
.grid {{ stroke: #ddd }} .phase, .kept {{ stroke: #999; stroke-dasharray: 2 3 }} .hover {{ fill: none }}
.line {{ fill: none; stroke-width: 2 }} .train.line {{ stroke: #777; stroke-dasharray: 5 4 }}
.validation.line {{ stroke: {_GREEN} }} .third.line {{ stroke: {_RED}; stroke-dasharray: 2 3 }}
.validation.name {{ fill: {_GREEN} }} .third.name {{ fill: {_RED} }} .train.name {{ fill: #777 }}
.rest.line {{ stroke: #bbb; stroke-width: 1 }} .train.point {{ fill: #777 }} .validation.point {{ fill: {_GREEN} }}
.ring {{ fill: none; stroke: {_GREEN}; stroke-width: 2 }}
"""


def write_paper(*, figures: Path, tables: Path, facts: ReportFacts) -> None:
    """Write FIGURES/NAME.svg and .png, TABLES/NAME.csv and .tex, each whole or not at all.

    Raises OutputError if they cannot be written.
    """
    for title, chart in paper_figures(facts):
        svg, name = standalone_svg(chart), _file_name(title)
        write_text(figures / f"{name}.svg", svg)
        write_whole(figures / f"{name}.png", partial(_write_png, svg))
    for name, table in paper_tables(facts.evaluation).items():
        write_text(tables / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
        named = table if name == "confusion" else table.rename(columns=score_words)  # there columns are classes
        write_text(tables / f"{name}.tex", named.to_latex(index=False, escape=True, float_format="%.3f"))


def paper_figures(facts: ReportFacts) -> list[tuple[str, Markup]]:
    """(title, chart) of everything that the page draws."""
    evaluation, per_class = facts.evaluation, facts.evaluation.test.per_class or {}
    charts = []
    for section in (
        make_curves_section(facts),
        make_calibration(evaluation),
        make_selective(evaluation),
        make_ranking(evaluation),
    ):
        charts += [] if section is None else section.charts
    scores = [(name, row.f1) for name, row in per_class.items()]
    if len(scores) > MOST_BARS:
        scores = sorted(scores, key=lambda row: row[1])[:MOST_BARS]
    title = "F1 of each class" if len(scores) == len(per_class) else f"F1 of the {len(scores)} worst classes"
    charts.append(("F1 by class", bar_chart(scores, key="chart-f1", title=title, axis_name="F1")))
    matrix = make_matrix(evaluation.test)
    if matrix is not None:
        names = [name for _, name in matrix.headings]
        cells = [[(cell.number, cell.shade, cell.right) for cell in row] for row in matrix.rows]
        title = "Confusion matrix: images of each class by predicted class"
        chart = grid_chart(
            names, cells, key="chart-confusion", title=title, row_name="true class", column_name="predicted class"
        )
        charts.append(("Confusion", chart))
    if facts.manifest.task == "multi":
        found = make_co_occurrence(facts)
        names = [name for _, name in found.headings]
        counts = [[(cell.number, 1.0 if cell.diagonal else cell.shade, True) for cell in row] for row in found.rows]
        title = "Co-occurrence: images that have both labels"
        chart = grid_chart(
            names, counts, key="chart-co-occurrence", title=title, row_name="label", column_name="label too"
        )
        charts.append(("Co-occurrence", chart))
    return charts


def standalone_svg(chart: Markup) -> str:
    """A chart of the page as a file of its own, with colours instead of the page's variables."""
    head, rest = str(chart).split(">", 1)
    width, height = re.findall(r'viewBox="0 0 (\S+) (\S+)"', head)[0]
    head = f'{head} xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}><style>{_STYLE}</style>{rest}\n'


def render_png(svg: str) -> bytes:
    """A PNG file on white, three pixels per unit; its letters are those of the system's fonts."""
    import resvg_py  # takes a moment, and only a finished run needs it

    return bytes(resvg_py.svg_to_bytes(svg_string=svg, background="white", zoom=_ZOOM))


def _write_png(svg: str, path: Path) -> None:
    path.write_bytes(render_png(svg))


def paper_tables(evaluation: Evaluation) -> dict[str, pd.DataFrame]:
    """Test scores with their intervals, those of each class, slices, and the confusion matrix where there is one."""
    test, per_class = evaluation.test, evaluation.test.per_class or {}
    tables = {
        "scores": pd.DataFrame([{"score": score_words(name), **score.model_dump()} for name, score in test.named()]),
        "classes": pd.DataFrame([{"class": name, **_class_row(row)} for name, row in per_class.items()]),
    }
    if test.confusion is not None:
        names = list(per_class)
        confusion = pd.DataFrame(test.confusion, columns=names)
        confusion.insert(0, "true class", names, allow_duplicates=True)
        tables["confusion"] = confusion
    if evaluation.slices.slices:
        tables["slices"] = pd.DataFrame([_slice_row(each) for each in evaluation.slices.slices])
    return tables


def _class_row(row: ClassScores) -> dict[str, float | None]:
    """Its columns; without those that do not apply to one label per image."""
    values: dict[str, float | None] = row.model_dump()
    return {name: value for name, value in values.items() if value is not None or name == "roc_auc"}


def _slice_row(each: Slice) -> dict[str, object]:
    groups = {} if each.num_groups is None else {"groups": each.num_groups}
    return {
        "column": each.column,
        "value": each.value,
        "same_images": "; ".join(each.same_images),
        "images": each.num_images,
        **groups,
        "score": each.score.value,
        "low": each.score.low,
        "high": each.score.high,
        "rest": each.rest,
        "p_value": each.p_value,
        "worse": each.worse,
    }


def _file_name(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
