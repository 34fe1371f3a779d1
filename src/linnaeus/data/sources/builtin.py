"""Built-in data sets: images that come with a dependency, so that a first run needs no download."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from linnaeus.data.images.builtin import SCHEME, digits
from linnaeus.data.manifest import UNASSIGNED, Manifest


def read_digits() -> Manifest:
    """1,797 rows of the classes "0" to "9", not divided into splits."""
    _, targets = digits()
    num_rows = len(targets)
    return Manifest(
        ids=pa.array([f"digits/{row:04d}" for row in range(num_rows)], pa.large_string()),
        uris=pa.array([f"{SCHEME}digits/{row}" for row in range(num_rows)], pa.large_string()),
        targets=targets,
        splits=np.full(num_rows, UNASSIGNED, np.int8),
        classes=tuple(str(digit) for digit in range(10)),
    )
