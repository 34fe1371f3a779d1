"""Whether an image is like those a model was trained on: the distance of its features from theirs.

Deep nearest neighbours (Sun et al., arXiv 2204.06507): features of unit length, distance to the k-th nearest of some
training images. Plain functions of arrays, for evaluation and prediction. Knows nothing of networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnaeus.metrics.classification import FloatArray

NEIGHBOUR = 5
"""k: a single odd training image shall not make everything near it familiar."""
_ROWS_AT_ONCE = 2048


@dataclass(frozen=True)
class Familiarity:
    """What a model knows of the look of its training images.

    Attributes:
        bank: float16 [M, D], centred features of unit length of training images.
        centre: float32 [D], mean of the features.
        threshold: images further away than this are unfamiliar.
        share: of validation images that were to be found familiar.
    """

    bank: npt.NDArray[np.float16]
    centre: npt.NDArray[np.float32]
    threshold: float
    share: float

    def unfamiliar(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """bool [N]: which of these features [N, D] are further away than the threshold."""
        distances = feature_distances(features, bank=self.bank, centre=self.centre)
        return np.asarray(distances > self.threshold, np.bool_)


def unit_features(features: npt.NDArray[np.floating], centre: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """float32 [N, D]: features less the centre, each of length 1."""
    centred = features.astype(np.float32) - centre
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(norms, 1e-12), np.float32)


def feature_distances(
    features: npt.NDArray[np.floating], *, bank: npt.NDArray[np.float16], centre: npt.NDArray[np.float32]
) -> FloatArray:
    """float64 [N], 0-2: distance of each image's unit features from the k-th nearest of the bank."""
    neighbours = bank.astype(np.float32)
    k = min(NEIGHBOUR, len(neighbours))
    distances = np.empty(len(features))
    for start in range(0, len(features), _ROWS_AT_ONCE):
        own = unit_features(features[start : start + _ROWS_AT_ONCE], centre)
        nearness = np.partition(own @ neighbours.T, len(neighbours) - k, axis=1)[:, len(neighbours) - k]
        distances[start : start + len(own)] = np.sqrt(np.maximum(0.0, 2 - 2 * nearness.astype(np.float64)))
    return distances
