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
    "validation_balanced_accuracy": "had the highest validation balanced accuracy",
    "validation_micro_f1": "had the highest validation micro F1",
    "validation_mean_average_precision": "had the highest validation mean average precision",
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
    kept_score: str | None


def make_curves_section(facts: ReportFacts) -> CurvesSection | None:
    """Draw the history; None for several runs together, each of which has its own."""
    if facts.evaluation.ensemble is not None:
        return None
    history, keep, seconds = facts.history, facts.config.phases[-1].monitor, facts.evaluation.seconds.train
    if history.empty:
        return CurvesSection([], "no epoch", None, None, None, _KEPT_BY[keep], None)
    row = _kept_row(facts)
    positions = _positions(history)
    marks = Marks(None if row is None else positions[row], _phases(history, positions))
    several = facts.manifest.task == "multi"
    scores = _labels_chart if several else _accuracy_chart
    charts = [_loss_chart(history, positions, marks), scores(history, positions, marks)]
    rates = pd.Series(_column(history, "images_per_second")).median()
    score = _column(history, "validation_mean_average_precision" if several else "validation_accuracy")
    value = math.nan if row is None else score[row]
    words = (
        f"mean average precision {percent(value)}" if several else f"{percent(value)} of the validation images right"
    )
    return CurvesSection(
        charts=[chart for chart in charts if chart is not None],
        epochs=plural(len(history), "epoch"),
        seconds=None if seconds is None else duration(seconds),
        rate=count(round(rates)) if math.isfinite(rates) else None,
        kept=None if row is None else f"{positions[row]:.0f}",
        kept_by=_KEPT_BY[keep],
        kept_score=words if math.isfinite(value) else None,
    )


def _loss_chart(history: pd.DataFrame, positions: list[float], marks: Marks) -> tuple[str, Markup] | None:
    lines = [Line(name, name, _column(history, f"{name}_loss")) for name in ("train", "validation")]
    finite = _finite(lines)
    if not finite:
        return None
    title, bounds = "Loss of training and validation images by epoch", (0.0, max(finite))
    return "Loss", line_chart(
        positions, lines, key="chart-loss", title=title, marks=marks, words=_loss_words, bounds=bounds
    )


def _accuracy_chart(history: pd.DataFrame, positions: list[float], marks: Marks) -> tuple[str, Markup] | None:
    lines = [Line(name, name, _column(history, f"{name}_accuracy")) for name in ("train", "validation")]
    finite = _finite(lines)
    if not finite:
        return None
    title, bounds = "Accuracy of training and validation images by epoch", (min(_tenth_below(finite), 0.9), 1.0)
    return "Accuracy", line_chart(
        positions, lines, key="chart-accuracy", title=title, marks=marks, words=_accuracy_words, bounds=bounds
    )


def _labels_chart(history: pd.DataFrame, positions: list[float], marks: Marks) -> tuple[str, Markup] | None:
    """Two scores of the validation images: training has none that could be compared with them."""
    names = {"micro F1": ("train", "micro_f1"), "mean AP": ("validation", "mean_average_precision")}
    lines = [Line(name, style, _column(history, f"validation_{key}")) for name, (style, key) in names.items()]
    finite = _finite(lines)
    if not finite:
        return None
    title = "Micro F1 at a probability of 0.5 and mean average precision of validation images by epoch"
    bounds = (_tenth_below(finite), min(1.0, max(finite)))
    return "Scores of the validation images", line_chart(
        positions, lines, key="chart-scores", title=title, marks=marks, words=_accuracy_words, bounds=bounds
    )


def _finite(lines: Sequence[Line]) -> list[float]:
    return [value for line in lines for value in line.values if math.isfinite(value)]


def _tenth_below(values: Sequence[float]) -> float:
    return math.floor(min(values) * 10) / 10


def _kept_row(facts: ReportFacts) -> int | None:
    """Position in the history of the epoch whose weights were kept: the first best of the last phase."""
    history, keep = facts.history, facts.config.phases[-1].monitor
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
