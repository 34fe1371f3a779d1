"""What the model knows of its own limits: calibration, prediction sets, unfamiliar images, abstention, slices, wishes.

Each builder takes what evaluation.json holds and gives None where it says nothing of the matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from linnaeus.judging.selective import LEAST_ANSWERED
from linnaeus.report.facts import ReportFacts
from linnaeus.report.wording import count, figure, percent, percent_range, plural
from linnaeus.report.xy_chart import Trace, share_chart

MOST_SLICES = 10


@dataclass(frozen=True)
class Sureness:
    """How sure the model is and how sure it may be; sentences and two charts."""

    calibration: list[str]
    charts: list[tuple[str, Markup]]
    abstention: list[str]
    sets: str | None
    familiarity: str | None


@dataclass(frozen=True)
class SliceRow:
    """One slice in words; `share` 0-1 is its score, `same` are other descriptions of its images."""

    column: str
    value: str
    same: list[str]
    images: str
    share: float
    score: str
    interval: str
    rest: str
    worse: bool


@dataclass(frozen=True)
class Slices:
    """Slices, the worst first, and a sentence on how they were looked for."""

    rows: list[SliceRow]
    verdict: str
    score: str


@dataclass(frozen=True)
class Wishes:
    """The operating point in sentences, and a row (wish, on validation, met, on test) for each wish."""

    sentences: list[str]
    rows: list[tuple[str, str, bool, str]]


def make_sureness(facts: ReportFacts) -> Sureness | None:
    """Calibration, abstention, prediction sets and familiarity of a run."""
    return sureness_of(facts.evaluation)


def sureness_of(evaluation: Mapping[str, Any]) -> Sureness | None:
    """`make_sureness` from what evaluation.json holds."""
    if "calibration" not in evaluation or "test" not in evaluation["calibration"]:
        return None
    test, several = evaluation["calibration"]["test"], "micro_f1" in evaluation["test"]
    before, after = test.get("before"), test["after"]
    traces = [
        Trace(
            name,
            style,
            [(row["confidence"], row["right"]) for row in part["reliability"]],
            [
                f"{count(row['count'])}: said {percent(row['confidence'])}, right {percent(row['right'])}"
                for row in part["reliability"]
            ],
            dots=True,
        )
        for name, style, part in (
            ("as trained", "train", before),
            ("as given" if before is None else "calibrated", "validation", after),
        )
        if part is not None
    ]
    charts = [
        (
            "Said and right",
            share_chart(
                traces,
                key="chart-reliability",
                title="Share of right answers by the probability that the model gave them",
                x_name="probability given",
                diagonal=True,
            ),
        )
    ]
    abstention = evaluation.get("abstention")
    if abstention and abstention["points"]:
        points = abstention["points"]
        least = LEAST_ANSWERED / evaluation["test"]["num_images"]  # the share right of fewer is luck
        points = [p for p in points if p["answered"] >= least] or points[-1:]
        floor = max(f for f in (0.0, 0.5, 0.8, 0.9) if f <= min(p["accuracy"] for p in points))
        name = "all right" if several else "right"
        curve = Trace(name, "validation", [(p["answered"], p["accuracy"]) for p in points], dots=len(points) < 4)
        title = (
            f"Share of {'images with every label right' if several else 'right answers'} when only the surest are given"
        )
        charts.append(
            (
                "Fewer answers, fewer errors",
                share_chart([curve], key="chart-abstention", title=title, x_name="images answered", floor=floor),
            )
        )
    return Sureness(
        _calibration_words(evaluation),
        charts,
        [] if abstention is None else _abstention_words(abstention, several=several),
        _set_words(evaluation.get("prediction_sets")),
        _familiarity_words(evaluation.get("familiarity"), several=several),
    )


def _calibration_words(evaluation: Mapping[str, Any]) -> list[str]:
    test, temperature = evaluation["calibration"]["test"], evaluation["calibration"].get("temperature")
    score = evaluation["test"].get("calibration_error")
    after = test["after"]
    words = []
    if isinstance(temperature, float) and "before" in test:
        sure = "too sure of itself" if temperature > 1 else "less sure than it might have been"
        words.append(
            f"As trained, the model was {sure}; dividing its logits by {temperature:.2f}, found on validation images, "
            f"changed the calibration error on test images from {figure(test['before']['calibration_error'])} to "
            f"{percent(after['calibration_error'])} and the log loss from {test['before']['log_loss']:.3f} to "
            f"{after['log_loss']:.3f}. No answer changes by this."
        )
    elif isinstance(temperature, Mapping):
        words.append(
            "Each label has a temperature of its own, found on validation images: calibration error on test images "
            f"{figure(test['before']['calibration_error'])} before and {percent(after['calibration_error'])} after."
        )
    if score is not None:
        zero = " Chance alone would show as much of perfect probabilities." if score["low"] == 0 else ""
        words.append(
            f"Calibration error: {percent(score['value'])} "
            f"(interval {percent_range(score['low'], score['high'])}).{zero}"
        )
    return words


def _abstention_words(abstention: Mapping[str, Any], *, several: bool) -> list[str]:
    outcome = "have every label right" if several else "be right"
    return [
        f"Answering only the surest {percent(goal['answered'])} of the images (probability {goal['threshold']:.2f} and "
        f"more) would {outcome} for {percent(goal['accuracy'])} of them."
        for goal in abstention["goals"][:3]
    ]


def _set_words(sets: Mapping[str, Any] | None) -> str | None:
    if sets is None:
        return None
    if "empty" in sets:
        return _label_set_words(sets)
    if sets["threshold"] is None:
        return "There are too few validation images for prediction sets; every set holds every class."
    score = sets["coverage"]
    kept = "kept" if score["high"] >= sets["promised"] else "not kept"
    return (
        f"Prediction sets promise to hold the true class for {percent(sets['promised'])} of images. On test images "
        f"they held it for {percent(score['value'])} ({percent_range(score['low'], score['high'])}): {kept}. They have "
        f"{sets['mean_size']:.2f} classes on average; {percent(sets['sizes'][0])} have a single one."
    )


def _label_set_words(sets: Mapping[str, Any]) -> str | None:
    score = sets["coverage"]
    if sets["threshold"] == 0:
        return "There are too few validation images with labels for prediction sets; every set holds every label."
    if score is None:
        return None
    kept = "kept" if score["high"] >= sets["promised"] else "not kept"
    return (
        f"Prediction sets, all labels of a probability of {sets['threshold']:.3f} and more, promise to hold "
        f"{percent(sets['promised'])} of an image's labels on average. On test images with labels they held "
        f"{percent(score['value'])} of them ({percent_range(score['low'], score['high'])}): {kept}. They have "
        f"{sets['mean_size']:.2f} labels on average; {percent(sets['empty'])} are empty."
    )


def _familiarity_words(known: Mapping[str, Any] | None, *, several: bool) -> str | None:
    if known is None:
        return None
    share, inside, outside = known["unfamiliar"], known["accuracy_of_familiar"], known["accuracy_of_unfamiliar"]
    words = (
        f"An image whose features lie further from those of training images than {percent(known['share'])} of the "
        f"validation images is called unfamiliar: {percent(share['value'])} of the test images "
        f"({percent_range(share['low'], share['high'])})."
    )
    if inside and outside:
        outcome = "have every label right" if several else "were answered rightly"
        words += (
            f" Of these, {percent(outside['value'])} {outcome} ({percent_range(outside['low'], outside['high'])}), "
            f"of the others {percent(inside['value'])}."
        )
    return words


def make_slices(facts: ReportFacts) -> Slices | None:
    """The slices of a run, the worst first."""
    return slices_of(facts.evaluation)


def slices_of(evaluation: Mapping[str, Any]) -> Slices | None:
    """`make_slices` from what evaluation.json holds."""
    found = evaluation.get("slices")
    if not found or not found["slices"]:
        return None
    rows = [
        SliceRow(
            row["column"],
            row["value"],
            row.get("same_images", []),
            count(row["num_images"]),
            row["score"]["value"],
            figure(row["score"]["value"]),
            percent_range(row["score"]["low"], row["score"]["high"]),
            percent(row["rest"]),
            row["worse"],
        )
        for row in found["slices"][:MOST_SLICES]
    ]
    worse = sum(row["worse"] for row in found["slices"])
    verdict = (
        f"{plural(worse, 'slice')} of {found['num_tested']} {'is' if worse == 1 else 'are'} worse than the rest "
        "by more than chance"
        if worse
        else f"none of {plural(found['num_tested'], 'slice')} is worse than the rest by more than chance"
    )
    return Slices(rows, verdict, "% right" if "confusion" in evaluation["test"] else "F1 per image, %")


def make_wishes(facts: ReportFacts) -> Wishes | None:
    """The operating point of a run, where it is not simply the likeliest class."""
    return wishes_of(facts.evaluation)


def wishes_of(evaluation: Mapping[str, Any]) -> Wishes | None:
    """`make_wishes` from what evaluation.json holds."""
    point = evaluation.get("operating_point")
    if not point or not (point["wishes"] or "changed_answers" in point):
        return None
    sentences = []
    if "changed_answers" in point:
        score = point["accuracy_of_likeliest"]
        sentences.append(
            f"The operating point, chosen on validation images, changes "
            f"{plural(point['changed_answers'], 'answer')} on test images; the likeliest class would be "
            f"right for {percent(score['value'])} of them."
        )
    if "mean_cost" in point:
        sentences.append(
            f"An answer costs {point['mean_cost']:.3f} on average; the likeliest class would cost "
            f"{point['mean_cost_of_likeliest']:.3f}."
        )
    rows = [
        (
            f"{wish['score']} of {wish['class']} at least {percent(wish['wished'])}",
            "—" if wish["validation"] is None else percent(wish["validation"]),
            bool(wish["met"]),
            "—"
            if wish["test"] is None
            else f"{percent(wish['test']['value'])} ({percent_range(wish['test']['low'], wish['test']['high'])})",
        )
        for wish in point["wishes"]
    ]
    return Wishes(sentences, rows)
