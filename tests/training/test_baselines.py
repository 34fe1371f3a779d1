"""Answers without training: against scikit-learn's neighbours and centroids, and by hand."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from linnaeus.metrics.neighbours import unit_rows
from linnaeus.training.baselines import NEIGHBOURS, nearest_centroid, nearest_neighbours


def clouds(num, *, seed, spread):
    rng = np.random.default_rng(seed)
    middles = np.random.default_rng(0).normal(size=(4, 12))
    targets = rng.integers(0, 4, num)
    return unit_rows(middles[targets] + spread * rng.normal(size=(num, 12))), targets


def neighbours(features, targets, queries, query_targets, *, num_validation):
    return nearest_neighbours(
        features,
        targets,
        queries,
        validation=np.arange(num_validation),
        validation_targets=query_targets[:num_validation],
        num_classes=4,
    )


def test_rows_are_brought_to_length_one_after_the_mean_is_taken_away():
    found = unit_rows(np.array([[4.0, 1.0], [1.0, 5.0], [1.0, 1.0]], np.float16), mean=np.ones(2, np.float32))
    np.testing.assert_allclose(found, [[1, 0], [0, 1], [0, 0]])


def test_the_nearest_centroid_is_the_class_whose_mean_direction_is_nearest():
    features, targets = clouds(200, seed=1, spread=1.0)
    queries, _ = clouds(100, seed=2, spread=1.0)
    means = np.stack([features[targets == k].mean(axis=0) for k in range(4)])
    cosines = queries @ means.T / np.linalg.norm(means, axis=1)
    logits = nearest_centroid(features, targets, queries, num_classes=5)
    np.testing.assert_allclose(logits[:, :4], 16 * cosines, rtol=1e-4, atol=1e-4)
    assert (logits.argmax(axis=1) < 4).all(), "a class without training images is never the nearest"


def test_the_votes_are_scikit_learns_and_k_is_the_best_in_validation():
    features, targets = clouds(300, seed=3, spread=1.6)
    queries, query_targets = clouds(400, seed=4, spread=1.6)
    scores = {}
    for k in NEIGHBOURS:
        model = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(features, targets)
        scores[k] = accuracy_score(query_targets[:250], model.predict(queries[:250]))
    found = neighbours(features, targets, queries, query_targets, num_validation=250)
    assert found.k > 1
    model = KNeighborsClassifier(found.k, metric="cosine", algorithm="brute").fit(features, targets)
    fractions = model.predict_proba(queries)
    expected = (found.k * fractions + 0.5) / (found.k + 1)
    np.testing.assert_allclose(np.exp(found.logits), expected, atol=2e-3)
    # Ours breaks ties by distance, scikit-learn by number: they may differ by ties only.
    assert scores[found.k] >= max(scores.values()) - 0.02


def test_among_classes_of_equally_many_votes_the_nearer_is_ahead():
    features = unit_rows(np.array([[1.0, 0.0], [1.0, 0.2], [1.0, 0.3], [1.0, 0.1]], np.float32))
    targets = np.array([2, 1, 1, 2])
    query = unit_rows(np.array([[1.0, 0.01]], np.float32))
    found = nearest_neighbours(
        features, targets, query, validation=np.array([0]), validation_targets=np.array([2]), num_classes=3
    )
    assert found.k == 1 and found.logits.argmax() == 2
    tie = nearest_neighbours(
        np.repeat(features, 3, axis=0)[:10],
        np.array([2, 2, 2, 1, 1, 1, 1, 1, 0, 2]),
        query,
        validation=np.array([0]),
        validation_targets=np.array([2]),
        num_classes=3,
    )
    assert tie.logits.argmax() == 2


def test_neighbours_vote_for_each_of_their_labels():
    features = unit_rows(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]], np.float32))
    targets = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1]], np.uint8)
    query = unit_rows(np.array([[1.0, 0.05], [0.1, 1.0]], np.float32))
    found = nearest_neighbours(
        features,
        targets,
        query,
        validation=np.array([0, 1]),
        validation_targets=np.array([[1, 0, 0], [0, 0, 1]], np.uint8),
        num_classes=3,
    )
    fraction = 1 / (1 + np.exp(-found.logits))
    assert found.k == 1
    assert fraction[1].argmax() == 2 and fraction[0].argmax() == 0
    assert fraction[0, 2] == pytest.approx(0.25)


def test_fewer_training_images_than_neighbours_are_enough():
    found = nearest_neighbours(
        np.eye(2, dtype=np.float32),
        np.array([0, 1]),
        np.eye(2, dtype=np.float32),
        validation=np.array([0, 1]),
        validation_targets=np.array([0, 1]),
        num_classes=2,
    )
    assert found.k == 1
