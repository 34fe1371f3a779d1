"""Which of several models should answer together, and with which weight: greedy selection on validation predictions.

Caruana et al., "Ensemble selection from libraries of models", ICML 2004: begin with the best, add again and again the
one (with replacement) that helps most, stop where none does. Functions of arrays; knows nothing of runs or test images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from linnaeus.metrics.classification import FloatArray, accuracy_score
from linnaeus.metrics.multilabel import mean_average_precision
from linnaeus.metrics.probabilities import log_losses

Targets = npt.NDArray[np.int64] | npt.NDArray[np.uint8]

ROUNDS = 25


def select_greedily(probabilities: Sequence[FloatArray], targets: Targets) -> list[int]:
    """How often each model is in the ensemble: its weight in the mean of probabilities; 0 leaves it out.

    Always the model is added that leaves the mean with the highest accuracy (mean average precision for several labels)
    or, that being equal, the lowest log loss, for 25 rounds; the best of the 25 means is taken. It may take a third
    model to settle where two disagree, so the search does not end with the first addition that does not help.

    Args:
        probabilities: of each model, float64 [N, K] in one order of images and classes.
        targets: int64 [N], or uint8 [N, K] of several labels.
    """
    path: list[int] = []
    reached: list[tuple[float, float]] = []
    total = np.zeros_like(probabilities[0])
    for size in range(1, ROUNDS + 1):
        qualities = [quality((total + each) / size, targets) for each in probabilities]
        chosen = max(range(len(qualities)), key=qualities.__getitem__)  # the first of equals
        path.append(chosen)
        reached.append(qualities[chosen])
        total = total + probabilities[chosen]
    best = max(range(ROUNDS), key=reached.__getitem__)
    return [path[: best + 1].count(k) for k in range(len(probabilities))]


def quality(probabilities: FloatArray, targets: Targets) -> tuple[float, float]:
    """(accuracy or mean average precision, less the log loss): larger is better, the first counts first."""
    likelihood = -float(log_losses(probabilities, targets).mean())
    if targets.ndim == 1:
        answers = probabilities.argmax(axis=1)
        return accuracy_score(targets.astype(np.int64), answers, probabilities.shape[1]), likelihood
    return mean_average_precision(targets.astype(np.uint8), probabilities), likelihood
