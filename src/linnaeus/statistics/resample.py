"""Resampled test sets as weights of images, drawn within each class or by whole groups, and the intervals they give.

Scores that are means over images, or functions of sums over them, are products of these weights with a table. Knows
nothing of what is scored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from linnaeus.metrics.classification import FloatArray, IntArray
from linnaeus.metrics.probabilities import LARGEST_LOG_LOSS
from linnaeus.statistics.groups import Grouping, effective_number, group_sums, grouping, two_sided_quantile
from linnaeus.statistics.intervals import Interval

CELLS_AT_ONCE = 2_000_000  # of [resamples, images]: 16 MB per array
_MOST_DRAWS, _FEWEST_RESAMPLES = 200_000_000, 100
"""Of [resamples, images]. Beyond, fewer resamples are drawn: so many images have narrow intervals anyway."""


def affordable_samples(num_images: int, *, wanted: int) -> int:
    """How many resamples to draw: those wanted, but fewer (never below 100) of very many images."""
    return max(_FEWEST_RESAMPLES, min(wanted, _MOST_DRAWS // max(num_images, 1)))


def resampled_weights(
    num_images: int, *, strata: IntArray | None, groups: IntArray | None, num_samples: int, seed: int
) -> Iterator[FloatArray]:
    """How often each image stands in each resampled test set: float64 [r, N], r adding up to `num_samples`.

    With groups, whole groups are drawn (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section
    3.8, strategy 1), since images of one group resemble each other; else images within each stratum, whose sizes stay.

    Args:
        strata: int64 [N], such as the true classes; None for one stratum.
        groups: int64 [N]; None where every image is its own.
    """
    generator = np.random.default_rng(seed)
    step = max(1, CELLS_AT_ONCE // max(num_images, 1))
    together = grouping(groups, num_images)
    if together is not None:
        members = [np.arange(len(together.sizes))]
    elif strata is not None:
        order = np.argsort(strata, kind="stable")
        members = np.split(order, np.flatnonzero(np.diff(strata[order])) + 1)
    else:
        members = [np.arange(num_images)]
    num_units = sum(len(part) for part in members)
    for start in range(0, num_samples, step):
        size = min(step, num_samples - start)
        weights = np.zeros((size, num_units))
        for part in members:
            drawn = generator.integers(0, len(part), (size, len(part))) + len(part) * np.arange(size)[:, None]
            weights[:, part] = np.bincount(drawn.reshape(-1), minlength=size * len(part)).reshape(size, len(part))
        yield weights if together is None else weights[:, together.places]


def score_probabilities(
    log_losses: FloatArray,
    briers: FloatArray,
    surplus: FloatArray,
    chance_variance: FloatArray,
    ece: float,
    *,
    strata: IntArray | None,
    groups: IntArray | None,
    answers_per_image: int,
    confidence: float,
    num_samples: int,
    seed: int,
) -> dict[str, tuple[float, Interval]]:
    """Values and intervals of "log_loss", "brier" and "ece".

    Args:
        log_losses, briers: float64 [N].
        surplus: float64 [N, B], what each image adds to each bin of the reliability diagram: right less probability.
        chance_variance: float64 [B], sum of p (1 - p) over the answers in each bin.
        ece: measured.
        strata, groups: as of `resampled_weights`.
        answers_per_image: 1, or the number of labels.
    """
    num_images = len(log_losses)
    columns = np.stack([log_losses, briers], axis=1)
    means, errors = [], []
    num_samples = affordable_samples(num_images, wanted=num_samples)
    for weights in resampled_weights(num_images, strata=strata, groups=groups, num_samples=num_samples, seed=seed):
        sizes = weights.sum(axis=1)
        means.append(weights @ columns / sizes[:, None])
        errors.append(np.abs(weights @ surplus).sum(axis=1) / (sizes * answers_per_image))
    resampled = np.concatenate(means)
    together = grouping(groups, num_images)
    num_groups = None if together is None else effective_number(together.sizes)
    spread: dict[str, Any] = {"confidence": confidence, "num_groups": num_groups}
    scores = {
        name: (value := float(values.mean()), positive_interval(value, column, most=most, **spread))
        for name, most, values, column in zip(
            ("log_loss", "brier"), (LARGEST_LOG_LOSS, 2.0), (log_losses, briers), resampled.T, strict=True
        )
    }
    noise = chance_noise(surplus, chance_variance, together, num_samples=num_samples, seed=seed)
    by_chance = np.abs(noise).sum(axis=1) / (num_images * answers_per_image)
    interval = calibration_interval(ece, np.concatenate(errors), by_chance=by_chance, **spread)
    return {**scores, "ece": (ece, interval)}


def chance_noise(
    surplus: FloatArray, chance_variance: FloatArray, together: Grouping | None, *, num_samples: int, seed: int
) -> FloatArray:
    """float64 [R, B]: sums over images of each bin's surplus that perfectly calibrated probabilities would show.

    Normal, with variance sum p (1 - p) where images are independent. With groups, whose images are right and wrong
    together, with the covariance of the sums of groups that are there, and never less than if they were independent.

    Args:
        surplus: float64 [N, B], of each image and bin.
        chance_variance: float64 [B].
    """
    noise = np.random.default_rng(seed).normal(size=(num_samples, len(chance_variance)))
    if together is None:
        return noise * np.sqrt(chance_variance)
    sums = group_sums(surplus, together.places, len(together.sizes))
    covariance = sums.T @ sums
    covariance[np.diag_indices_from(covariance)] = np.maximum(covariance.diagonal(), chance_variance)
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((noise * np.sqrt(values.clip(min=0))) @ vectors.T, np.float64)


def positive_interval(
    value: float, resampled: FloatArray, *, most: float, confidence: float, num_groups: float | None = None
) -> Interval:
    """Value times and over exp(z * deviation / value): the spread of the resamples, on the scale of logarithms.

    For means of quantities that cannot be negative. Percentiles of 200 resamples held the log loss of 300 images in 92
    of 100 simulations, this in 95.

    Args:
        most: the largest value that can be.
        num_groups: where groups were resampled, how many of equal size they are worth; 0 to `most` for a single one.
    """
    if value <= 0:
        return Interval(value, value)
    times = _reach(resampled, confidence=confidence, num_groups=num_groups) / value
    return Interval(value * math.exp(-times), most if times > math.log(most / value) else value * math.exp(times))


def calibration_interval(
    value: float,
    resampled: FloatArray,
    *,
    by_chance: FloatArray,
    confidence: float,
    num_groups: float | None = None,
) -> Interval:
    """The interval of an expected calibration error, which chance only ever makes larger.

    Its lower end is 0 where perfect probabilities would show as much by chance, else it is taken from the value less
    the bias that the resamples show (Efron and Tibshirani 1993, section 10.3); the upper end is not moved down by it.
    In simulations of 300 and 1,500 images it held the truth in 92 to 98 of 100 cases.

    Args:
        by_chance: float64 [R], what perfectly calibrated probabilities would have shown (Broecker and Smith, Weather
            and Forecasting 22 (2007), 651-661).
        num_groups: where groups were resampled, how many of equal size they are worth; 0 to 1 for a single one.
    """
    half = _reach(resampled, confidence=confidence, num_groups=num_groups)
    high = min(1.0, value + half)
    if value <= np.quantile(by_chance, confidence):
        return Interval(0.0, high)
    return Interval(min(max(0.0, 2 * value - float(resampled.mean()) - half), value), high)


def _reach(resampled: FloatArray, *, confidence: float, num_groups: float | None) -> float:
    """How far an interval reaches to one side of a value, by its spread over resamples of images or of groups."""
    quantile = two_sided_quantile(confidence, num_groups=num_groups)
    if math.isinf(quantile):
        return math.inf  # all resamples of a single group are the same
    few = 1.0 if num_groups is None else num_groups / (num_groups - 1)
    return quantile * float(resampled.std()) * math.sqrt(few)
