"""Sampling: each epoch a new order, found again from the same arguments, shared out among ranks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.data.sampling import epoch_order


@given(num_rows=st.integers(1, 300), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 1000))
def test_an_epoch_visits_every_row_once(num_rows: int, seed: int, epoch: int) -> None:
    order = epoch_order(num_rows, seed=seed, epoch=epoch)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(num_rows))


def test_the_same_arguments_give_the_same_order_and_others_another() -> None:
    first = epoch_order(500, seed=3, epoch=4)
    assert np.array_equal(first, epoch_order(500, seed=3, epoch=4))
    assert not np.array_equal(first, epoch_order(500, seed=3, epoch=5))
    assert not np.array_equal(first, epoch_order(500, seed=4, epoch=3))


def test_the_order_is_shuffled() -> None:
    order = epoch_order(10_000, seed=0, epoch=0)
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05


@given(num_rows=st.integers(1, 100), world_size=st.integers(1, 9), epoch=st.integers(0, 5))
def test_ranks_share_the_rows_equally_and_miss_none(num_rows: int, world_size: int, epoch: int) -> None:
    parts = [epoch_order(num_rows, seed=1, epoch=epoch, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert {len(part) for part in parts} == {-(-num_rows // world_size)}
    visits = np.bincount(np.concatenate(parts), minlength=num_rows)
    assert visits.min() >= 1
    # Taken in turns, the ranks go through the order of a single process, padded from its beginning.
    together = np.stack(parts, axis=1).reshape(-1)
    assert np.array_equal(together[:num_rows], epoch_order(num_rows, seed=1, epoch=epoch))
