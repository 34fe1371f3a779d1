"""Figures and tables of a run for a paper: SVG files that stand alone, and tables as CSV and LaTeX.

Beside the page, from the same charts and numbers. Rendering only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from linnaeus.report.curves import make_curves_section
from linnaeus.report.facts import ReportFacts
from linnaeus.report.limits import sureness_of
from linnaeus.rundir import write_text

_STYLE = """
text { font: 12px sans-serif; fill: #333 } .end { text-anchor: end } .middle { text-anchor: middle }
.grid { stroke: #ddd } .phase, .kept { stroke: #999; stroke-dasharray: 2 3 } .hover { fill: none }
.line { fill: none; stroke-width: 2 } .line.train { stroke: #777; stroke-dasharray: 5 4 }
.line.validation { stroke: #1b6b52 } .point.train { fill: #777 } .point.validation { fill: #1b6b52 }
.ring { fill: none; stroke: #1b6b52; stroke-width: 2 }
"""


def write_paper(*, figures: Path, tables: Path, facts: ReportFacts) -> None:
    """Write FIGURES/NAME.svg, TABLES/NAME.csv and TABLES/NAME.tex, each whole or not at all.

    Raises OutputError if they cannot be written.
    """
    sureness = sureness_of(facts.evaluation)
    charts = [*make_curves_section(facts).charts, *([] if sureness is None else sureness.charts)]
    for title, chart in charts:
        write_text(figures / f"{_file_name(title)}.svg", standalone_svg(chart))
    for name, table in paper_tables(facts.evaluation).items():
        write_text(tables / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
        write_text(tables / f"{name}.tex", table.to_latex(index=False, escape=True, float_format="%.3f"))


def standalone_svg(chart: Markup) -> str:
    """A chart of the page as a file of its own, with colours instead of the page's variables."""
    head, rest = str(chart).split(">", 1)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head} xmlns="http://www.w3.org/2000/svg"><style>{_STYLE}</style>{rest}\n'


def paper_tables(evaluation: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Test scores with their intervals, those of each class, and the confusion matrix where there is one."""
    test = evaluation["test"]
    scores = [
        {"score": name.replace("_", " "), **score}
        for name, score in test.items()
        if isinstance(score, Mapping) and set(score) == {"value", "low", "high"}
    ]
    tables = {
        "scores": pd.DataFrame(scores),
        "classes": pd.DataFrame([{"class": name, **row} for name, row in test["per_class"].items()]),
    }
    if "confusion" in test:
        names = list(test["per_class"])
        confusion = pd.DataFrame(test["confusion"], columns=names)
        confusion.insert(0, "true class", names, allow_duplicates=True)
        tables["confusion"] = confusion
    return tables


def _file_name(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
