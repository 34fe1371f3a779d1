"""How training went: curves of loss and accuracy, the kept epoch, and what it took."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from linnaeus.report.charts import Line, Marks, line_chart
from linnaeus.report.facts import ReportFacts
from linnaeus.report.wording import count, duration, percent, plural

_KEPT_BY = {
    "validation_loss": "had the lowest validation loss",
    "validation_accuracy": "had the highest validation accuracy",
    "validation_balanced_accuracy": "had the highest balanced accuracy in validation",
    "validation_micro_f1": "had the highest micro F1 in validation",
    "validation_mean_average_precision": "had the highest mean average precision in validation",
    "last": "was the last",
}


@dataclass(frozen=True)
class CurvesSection:
    """The charts and the sentence below them; `charts` is empty where no epoch was finished."""

    charts: list[tuple[str, Markup]]
    epochs: str
    seconds: str | None
    rate: str | None
    kept: str | None
    kept_by: str
    kept_accuracy: str | None


def make_curves_section(facts: ReportFacts) -> CurvesSection:
    """Draw the history."""
    history, keep, seconds = facts.history, facts.config.phases[-1].keep, facts.evaluation["seconds"]
    if history.empty:
        return CurvesSection([], "no epoch", None, None, None, _KEPT_BY[keep], None)
    row = _kept_row(facts)
    positions = _positions(history)
    marks = Marks(None if row is None else positions[row], _phases(history, positions))
    charts = []
    for kind, words, largest in (("loss", _loss_words, math.inf), ("accuracy", _accuracy_words, 1.0)):
        lines = [Line(name, name, _column(history, f"{name}_{kind}")) for name in ("train", "validation")]
        finite = [v for line in lines for v in line.values if math.isfinite(v)]
        if finite:
            low = 0.0 if kind == "loss" else math.floor(min(finite) * 10) / 10
            bounds = (
                min(low, 0.9 if kind == "accuracy" else low),
                min(max(finite), largest) if kind == "loss" else 1.0,
            )
            title = f"{kind.capitalize()} of training and validation images by epoch"
            chart = line_chart(
                positions, lines, key=f"chart-{kind}", title=title, marks=marks, words=words, bounds=bounds
            )
            charts.append((kind.capitalize(), chart))
    rates = pd.Series(_column(history, "images_per_second")).median()
    accuracy = math.nan if row is None else _column(history, "validation_accuracy")[row]
    return CurvesSection(
        charts=charts,
        epochs=plural(len(history), "epoch"),
        seconds=duration(seconds["train"]) if "train" in seconds else None,
        rate=count(round(rates)) if math.isfinite(rates) else None,
        kept=None if row is None else f"{positions[row]:.0f}",
        kept_by=_KEPT_BY[keep],
        kept_accuracy=percent(accuracy) if math.isfinite(accuracy) else None,
    )


def _kept_row(facts: ReportFacts) -> int | None:
    """Position in the history of the epoch whose weights were kept: the first best of the last phase."""
    history, keep = facts.history, facts.config.phases[-1].keep
    last_phase = len(history) - _last_phase_length(history)
    if facts.kept_epoch is not None:
        found = [k for k, epoch in enumerate(history["epoch"]) if epoch == facts.kept_epoch]
        return found[-1] if found else None
    if keep == "last":
        return len(history) - 1
    sign = -1.0 if keep.endswith("loss") else 1.0
    values = [sign * v for v in _column(history, keep)[last_phase:]]
    finite = [v for v in values if math.isfinite(v)]
    return last_phase + values.index(max(finite)) if finite else None


def _last_phase_length(history: pd.DataFrame) -> int:
    names = list(history["phase"])
    return next((k for k, name in enumerate(reversed(names)) if name != names[-1]), len(names))


def _positions(history: pd.DataFrame) -> list[float]:
    """The epochs themselves where they rise throughout; row numbers from 1 where each phase counts anew."""
    epochs = [float(epoch) for epoch in history["epoch"]]
    rising = all(a < b for a, b in itertools.pairwise(epochs))
    return epochs if rising else [float(k + 1) for k in range(len(epochs))]


def _phases(history: pd.DataFrame, positions: Sequence[float]) -> list[tuple[float, str]]:
    names = [str(name) for name in history["phase"]]
    return [(positions[k], name) for k, name in enumerate(names) if k == 0 or names[k - 1] != name]


def _column(history: pd.DataFrame, name: str) -> list[float]:
    if name not in history:
        return [math.nan] * len(history)
    return [float(v) for v in history[name]]


def _loss_words(value: float) -> str:
    return f"{value:.3g}"


def _accuracy_words(value: float) -> str:
    return f"{100 * value:.3g} %"
