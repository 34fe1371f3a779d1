"""Whether test-time augmentation would pay: told only by validation images, for the person to decide.

Functions of predictions; knows nothing of networks. Nothing here looks at test images.
"""

from __future__ import annotations

import numpy as np

from linnaeus.judging.comparison import compare_predictions
from linnaeus.judging.evaluation import PairedDifference
from linnaeus.metrics.classification import IntArray
from linnaeus.predictions import Predictions


def compare_views(
    plain: Predictions,
    averaged: Predictions,
    *,
    thresholds: tuple[float, ...] | None,
    groups: IntArray | None,
    confidence: float,
    bootstrap_samples: int,
    seed: int,
) -> PairedDifference:
    """Whether averaging each image with its mirror image is significantly better, on validation images.

    Args:
        plain: answers to the images as they are, the first of the comparison.
        averaged: answers of the same model to the same images with the logits of both views averaged, the second.
        thresholds: from which probability each of several labels is given; None for one label per image.
        groups: int64 [N], images that belong together; None where each is its own.
        confidence: level of the interval, and 1 less that of the test.
        bootstrap_samples, seed: of the interval and of permutations.
    """
    limit = np.asarray(0.5 if thresholds is None else thresholds)
    return compare_predictions(
        plain,
        averaged,
        groups=groups,
        confidence=confidence,
        num_samples=bootstrap_samples,
        seed=seed,
        thresholds=(limit, limit),
    ).paired_difference
