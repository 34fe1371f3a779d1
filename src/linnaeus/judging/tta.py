"""What a finished model could have besides, if the person wants to pay for it: offered only where validation says so.

Functions of predictions; knows nothing of networks. Nothing here looks at test images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linnaeus.judging.comparison import compare_predictions
from linnaeus.predictions import Predictions

LEVEL = 0.95
"""An offer is made where chance does as much in less than 1 of 20 cases."""


def offer_mirror_views(
    now: Predictions,
    mirrored: Predictions,
    *,
    thresholds: tuple[float, ...] | None,
    bootstrap_samples: int,
    seed: int,
) -> dict[str, Any]:
    """Whether averaging each image with its mirror image is really better, on validation images.

    Args:
        now: answers to the images as they are.
        mirrored: answers of the same model to the same images with the logits of both views averaged.
        thresholds: from which probability each of several labels is given; None for one label per image.
        bootstrap_samples, seed: of the interval.

    Returns "score" ("accuracy" or, for several labels, "micro_f1"), its value as it is ("now") and with mirror views
    ("then"), "low" and "high" of their difference from a paired bootstrap, "p_value" of McNemar's exact test (None for
    several labels), and "helps": whether it is higher by more than chance, by that test or else by the interval.
    """
    limit = np.asarray(0.5 if thresholds is None else thresholds)
    found = compare_predictions(
        now, mirrored, confidence=LEVEL, num_samples=bootstrap_samples, seed=seed, thresholds=(limit, limit)
    )
    low, high = found.difference.interval
    return {
        "score": found.score,
        "now": found.first,
        "then": found.second,
        "low": low,
        "high": high,
        "p_value": None if found.mcnemar is None else found.mcnemar.p_value,
        "helps": found.beyond_noise and found.difference.value > 0,
    }
