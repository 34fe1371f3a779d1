"""Copies: which rows of a manifest show the same picture, as whoever looked for them found it.

Between the cache and the split in the life of an image. Knows nothing of how copies are recognised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet

from linnaeus.data.manifest import TEST, TRAIN, VALIDATION, Manifest

_Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Copies:
    """Groups of rows, each ascending, that show the same picture; rows of different groups differ."""

    groups: list[_Rows]
    num_rows: int

    def leaked(self, manifest: Manifest) -> _Rows:
        """Test rows that have a copy in training or validation, ascending."""
        found = [
            group[manifest.splits[group] == TEST]
            for group in self.groups
            if np.isin(manifest.splits[group], (TRAIN, VALIDATION)).any()
        ]
        return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)

    def groups_with(self, own: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64]:
        """int64 [N] for a manifest: its `own` groups (None: every row is its own), joined where copies connect them."""
        if own is None:
            labels = np.arange(self.num_rows)
            for group in self.groups:
                labels[group] = group[0]
            return labels
        values, inverse = np.unique(own, return_inverse=True)
        joined = DisjointSet(range(len(values)))
        for group in self.groups:
            for row in group[1:]:
                joined.merge(int(inverse[group[0]]), int(inverse[row]))
        return np.array([joined[k] for k in range(len(values))], np.int64)[inverse]
