"""Calibration: how far the probabilities of the model can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from linnaeus.judging.evaluation import CalibrationState, Evaluation
from linnaeus.report.wording import count, figure, percent, percent_range
from linnaeus.report.xy_chart import Trace, fraction_chart


@dataclass(frozen=True)
class CalibrationSection:
    """Sentences and (title, chart) of the reliability diagram."""

    sentences: list[str]
    charts: list[tuple[str, Markup]]


def make_calibration(evaluation: Evaluation) -> CalibrationSection:
    """What temperature scaling did to the probabilities of the test images."""
    before, after = evaluation.calibration.test.before, evaluation.calibration.test.after
    traces = [] if before is None else [_trace("as trained", "train", before)]
    traces.append(_trace("as given" if before is None else "calibrated", "validation", after))
    chart = fraction_chart(
        traces,
        key="chart-reliability",
        title="Reliability diagram: fraction of right answers by the probability that the model gave them",
        x_name="probability given",
        diagonal=True,
    )
    return CalibrationSection(_sentences(evaluation), [("Reliability diagram", chart)])


def _trace(name: str, style: str, state: CalibrationState) -> Trace:
    bins = state.reliability
    return Trace(
        name,
        style,
        [(each.confidence, each.accuracy) for each in bins],
        [f"{count(b.count)}: probability {percent(b.confidence)}, right {percent(b.accuracy)}" for b in bins],
        dots=True,
    )


def _sentences(evaluation: Evaluation) -> list[str]:
    temperature, change = evaluation.calibration.temperature, evaluation.calibration.test
    found = []
    if change.before is not None:
        unchanged = (
            "How a label ranks the images stays the same."
            if evaluation.test.several_labels
            else "The most probable class of an image stays the same."
        )
        found.append(f"{_temperature_words(temperature)} {_change_words(change.before, change.after)} {unchanged}")
    ece = evaluation.test.ece
    by_chance = " A perfectly calibrated model would show an error this large by chance." if ece.low == 0 else ""
    found.append(
        f"Expected calibration error (ECE): {percent(ece.value)} "
        f"(interval {percent_range(ece.low, ece.high)}).{by_chance}"
    )
    return found


def _temperature_words(temperature: float | dict[str, float]) -> str:
    """What temperature scaling found."""
    if not isinstance(temperature, float):
        return "The logits of each label are divided by a temperature of their own, fitted on validation images."
    if temperature == 1:
        return "The logits are left as they are (temperature 1)."
    found = "overconfident" if temperature > 1 else "underconfident"
    return (
        f"As trained, the model was {found}: its logits are divided by a temperature of {temperature:.2f}, fitted on "
        "validation images."
    )


def _change_words(before: CalibrationState, after: CalibrationState) -> str:
    return (
        f"On test images the ECE is {figure(before.ece)} before and {percent(after.ece)} after, the log loss "
        f"{before.log_loss:.3f} before and {after.log_loss:.3f} after."
    )
