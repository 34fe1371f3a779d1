"""Distances of features against scikit-learn, and what is flagged against what is truly of another kind."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from linnaeus.judging.ood import describe_familiarity, draw_bank, learn_familiarity
from linnaeus.metrics.neighbours import unit_rows
from linnaeus.metrics.ood import NEIGHBOUR, feature_distances


def test_distances_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    bank, features = rng.normal(size=(60, 16)), rng.normal(size=(5000, 16)).astype(np.float16)
    centre = np.full(16, 0.3, np.float32)
    known = unit_rows(bank, mean=centre).astype(np.float16)
    neighbours = NearestNeighbors(n_neighbors=NEIGHBOUR).fit(known.astype(np.float64))
    expected = neighbours.kneighbors(unit_rows(features, mean=centre).astype(np.float64))[0][:, -1]
    np.testing.assert_allclose(feature_distances(features, bank=known, centre=centre), expected, atol=2e-3)


def test_familiar_images_are_flagged_as_rarely_as_was_asked_and_others_often():
    rng = np.random.default_rng(1)
    centres = 3 * rng.normal(size=(4, 32))

    def draw(num: int) -> np.ndarray:
        return centres[rng.integers(0, 4, num)] + rng.normal(size=(num, 32))

    known = learn_familiarity(draw(1000), draw(1500), share=0.95)
    flagged = known.unfamiliar(draw(4000))
    assert 0.03 < flagged.mean() < 0.07
    assert known.unfamiliar(3 * rng.normal(size=(500, 32))).mean() > 0.9
    told = describe_familiarity(known, draw(200), right=np.ones(200, np.bool_), confidence=0.95)
    assert told["share"] == 0.95 and told["unfamiliar"]["low"] <= told["unfamiliar"]["value"]


def test_too_few_validation_images_give_the_largest_distance_as_threshold():
    rng = np.random.default_rng(2)
    validation = rng.normal(size=(10, 8))
    known = learn_familiarity(rng.normal(size=(50, 8)), validation, share=0.99)
    assert not known.unfamiliar(validation).any()


@pytest.mark.parametrize("multi", [False, True])
def test_the_bank_has_images_of_rare_classes(multi):
    targets = np.array([0] * 5000 + [1] * 20 + [2] * 3000)
    rows = draw_bank(np.eye(3, dtype=np.uint8)[targets] if multi else targets, at_most=600, seed=0)
    assert len(rows) == len(set(rows.tolist())) == 600
    assert multi or (targets[rows] == 1).sum() == 20
    assert len(draw_bank(targets[:100], at_most=600, seed=0)) == 100
