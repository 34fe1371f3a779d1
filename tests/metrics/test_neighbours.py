"""Neighbours by cosine: as scikit-learn finds them, the nearest first, however the blocks are cut."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from linnaeus.metrics import neighbours
from linnaeus.metrics.neighbours import nearest_rows, unit_rows


def test_rows_have_length_one_and_zeros_stay() -> None:
    found = unit_rows(np.array([[3, 4], [0, 0], [-60000, 0]], np.float16))
    assert found.dtype == np.float32 and found.tolist() == [[0.6000000238418579, 0.800000011920929], [0, 0], [-1, 0]]
    centred = unit_rows(np.array([[4.0, 1.0]]), mean=np.ones(2, np.float32))
    assert centred.tolist() == [[1, 0]]


@pytest.mark.parametrize("num", [1, 7, 40])
@pytest.mark.parametrize("block", [3, 1024])
def test_they_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch, num: int, block: int) -> None:
    monkeypatch.setattr(neighbours, "_ROWS_AT_ONCE", block)
    rng = np.random.default_rng(0)
    bank, queries = (unit_rows(rng.normal(size=(size, 6)).astype(np.float32)) for size in (40, 10))
    distances, expected = NearestNeighbors(n_neighbors=num, metric="cosine").fit(bank).kneighbors(queries)
    found = list(nearest_rows(queries, bank, num=num))
    assert [rows.start for rows, _, _ in found] == list(range(0, 10, block))
    assert np.array_equal(np.concatenate([places for _, places, _ in found]), expected)
    np.testing.assert_allclose(np.concatenate([cosines for _, _, cosines in found]), 1 - distances, atol=1e-5)


def test_of_equally_near_rows_the_first_comes_first() -> None:
    bank = unit_rows(np.array([[0, 1], [1, 0], [1, 0], [1, 0]], np.float32))
    (_, places, cosines), *_ = nearest_rows(bank[1:2], bank, num=4)
    assert places.tolist() == [[1, 2, 3, 0]] and cosines.tolist() == [[1, 1, 1, 0]]
