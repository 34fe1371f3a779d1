"""Facts with other values in their evaluation, for tests of what a page says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from linnaeus.judging.evaluation import Evaluation
from linnaeus.report.facts import ReportFacts


def edited(facts: ReportFacts, values: Mapping[str, object]) -> ReportFacts:
    """Facts whose evaluation has other values by their path, such as {"test/per_class/cow/recall": 0.2}."""
    return replace(facts, evaluation=edit(facts.evaluation, values))


def edit(evaluation: Evaluation, values: Mapping[str, object]) -> Evaluation:
    """The same of an evaluation alone; what comes out is checked like a file that is read."""
    page: dict[str, Any] = evaluation.to_json()
    for path, value in values.items():
        *outer, last = path.split("/")
        at = page
        for name in outer:
            at = at[name]
        at[last] = value
    return Evaluation.model_validate(page)


def score(value: float, low: float | None = None, high: float | None = None) -> dict[str, float]:
    """A score as JSON has it; its interval is the value alone if not given."""
    return {"value": value, "low": value if low is None else low, "high": value if high is None else high}


def difference(value: float, *, low: float, p_value: float, first: float = 0.5) -> dict[str, object]:
    """A paired difference of accuracies as JSON has it, at a confidence of 95 %."""
    second, high = first + value, 2 * value - low
    ends = {"score": "accuracy", "first": first, "second": second, "value": value, "low": low, "high": high}
    return {**ends, "p_value": p_value, "significant": p_value < 0.05}
