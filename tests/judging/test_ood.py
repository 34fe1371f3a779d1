"""Distances of features against scikit-learn, and what is flagged against what is truly of another kind."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from linnaeus.judging.ood import describe_ood, draw_reference, fit_ood_detector
from linnaeus.metrics.neighbours import unit_rows
from linnaeus.metrics.ood import NEIGHBOUR, feature_distances


def test_distances_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    reference, features = rng.normal(size=(60, 16)), rng.normal(size=(5000, 16)).astype(np.float16)
    centre = np.full(16, 0.3, np.float32)
    known = unit_rows(reference, mean=centre).astype(np.float16)
    neighbours = NearestNeighbors(n_neighbors=NEIGHBOUR).fit(known.astype(np.float64))
    expected = neighbours.kneighbors(unit_rows(features, mean=centre).astype(np.float64))[0][:, -1]
    np.testing.assert_allclose(feature_distances(features, reference=known, centre=centre), expected, atol=2e-3)


def test_in_distribution_images_are_flagged_as_rarely_as_was_asked_and_others_often():
    rng = np.random.default_rng(1)
    centres = 3 * rng.normal(size=(4, 32))

    def draw(num: int) -> np.ndarray:
        return centres[rng.integers(0, 4, num)] + rng.normal(size=(num, 32))

    known = fit_ood_detector(draw(1000), draw(1500), in_distribution_fraction=0.95)
    flagged = known.flag(draw(4000))
    assert 0.03 < flagged.mean() < 0.07
    assert known.flag(3 * rng.normal(size=(500, 32))).mean() > 0.9
    features = np.concatenate([draw(180), 3 * rng.normal(size=(20, 32))])
    distances = feature_distances(features, reference=known.reference, centre=known.centre)
    flagged, correct = known.flag(features), rng.random(200) < 0.8
    groups = np.arange(200) // 10
    told, grouped = (
        describe_ood(known, distances, correct=correct, groups=each, confidence=0.95) for each in (None, groups)
    )
    assert told.in_distribution_fraction == 0.95 and told.num_reference == 1000
    assert told.flagged.low <= told.flagged.value == flagged.mean() <= told.flagged.high
    assert told.accuracy_flagged is not None
    assert told.accuracy_flagged.value == correct[flagged].mean()
    assert told.accuracy_in_distribution is not None
    assert told.accuracy_in_distribution.value == correct[~flagged].mean()
    assert grouped.flagged.value == told.flagged.value and grouped.flagged.high > told.flagged.high
    near = describe_ood(known, np.zeros(5), correct=correct[:5], groups=None, confidence=0.95)
    assert near.accuracy_flagged is None and near.flagged.value == 0


def test_too_few_validation_images_give_the_largest_distance_as_threshold():
    rng = np.random.default_rng(2)
    validation = rng.normal(size=(10, 8))
    known = fit_ood_detector(rng.normal(size=(50, 8)), validation, in_distribution_fraction=0.99)
    assert not known.flag(validation).any()


@pytest.mark.parametrize("multi", [False, True])
def test_the_bank_has_images_of_rare_classes(multi):
    targets = np.array([0] * 5000 + [1] * 20 + [2] * 3000)
    rows = draw_reference(np.eye(3, dtype=np.uint8)[targets] if multi else targets, at_most=600, seed=0)
    assert len(rows) == len(set(rows.tolist())) == 600
    assert multi or (targets[rows] == 1).sum() == 20
    assert len(draw_reference(targets[:100], at_most=600, seed=0)) == 100
