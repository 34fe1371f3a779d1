"""Learning from training and validation images what familiar means, and checking it on test images.

Between features and the bundle. Knows nothing of networks or files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from linnaeus.metrics.classification import IntArray
from linnaeus.metrics.conformal import conformal_quantile
from linnaeus.metrics.multilabel import Labels
from linnaeus.metrics.neighbours import unit_rows
from linnaeus.metrics.ood import NEIGHBOUR, Familiarity, feature_distances
from linnaeus.statistics.intervals import wilson_interval
from linnaeus.statistics.resample import as_score

BANK_IMAGES = 2000


def draw_bank(targets: IntArray | Labels, *, at_most: int = BANK_IMAGES, seed: int) -> IntArray:
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


def learn_familiarity(
    bank: npt.NDArray[np.floating], validation: npt.NDArray[np.floating], *, share: float
) -> Familiarity:
    """Remember features of training images, and set the threshold so that `share` of validation images are familiar.

    Args:
        bank: [M, D], features of training images.
        validation: [N, D]; where they are too few for the share, the furthest of them sets the threshold.
        share: 0-1, such as 0.99.
    """
    centre = bank.astype(np.float32).mean(axis=0)
    known = unit_rows(bank, mean=centre).astype(np.float16)
    distances = feature_distances(validation, bank=known, centre=centre)
    threshold = conformal_quantile(distances, share)
    if threshold is None:
        threshold = float(distances.max()) if len(distances) else 2.0
    return Familiarity(known, centre, threshold, share)


def describe_familiarity(
    known: Familiarity, features: npt.NDArray[np.floating], *, right: npt.NDArray[np.bool_], confidence: float
) -> dict[str, Any]:
    """How many test images look unfamiliar, and how right the answers are for them and for the others; plain JSON.

    Args:
        features: [N, D] of the test images, at least one.
        right: bool [N].
    """
    flagged = known.unfamiliar(features)
    accuracies = {}
    for name, of in (("accuracy_of_familiar", ~flagged), ("accuracy_of_unfamiliar", flagged)):
        hits, number = int(right[of].sum()), int(of.sum())
        accuracies[name] = (
            as_score(hits / number, wilson_interval(hits, number, confidence=confidence)) if number else None
        )
    number = int(flagged.sum())
    share = as_score(number / len(flagged), wilson_interval(number, len(flagged), confidence=confidence))
    facts = {"share": known.share, "threshold": known.threshold, "num_neighbours": NEIGHBOUR}
    return {**facts, "num_remembered": len(known.bank), "unfamiliar": share, **accuracies}
