"""What is worth a look first: orders, distances and neighbours agree with plain computations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from linnaeus.review.neighbours import NUM_NEIGHBOURS, find_neighbours
from linnaeus.review.selection import most_informative


def pool(seed: int, *, several: bool = False, num_rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(num_rows, 6)).astype(np.float32)
    logits = 2 * generator.normal(size=(num_rows, 4))
    exponents = np.exp(logits)
    probabilities = exponents / (1 + exponents) if several else exponents / exponents.sum(axis=1, keepdims=True)
    return features, probabilities.astype(np.float32)


def gradients(features: np.ndarray, probabilities: np.ndarray, *, several: bool) -> np.ndarray:
    """The embeddings themselves, [N, K D]."""
    most_probable = probabilities >= 0.5 if several else probabilities == probabilities.max(axis=1, keepdims=True)
    residuals = probabilities - most_probable
    return np.einsum("nk,nd->nkd", residuals, features).reshape(len(features), -1)


@given(st.integers(0, 10**6), st.booleans(), st.integers(1, 30))
def test_every_row_comes_once_and_the_longest_gradient_first(seed: int, several: bool, num_rows: int) -> None:
    features, probabilities = pool(seed, several=several, num_rows=num_rows)
    order = most_informative(features, probabilities, several=several, seed=seed, most_drawn=8)
    assert sorted(order.tolist()) == list(range(num_rows))
    lengths = np.linalg.norm(gradients(features, probabilities, several=several), axis=1)
    assert lengths[order[0]] == pytest.approx(lengths.max(), rel=1e-5)
    rest = lengths[order[8:]]
    assert (np.diff(rest) <= 1e-4).all(), "what is not drawn follows by its length"


def test_draws_follow_the_squared_distance_to_what_is_chosen() -> None:
    features, probabilities = pool(3, num_rows=5)
    vectors = gradients(features, probabilities, several=False)
    first = int(np.linalg.norm(vectors, axis=1).argmax())
    distances = np.square(vectors - vectors[first]).sum(axis=1)
    seconds = [most_informative(features, probabilities, several=False, seed=s, most_drawn=2)[1] for s in range(2000)]
    fractions = np.bincount(seconds, minlength=5) / 2000
    assert fractions == pytest.approx(distances / distances.sum(), abs=0.04)


def test_copies_of_an_image_are_not_asked_for_again_before_all_others() -> None:
    features, probabilities = pool(5, num_rows=12)
    doubled = np.concatenate([features, features]), np.concatenate([probabilities, probabilities])
    order = most_informative(*doubled, several=False, seed=0)
    assert len(set((order[:12] % 12).tolist())) == 12


def test_no_images_have_an_order_too() -> None:
    assert len(most_informative(np.zeros((0, 3), np.float32), np.zeros((0, 2), np.float32), several=False, seed=0)) == 0


def test_neighbours_are_those_of_scikit_learn() -> None:
    features = np.random.default_rng(8).normal(size=(60, 5)).astype(np.float16)
    rows = np.arange(0, 60, 2)
    found = find_neighbours(
        features,
        rows,
        feature_of=lambda row: features[row],
        labels_of=lambda row: [str(row)],
        same_rows=True,
        seed=0,
    )
    reference = NearestNeighbors(n_neighbors=NUM_NEIGHBOURS + 1, metric="cosine").fit(features[rows].astype(np.float64))
    for row in (4, 7):
        distances, places = reference.kneighbors(features[row : row + 1].astype(np.float64))
        expected = [(int(rows[k]), 1 - d) for k, d in zip(places[0], distances[0], strict=True) if rows[k] != row]
        near = found.of(row)
        assert [n["row"] for n in near] == [k for k, _ in expected[:NUM_NEIGHBOURS]]
        assert [n["similarity"] for n in near] == pytest.approx([s for _, s in expected[:NUM_NEIGHBOURS]], abs=2e-3)
        assert near[0]["labels"] == [str(near[0]["row"])]
