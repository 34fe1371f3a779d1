"""Which unlabelled images to label first: those the model is unsure of, and no two alike.

BADGE (Ash et al., arXiv 1906.03671): each image stands for the gradient that its own most likely label would send into
the head, which is long where the model is unsure; k-means++ seeding (section 3, algorithm 1) then draws images that are
long and far apart. Knows nothing of files or pages.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MOST_DRAWN = 300
"""So many are drawn for diversity; the rest follows by uncertainty alone."""

_Floats = npt.NDArray[np.float32]


def most_informative(
    features: _Floats, probabilities: _Floats, *, several: bool, seed: int, most_drawn: int = MOST_DRAWN
) -> npt.NDArray[np.int64]:
    """An order of all rows, the most informative first.

    Args:
        features: float32 [N, D].
        probabilities: float32 [N, K]; rows sum to 1, or with `several` are each a yes-or-no question.
        seed: of the draws after the first, which is the row with the longest gradient.

    Returns int64 [N], every row once. Memory beyond the arguments: a few numbers per row, because the inner product of
    two gradients, residual times features, is the product of the inner products of the two.
    """
    if not len(features):
        return np.zeros(0, np.int64)
    most_probable = probabilities >= 0.5 if several else np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]
    residuals = (probabilities - most_probable).astype(np.float32)
    lengths = np.square(residuals).sum(axis=1) * np.square(features).sum(axis=1)
    generator = np.random.default_rng(seed)
    distances = np.full(len(features), np.inf)
    chosen = [int(lengths.argmax())]
    while len(chosen) < min(most_drawn, len(features)):
        last = chosen[-1]
        inner = (residuals @ residuals[last]) * (features @ features[last])
        distances = np.minimum(distances, np.maximum(lengths + lengths[last] - 2 * inner, 0.0))
        distances[chosen] = 0.0
        # Copies of a chosen image are a rounding error away from it.
        distances[distances < 1e-5 * lengths[last]] = 0.0
        total = float(distances.sum())
        if total <= 0.0:
            break
        chosen.append(int(generator.choice(len(features), p=distances / total)))
    order = np.argsort(-lengths, kind="stable")
    return np.concatenate([np.array(chosen, np.int64), order[~np.isin(order, chosen)]])
