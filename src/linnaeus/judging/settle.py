"""Everything that is settled after training and before the test: temperature, operating point, thresholds.

One function that sees images which neither training nor the test has, and one that applies to others what it found, so
that nothing else can be chosen on the way. Knows nothing of models or files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from linnaeus.config.settings import EvaluateConfig, parse_wish
from linnaeus.judging.calibration import describe_calibration, fit_temperature
from linnaeus.judging.operating_point import Chosen, Granted, choose_point
from linnaeus.metrics.operating_point import decide
from linnaeus.predictions import Predictions, Temperature
from linnaeus.statistics.intervals import wilson_interval
from linnaeus.statistics.resample import as_score


@dataclass(frozen=True)
class Settled:
    """What was found on images that neither training nor the test has."""

    temperature: Temperature
    chosen: Chosen

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Of several labels; None for one label per image."""
        return self.chosen.thresholds

    def applied(self, predictions: Predictions) -> Predictions:
        """The same logits, with this temperature and operating point."""
        return replace(predictions, temperature=self.temperature, operating_point=self.chosen.point)


def settle(unseen: Predictions, config: EvaluateConfig) -> Settled:
    """Fit the temperature, then choose the operating point on the calibrated probabilities.

    Args:
        unseen: predictions of validation images, or out of fold, with logits as the network gave them.
    """
    temperature = fit_temperature(unseen)
    calibrated = replace(unseen, temperature=temperature)
    wishes = [parse_wish(text) for text in config.require]
    chosen = choose_point(
        calibrated, rule=config.decide, threshold_rule=config.thresholds, costs=config.costs, wishes=wishes
    )
    return Settled(temperature, chosen)


def describe_settled(
    settled: Settled, *, validation: Predictions, test: Predictions, confidence: float
) -> dict[str, Any]:
    """`calibration` and `operating_point` of evaluation.json.

    Args:
        validation, test: with logits as the network gave them.
    """
    splits = {"validation": validation, "test": test}
    temperature = settled.temperature
    return {
        "calibration": {
            "temperature": dict(zip(test.classes, temperature, strict=True))
            if isinstance(temperature, tuple)
            else temperature,
            **{
                name: {
                    "before": describe_calibration(replace(predictions, temperature=1.0)),
                    "after": describe_calibration(settled.applied(predictions)),
                }
                for name, predictions in splits.items()
                if len(predictions)
            },
        },
        "operating_point": _describe_point(settled, settled.applied(test), confidence=confidence),
    }


def _describe_point(settled: Settled, test: Predictions, *, confidence: float) -> dict[str, Any]:
    chosen, point = settled.chosen, settled.chosen.point
    described: dict[str, Any] = {"rule": chosen.rule}
    if point is not None and point.weights is not None:
        described["weights"] = dict(zip(test.classes, point.weights, strict=True))
    if point is not None and len(test):
        likeliest = decide(test.probabilities, None)
        described["changed_answers"] = int((likeliest != test.predicted).sum())
        right = int((likeliest == test.targets).sum())
        described["accuracy_of_likeliest"] = as_score(
            right / len(test), wilson_interval(right, len(test), confidence=confidence)
        )
        if point.costs is not None:
            costs = np.array(point.costs)
            described["costs"] = costs.tolist()
            described["mean_cost"] = float(costs[test.targets, test.predicted].mean())
            described["mean_cost_of_likeliest"] = float(costs[test.targets, likeliest].mean())
    described["wishes"] = [
        {
            "score": granted.wish.score,
            "class": granted.wish.label,
            "wished": granted.wish.value,
            "validation": granted.reached,
            "met": granted.met,
            "test": _on_test(granted, test, chosen.thresholds, confidence=confidence),
        }
        for granted in chosen.granted
    ]
    return described


def _on_test(
    granted: Granted, test: Predictions, thresholds: tuple[float, ...] | None, *, confidence: float
) -> Mapping[str, float] | None:
    """The wished score on test images, with its interval; None where no test image speaks of it."""
    k = test.classes.index(granted.wish.label)
    if thresholds is None:
        has, given = test.targets == k, test.predicted == k
    else:
        has, given = test.targets[:, k] > 0, test.probabilities[:, k] >= thresholds[k]
    whole = int(has.sum() if granted.wish.score == "recall" else given.sum())
    if not whole:
        return None
    hits = int((has & given).sum())
    return as_score(hits / whole, wilson_interval(hits, whole, confidence=confidence))
