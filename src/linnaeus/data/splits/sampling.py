"""Index streams: which rows an epoch visits and how often, in which order, and by which process.

Pure functions of their arguments, so that a resumed run, and every rank, finds the same order again without asking
anyone. Between cache and loader in the life of an image; knows nothing of pixels.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Balance = Literal["none", "oversample", "square_root"]
Targets = npt.NDArray[np.int64] | npt.NDArray[np.uint8]
"""int64 [N], classes, or uint8 [N, K] of 0 and 1 where an image has several labels."""


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


def epoch_length(num_rows: int, *, balance: Balance, oversample_factor: float) -> int:
    """How many images one epoch over `num_rows` shows."""
    return max(num_rows, round(oversample_factor * num_rows)) if balance == "oversample" else num_rows


def draw_positions(
    targets: Targets, *, balance: Balance, oversample_factor: float, seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """int64 [M], M as `epoch_length` says: positions 0..N-1 that the epoch shows, some several times, not shuffled.

    Args:
        targets: of the N training rows.
        balance: "none", each once; "oversample", each once, and then one after the other from those that carry the
            label that is rarest by then (reference system M: images without a label are never taken again);
            "square_root", classes in proportion to the square root of their images (arXiv 1805.00932, section 2.2).
        oversample_factor: with "oversample", images of an epoch as a multiple of N.
        seed, epoch: each pair draws anew.
    """
    num_rows = len(targets)
    if balance == "none":
        return np.arange(num_rows)
    generator = np.random.default_rng([seed, epoch, 1])
    if balance == "oversample":
        return _oversample(
            targets, epoch_length(num_rows, balance=balance, oversample_factor=oversample_factor), generator
        )
    weights = _square_root_weights(targets)
    # Systematic sampling: an image that is due 2.3 times is shown two or three times, 2.3 times on average.
    points = (generator.random() + np.arange(num_rows)) / num_rows
    drawn = np.searchsorted(np.cumsum(weights) / weights.sum(), points)
    return np.minimum(drawn, num_rows - 1).astype(np.int64)


def row_weights(targets: Targets, *, balance: Balance, oversample_factor: float, seed: int) -> npt.NDArray[np.float64]:
    """float64 [N], of mean 1: how often an epoch shows each row, in proportion; of "oversample" what the first epoch
    does. For solvers that look at every row once.
    """
    if balance == "square_root":
        weights = _square_root_weights(targets)
    else:
        drawn = draw_positions(targets, balance=balance, oversample_factor=oversample_factor, seed=seed, epoch=0)
        weights = np.bincount(drawn, minlength=len(targets)).astype(np.float64)
    return np.asarray(weights / weights.mean(), np.float64)


def shown_counts(
    targets: Targets, *, num_classes: int, balance: Balance, oversample_factor: float, seed: int
) -> npt.NDArray[np.float64]:
    """float64 [K]: images per class that an epoch shows."""
    length = epoch_length(len(targets), balance=balance, oversample_factor=oversample_factor)
    weights = (
        row_weights(targets, balance=balance, oversample_factor=oversample_factor, seed=seed) * length / len(targets)
    )
    if targets.ndim == 2:
        return np.asarray(weights @ targets, np.float64)
    return np.asarray(np.bincount(targets, weights=weights, minlength=num_classes), np.float64)


def _oversample(targets: Targets, length: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    labels = targets if targets.ndim == 2 else np.eye(int(targets.max()) + 1, dtype=np.uint8)[targets]
    carriers = [np.flatnonzero(labels[:, k]) for k in range(labels.shape[1])]
    there = np.array([len(rows) > 0 for rows in carriers])
    positions = np.arange(length)
    if not there.any():
        return np.resize(np.arange(len(targets)), length)
    counts = np.where(there, labels.sum(axis=0, dtype=np.int64), np.iinfo(np.int64).max // 2)
    for place, chance in enumerate(generator.random(length - len(targets)), start=len(targets)):
        rows = carriers[int(counts.argmin())]
        row = rows[int(chance * len(rows))]
        positions[place] = row
        counts += labels[row]
    return positions


def _square_root_weights(targets: Targets) -> npt.NDArray[np.float64]:
    """float64 [N]: 1 / sqrt(images of the class); of several labels that of the rarest (repeat factors of LVIS, arXiv
    1908.03195, appendix), and no label counts as a class of its own.
    """
    if targets.ndim == 1:
        counts = np.bincount(targets)
        return 1.0 / np.sqrt(counts[targets])
    labels = np.column_stack([targets, targets.sum(axis=1) == 0]).astype(np.float64)
    each = labels / np.sqrt(np.maximum(labels.sum(axis=0), 1.0))
    return np.asarray(each.max(axis=1), np.float64)
