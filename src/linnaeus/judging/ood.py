"""Out-of-distribution detection: learnt from training and validation images, checked on test images.

Between features and the bundle. Knows nothing of networks or files.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnaeus.judging.evaluation import OodEvaluation, Score
from linnaeus.metrics.classification import FloatArray, IntArray
from linnaeus.metrics.conformal import conformal_quantile
from linnaeus.metrics.multilabel import Labels
from linnaeus.metrics.neighbours import unit_rows
from linnaeus.metrics.ood import NEIGHBOUR, OodDetector, feature_distances
from linnaeus.statistics.intervals import proportion_interval

REFERENCE_IMAGES = 2000


def draw_reference(targets: IntArray | Labels, *, at_most: int = REFERENCE_IMAGES, seed: int) -> IntArray:
    """int64 [M]: positions of the training images to remember, class by class in turn, so that rare classes are there.

    Where images have several labels, at random.
    """
    order = np.random.default_rng(seed).permutation(len(targets))
    if targets.ndim == 1:
        ranks = np.empty(len(targets), np.int64)
        by_class = order[np.argsort(targets[order], kind="stable")]
        starts = np.searchsorted(targets[by_class], targets[by_class], side="left")
        ranks[by_class] = np.arange(len(targets)) - starts
        order = order[np.argsort(ranks[order], kind="stable")]
    return np.sort(order[:at_most]).astype(np.int64)


def fit_ood_detector(
    reference: npt.NDArray[np.floating], validation: npt.NDArray[np.floating], *, in_distribution_fraction: float
) -> OodDetector:
    """Remember features of training images, and set the threshold so that `in_distribution_fraction` of validation
    images are not flagged.

    Args:
        reference: [M, D], features of training images.
        validation: [N, D]; where they are too few for the fraction, the furthest of them sets the threshold.
        in_distribution_fraction: 0-1, such as 0.99.
    """
    centre = reference.astype(np.float32).mean(axis=0)
    known = unit_rows(reference, mean=centre).astype(np.float16)
    distances = feature_distances(validation, reference=known, centre=centre)
    threshold = conformal_quantile(distances, in_distribution_fraction)
    if threshold is None:
        threshold = float(distances.max()) if len(distances) else 2.0
    return OodDetector(known, centre, threshold, in_distribution_fraction)


def describe_ood(
    detector: OodDetector,
    distances: FloatArray,
    *,
    correct: npt.NDArray[np.bool_],
    groups: IntArray | None,
    confidence: float,
) -> OodEvaluation:
    """How many test images are flagged, and how right the answers are for them and for the others.

    Args:
        distances: float64 [N] of the test images, at least one, as `feature_distances` has them.
        correct: bool [N], whether each is answered rightly.
        groups: int64 [N], images that belong together; None where each is its own.
        confidence: level of the intervals.
    """
    flagged = distances > detector.threshold
    return OodEvaluation(
        in_distribution_fraction=detector.in_distribution_fraction,
        threshold=detector.threshold,
        num_neighbours=NEIGHBOUR,
        num_reference=len(detector.reference),
        flagged=_fraction(flagged, groups, confidence=confidence),
        accuracy_in_distribution=_accuracy(correct, ~flagged, groups, confidence=confidence),
        accuracy_flagged=_accuracy(correct, flagged, groups, confidence=confidence),
    )


def _accuracy(
    correct: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_], groups: IntArray | None, *, confidence: float
) -> Score | None:
    """On those images; None without any."""
    if not of.any():
        return None
    return _fraction(correct[of], None if groups is None else groups[of], confidence=confidence)


def _fraction(num_right: npt.NDArray[np.bool_], groups: IntArray | None, *, confidence: float) -> Score:
    return Score.of(float(num_right.mean()), proportion_interval(num_right, groups, confidence=confidence))
