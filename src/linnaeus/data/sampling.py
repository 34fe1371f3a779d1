"""Index streams: in which order the rows of an epoch are visited, and by which process.

Pure functions of their arguments, so that a resumed run, and every rank, finds the same order again without asking
anyone. Between cache and loader in the life of an image; knows nothing of pixels or labels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def epoch_order(num_rows: int, *, seed: int, epoch: int, rank: int = 0, world_size: int = 1) -> npt.NDArray[np.int64]:
    """Positions 0..num_rows-1 in the order that `rank` visits them in `epoch`.

    Args:
        num_rows: positive number of rows to shuffle.
        seed, epoch: non-negative; each pair gives its own order.
        rank, world_size: this process among how many. All ranks together cover each row once; the order is padded
            from its own beginning so that every rank has equally many.

    Returns:
        int64 [M], M = ceil(num_rows / world_size).
    """
    assert num_rows > 0 and 0 <= rank < world_size, f"{num_rows} rows, rank {rank} of {world_size}"
    order = np.random.default_rng([seed, epoch]).permutation(num_rows)
    per_rank = -(-num_rows // world_size)
    return np.resize(order, per_rank * world_size)[rank::world_size].astype(np.int64)
