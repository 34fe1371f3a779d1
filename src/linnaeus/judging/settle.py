"""Everything that is settled after training and before the test: temperature, operating point, thresholds.

One function that sees images which neither training nor the test has, and one that applies to others what it found, so
that nothing else can be chosen on the way. Knows nothing of models or files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from linnaeus.config.settings import EvaluateConfig, parse_wish
from linnaeus.judging.calibration import describe_calibration, fit_temperature
from linnaeus.judging.evaluation import Calibration, CalibrationChange
from linnaeus.judging.operating_point import Chosen, choose_point, describe_operating_point
from linnaeus.judging.score_table import table_of
from linnaeus.metrics.classification import IntArray
from linnaeus.predictions import Predictions, Temperature


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
        calibrated,
        rule="f1" if config.decide == "f1" else "argmax",
        threshold_rule=config.thresholds,
        costs=config.costs,
        wishes=wishes,
    )
    return Settled(temperature, chosen)


def describe_settled(
    settled: Settled, *, validation: Predictions, test: Predictions, groups: IntArray | None, confidence: float
) -> dict[str, Any]:
    """`calibration` and `operating_point` of evaluation.json.

    Args:
        validation, test: with logits as the network gave them.
        groups: int64 [N] of the test images.
    """
    temperature, (of_validation, of_test) = settled.temperature, (_change(settled, each) for each in (validation, test))
    assert of_test is not None
    calibration = Calibration(
        temperature=dict(zip(test.classes, temperature, strict=True))
        if isinstance(temperature, tuple)
        else temperature,
        validation=of_validation,
        test=of_test,
    )
    point = describe_operating_point(
        settled.chosen, table_of(settled.applied(test)), groups=groups, confidence=confidence
    )
    return {"calibration": calibration.model_dump(mode="json"), "operating_point": point.model_dump(mode="json")}


def _change(settled: Settled, predictions: Predictions) -> CalibrationChange | None:
    if not len(predictions):
        return None
    return CalibrationChange(
        before=describe_calibration(table_of(replace(predictions, temperature=1.0))),
        after=describe_calibration(table_of(settled.applied(predictions))),
    )
