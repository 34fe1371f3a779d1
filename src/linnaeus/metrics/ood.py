"""Whether an image is like those a model was trained on: the distance of its features from theirs.

Deep nearest neighbours (Sun et al., arXiv 2204.06507): features of unit length, distance to the k-th nearest of some
training images. Plain functions of arrays, for evaluation and prediction. Knows nothing of networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnaeus.metrics.classification import FloatArray
from linnaeus.metrics.neighbours import nearest_rows, unit_rows

NEIGHBOUR = 5
"""k: a single odd training image shall not make everything near it look in distribution."""


@dataclass(frozen=True)
class OodDetector:
    """What a model knows of the look of its training images.

    Attributes:
        reference: float16 [M, D], centred features of unit length of training images.
        centre: float32 [D], mean of the features.
        threshold: images further away than this are flagged.
        in_distribution_fraction: of validation images that were not to be flagged.
    """

    reference: npt.NDArray[np.float16]
    centre: npt.NDArray[np.float32]
    threshold: float
    in_distribution_fraction: float

    def flag(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """bool [N]: which of these features [N, D] are further away than the threshold."""
        distances = feature_distances(features, reference=self.reference, centre=self.centre)
        return np.asarray(distances > self.threshold, np.bool_)


def feature_distances(
    features: npt.NDArray[np.floating], *, reference: npt.NDArray[np.float16], centre: npt.NDArray[np.float32]
) -> FloatArray:
    """float64 [N], 0-2: distance of each image's unit features from the k-th nearest of the reference images."""
    k = min(NEIGHBOUR, len(reference))
    distances = np.empty(len(features))
    for rows, _, cosines in nearest_rows(unit_rows(features, mean=centre), reference.astype(np.float32), num=k):
        distances[rows] = np.sqrt(np.maximum(0.0, 2 - 2 * cosines[:, -1].astype(np.float64)))
    return distances
