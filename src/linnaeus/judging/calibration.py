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
from scipy.special import log_softmax

from linnaeus.judging.evaluation import CalibrationState, ReliabilityBin
from linnaeus.judging.score_table import ScoreTable
from linnaeus.metrics.classification import divide
from linnaeus.metrics.probabilities import Reliability, reliability
from linnaeus.predictions import Predictions, Temperature

FEWEST_IMAGES = 5
"""A label that fewer images have, or lack, shares the temperature of all labels."""
_LARGEST_LOG = math.log(20.0)
_PRIOR_DEVIATION = 0.5
"""Of the log of the temperature before anything is seen. Guo et al. have no such prior: without it a handful of
validation images that are all right would make every answer infinitely sure. Against 500 images it hardly counts."""


def fit_temperature(predictions: Predictions) -> Temperature:
    """The temperature with which the true classes are most probable (Guo et al., arXiv 1706.04599, section 4.2).

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
    return -float(np.take_along_axis(log_softmax(scaled, axis=1), targets[:, None], axis=1).sum())


def _sigmoid_loss(logits: npt.NDArray[np.float32], targets: npt.NDArray[Any], scale: float) -> float:
    scaled = logits.astype(np.float64) * scale
    return float(np.logaddexp(0.0, np.where(targets > 0, -scaled, scaled)).sum())


def describe_calibration(table: ScoreTable) -> CalibrationState:
    """Log loss, Brier score, expected calibration error and the reliability diagram of at least one image.

    The diagram's answers are the most probable classes, or where images have several labels all pairs of image and
    label.
    """
    if table.task == "single":
        answers = table.answers
        bins = reliability(answers.confidence, answers.argmax == answers.targets)
        losses, briers = answers.log_losses, answers.briers
    else:
        facts = table.label_facts
        edges = np.linspace(0.0, 1.0, len(facts.counts) + 1)
        bins = Reliability(edges, facts.counts.astype(np.int64), facts.confidence, facts.correct)
        losses, briers = facts.log_losses, facts.briers
    return CalibrationState(
        log_loss=float(losses.mean()),
        brier=float(briers.mean()),
        ece=float(bins.error),
        reliability=reliability_bins(bins),
    )


def reliability_bins(bins: Reliability) -> list[ReliabilityBin]:
    """The bins that are not empty, from low to high probability."""
    accuracies, means = divide(bins.correct, bins.counts), divide(bins.confidence, bins.counts)
    return [
        ReliabilityBin(
            low=float(bins.edges[b]),
            high=float(bins.edges[b + 1]),
            count=int(bins.counts[b]),
            confidence=float(means[b]),
            accuracy=float(accuracies[b]),
        )
        for b in np.flatnonzero(bins.counts)
    ]
