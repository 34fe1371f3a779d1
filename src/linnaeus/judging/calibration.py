"""Temperature scaling: probabilities that mean what they say, without another answer for any image.

Between predictions and thresholds in the life of an image: logits are divided by a number found where training did not
look and the test does not yet. What became of it is shown before and after. Knows nothing of how logits came about.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from linnaeus.judging.score_table import ScoreTable
from linnaeus.metrics.classification import FloatArray, divide
from linnaeus.metrics.probabilities import Reliability, brier_scores, log_losses, reliability
from linnaeus.predictions import Predictions, Temperature

FEWEST_IMAGES = 5
"""A label that fewer images have, or lack, shares the temperature of all labels."""
_LARGEST_LOG = math.log(20.0)
_PRIOR_DEVIATION = 0.5
"""Of the log of the temperature before anything is seen. Guo et al. have no such prior: without it a handful of
validation images that are all right would make every answer infinitely sure. Against 500 images it hardly counts."""


def fit_temperature(predictions: Predictions) -> Temperature:
    """The temperature with which the true classes are likeliest (Guo et al., arXiv 1706.04599, section 4.2).

    For one label per image one number; for several one per label, since each is a question of its own, except that
    labels with fewer than 5 images with or without them share one. 1 where there are no images.

    Args:
        predictions: of images that neither training nor the test has, with logits as the network gave them.
    """
    if not len(predictions):
        return 1.0
    logits, targets = predictions.logits, predictions.targets
    if predictions.task == "single":
        return _minimise(lambda scale: _softmax_loss(logits, targets.astype(np.int64), scale))
    common = _minimise(lambda scale: _sigmoid_loss(logits, targets, scale) / logits.shape[1])
    values = []
    for k in range(logits.shape[1]):
        with_it = int(targets[:, k].sum(dtype=np.int64))
        few = min(with_it, len(targets) - with_it) < FEWEST_IMAGES
        values.append(common if few else _minimise(_loss_of_label(logits[:, k], targets[:, k])))
    return tuple(values)


def _loss_of_label(logits: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Any:
    return lambda scale: _sigmoid_loss(logits, targets, scale)


def _minimise(loss: Any) -> float:
    """The temperature with the least summed loss, given a wide prior around 1; `loss` takes its inverse."""
    found = minimize_scalar(
        lambda log: loss(math.exp(-log)) + (log / _PRIOR_DEVIATION) ** 2 / 2,
        bounds=(-_LARGEST_LOG, _LARGEST_LOG),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return float(math.exp(found.x))


def _softmax_loss(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], scale: float) -> float:
    scaled = logits.astype(np.float64) * scale
    top = scaled.max(axis=1)
    totals = np.log(np.exp(scaled - top[:, None]).sum(axis=1)) + top
    return float((totals - np.take_along_axis(scaled, targets[:, None], axis=1)[:, 0]).sum())


def _sigmoid_loss(logits: npt.NDArray[np.float32], targets: npt.NDArray[Any], scale: float) -> float:
    scaled = logits.astype(np.float64) * scale
    return float(np.logaddexp(0.0, np.where(targets > 0, -scaled, scaled)).sum())


def describe_calibration(predictions: Predictions) -> dict[str, Any]:
    """Log loss, Brier score, calibration error and the reliability diagram of these predictions, as plain JSON.

    The diagram's answers are the likeliest classes, or where images have several labels all pairs of image and label.
    """
    probabilities, targets = predictions.probabilities, predictions.targets
    if predictions.task == "single":
        answers = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == targets
    else:
        answers, right = probabilities.reshape(-1), targets.reshape(-1) > 0
    bins = reliability(answers, right)
    return {
        "log_loss": float(log_losses(probabilities, _as_targets(targets)).mean()),
        "brier": float(brier_scores(probabilities, _as_targets(targets)).mean()),
        "calibration_error": float(bins.error),
        "reliability": reliability_rows(bins),
    }


def describe_table(table: ScoreTable) -> dict[str, Any]:
    """`describe_calibration` of a table that need not fit in memory."""
    if table.task == "single":
        answers = table.answers
        bins = reliability(answers.confidence, answers.likeliest == answers.targets)
        losses, briers = answers.log_losses, answers.briers
    else:
        facts = table.label_facts
        edges = np.linspace(0.0, 1.0, len(facts.counts) + 1)
        bins = Reliability(edges, facts.counts.astype(np.int64), facts.confidence, facts.right)
        losses, briers = facts.log_losses, facts.briers
    return {
        "log_loss": float(losses.mean()),
        "brier": float(briers.mean()),
        "calibration_error": float(bins.error),
        "reliability": reliability_rows(bins),
    }


def reliability_rows(bins: Reliability) -> list[dict[str, float | int]]:
    """The bins that hold answers, from low to high probability, as plain JSON."""
    shares: FloatArray = divide(bins.right, bins.counts)
    means: FloatArray = divide(bins.confidence, bins.counts)
    return [
        {
            "low": float(bins.edges[b]),
            "high": float(bins.edges[b + 1]),
            "count": int(bins.counts[b]),
            "confidence": float(means[b]),
            "right": float(shares[b]),
        }
        for b in np.flatnonzero(bins.counts)
    ]


def _as_targets(targets: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return targets.astype(np.int64) if targets.ndim == 1 else targets
