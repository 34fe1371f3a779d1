"""Neighbours: labelled images that look alike to the network, beside the one that is judged.

Knows nothing of files or pages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linnaeus.metrics.neighbours import nearest_rows, unit_rows

NUM_NEIGHBOURS = 12
MOST_COMPARED = 50_000
"""Neighbours are sought among at most so many labelled images, drawn at random: a moment for each question."""

_Features = npt.NDArray[np.float16] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class Neighbours:
    """Answers which labelled images are most like one.

    Attributes:
        among: int64 [M], the labelled rows that are compared with, in their own manifest.
        directions: float32 [M, D], their features, of length 1.
        feature_of: row of the image that is judged -> float [D].
        labels_of: row of a labelled image -> its labels.
        same_rows: whether both kinds of rows are of one manifest, so that an image is not its own neighbour.
    """

    among: npt.NDArray[np.int64]
    directions: npt.NDArray[np.float32]
    feature_of: Callable[[int], _Features]
    labels_of: Callable[[int], list[str]]
    same_rows: bool

    def of(self, row: int) -> list[dict[str, Any]]:
        """The nearest ones by the cosine of their features, the nearest first: row, labels, similarity (-1 to 1)."""
        num = min(NUM_NEIGHBOURS + int(self.same_rows), len(self.among))
        _, places, cosines = next(nearest_rows(unit_rows(self.feature_of(row)[None]), self.directions, num=num))
        found = zip(self.among[places[0]].tolist(), cosines[0].tolist(), strict=True)
        others = [(known, cosine) for known, cosine in found if not (self.same_rows and known == row)]
        return [
            {"row": known, "labels": self.labels_of(known), "similarity": round(cosine, 3)}
            for known, cosine in others[:NUM_NEIGHBOURS]
        ]


def find_neighbours(
    features: _Features,
    rows: npt.NDArray[np.int64],
    *,
    feature_of: Callable[[int], _Features],
    labels_of: Callable[[int], list[str]],
    same_rows: bool,
    seed: int,
) -> Neighbours:
    """Prepare the comparison with some labelled rows.

    Args:
        features: float [N, D] of a manifest's rows.
        rows: int64 [n], the labelled ones among them.
        feature_of, labels_of, same_rows: as in `Neighbours`.
        seed: of the draw, where there are more than MOST_COMPARED.
    """
    among = rows
    if len(rows) > MOST_COMPARED:
        among = np.sort(np.random.default_rng(seed).choice(rows, MOST_COMPARED, replace=False))
    return Neighbours(among, unit_rows(features[among]), feature_of, labels_of, same_rows)
