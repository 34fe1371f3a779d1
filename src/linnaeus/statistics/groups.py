"""Images that belong together: their sums, and how many independent images they are worth.

Images of one scene, patient or video resemble each other, so a test set of them is no sample of independent images.
Everything in this room takes `groups: int64 [N] | None`, images with equal numbers belonging together; None where each
is its own. Knows nothing of what is counted.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from linnaeus.metrics.classification import FloatArray, IntArray


class Grouping(NamedTuple):
    """Groups with the numbers 0 to G - 1.

    Attributes:
        places: int64 [N], the group of each image.
        sizes: int64 [G], images of each group, at least one.
    """

    places: IntArray
    sizes: IntArray


def grouping(groups: IntArray | None, num_images: int) -> Grouping | None:
    """Groups int64 [N] of whatever numbers as `Grouping`; None where each image is its own.

    Raises ValueError if there are not as many as images.
    """
    if groups is None:
        return None
    if groups.shape != (num_images,):
        raise ValueError(f"groups {groups.shape} must be one number for each of {num_images} images")
    _, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) == num_images:
        return None
    return Grouping(places.astype(np.int64), sizes.astype(np.int64))


def group_sums(values: FloatArray, places: IntArray, num_groups: int) -> FloatArray:
    """float64 [G, C]: sums over the images of each group, of values [N, C]."""
    columns = [np.bincount(places, column, num_groups) for column in values.T]
    return np.stack(columns, axis=1) if columns else np.zeros((num_groups, 0))


def effective_number(sizes: IntArray | FloatArray) -> float:
    """How many groups of equal size have the spread of these, N^2 / sum n_g^2 (Kish, "Survey Sampling", 1965, 11.7).

    With one scene of half of all images and many small ones it is no more than 4, however many these are.
    """
    total = float(sizes.sum())
    return total**2 / float((sizes.astype(np.float64) ** 2).sum()) if total else 0.0


def two_sided_quantile(confidence: float, *, num_groups: float | None = None) -> float:
    """How many deviations an interval reaches to both sides: of the normal curve, 1.96 for 0.95.

    With groups, of Student's t with as many degrees of freedom as there are groups, less one, since the deviation is
    itself known from so few (Cameron and Miller, Journal of Human Resources 50 (2015), section VI). Infinite for one.
    """
    if num_groups is None:
        return float(ndtri((1 + confidence) / 2))
    return float(stdtrit(num_groups - 1, (1 + confidence) / 2)) if num_groups > 1 + 1e-9 else math.inf
