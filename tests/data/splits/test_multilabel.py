"""Splits and folds of images with several labels: every label in every part, in proportion, and no group divided."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, VALIDATION, Manifest
from linnaeus.data.splits.multilabel import divide_labels, multilabel_folds, scarce_labels
from linnaeus.data.splits.stratified import assign_splits
from linnaeus.errors import SplitError

FRACTIONS = [0.15, 0.15]
FREQUENCIES = np.array([0.5, 0.4, 0.2, 0.1, 0.03, 0.01])


def labels(num: int, *, seed: int, frequencies: np.ndarray = FREQUENCIES) -> np.ndarray:
    """uint8 [N, K]: labels that go together a little, as real ones do; some images have none."""
    rng = np.random.default_rng(seed)
    mood = rng.random((num, 1))
    return (rng.random((num, len(frequencies))) < frequencies * (0.5 + mood)).astype(np.uint8)


def divide(targets: np.ndarray, *, seed: int = 0, groups: np.ndarray | None = None) -> np.ndarray:
    return divide_labels(targets, fractions=FRACTIONS, most=[None, None], seed=seed, groups=groups)


@given(seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_every_part_has_its_fraction_of_every_label_to_within_seven_images_of_800(seed: int) -> None:
    """Stated tolerance: seven images of each label, and five images in all, from what the fraction would be."""
    targets = labels(800, seed=seed)
    places = divide(targets, seed=seed)
    for place, fraction in enumerate([1 - sum(FRACTIONS), *FRACTIONS]):
        part = targets[places == place]
        assert abs(len(part) - fraction * len(targets)) <= 5
        assert (np.abs(part.sum(axis=0) - fraction * targets.sum(axis=0)) <= 7).all()


def test_parts_are_several_times_closer_to_their_fractions_than_if_they_were_drawn() -> None:
    """The mean distance from the fraction, over twenty sets, against the same parts drawn without a look at labels."""
    ours: list[float] = []
    drawn: list[float] = []
    for seed in range(20):
        targets = labels(800, seed=seed)
        places = divide(targets, seed=seed)
        for found, places_of in ((ours, places), (drawn, np.random.default_rng(seed).permutation(places))):
            counts = np.stack([targets[places_of == place].sum(axis=0) for place in (1, 2)])
            found.append(np.abs(counts - 0.15 * targets.sum(axis=0)).mean())
    assert np.mean(ours) < 0.25 * np.mean(drawn)


@given(seed=st.integers(0, 1000), num=st.integers(12, 120))
@settings(max_examples=60)
def test_a_label_of_three_images_or_more_stands_in_all_three_parts(seed: int, num: int) -> None:
    targets = labels(num, seed=seed)
    places = divide(targets, seed=seed)
    present = np.stack([targets[places == place].any(axis=0) for place in range(3)])
    enough = targets.sum(axis=0) >= 3 * len(FREQUENCIES)  # so many that no image must stand for two rare labels
    assert present[:, enough].all()
    assert present[0, targets.any(axis=0)].all(), "a label of which there is one image is trained on"


def test_rare_labels_that_do_not_meet_stand_in_all_parts() -> None:
    """Ten labels of three images each among a thousand: every part has one image of each."""
    targets = np.zeros((1000, 11), np.uint8)
    targets[:, 10] = 1
    for label in range(10):
        targets[7 * label : 7 * label + 3, label] = 1
    for seed in range(5):
        places = divide(targets, seed=seed)
        counts = np.stack([targets[places == place].sum(axis=0) for place in range(3)])
        assert (counts[:, :10] == 1).all()


def test_worked_out_by_hand() -> None:
    """Twenty images of each of the four combinations of two labels: fifteen percent are three of each, all of them."""
    targets = np.repeat(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.uint8), 20, axis=0)
    kinds = targets @ np.array([1, 2])
    for seed in range(5):
        places = divide(targets, seed=seed)
        counts = np.stack([np.bincount(kinds[places == place], minlength=4) for place in range(3)])
        assert counts.tolist() == [[14] * 4, [3] * 4, [3] * 4]


def test_the_seed_decides_and_the_test_part_does_not_follow_the_validation_fraction() -> None:
    targets = labels(500, seed=1)
    assert (divide(targets, seed=4) == divide(targets, seed=4)).all()
    assert (divide(targets, seed=4) != divide(targets, seed=5)).any()
    other = divide_labels(targets, fractions=[0.15, 0.3], most=[None, None], seed=4)
    assert ((divide(targets, seed=4) == 1) == (other == 1)).all()


def test_a_bound_on_a_part_holds() -> None:
    targets = labels(2000, seed=2)
    places = divide_labels(targets, fractions=FRACTIONS, most=[None, 60], seed=0)
    assert abs(int((places == 2).sum()) - 60) <= 4
    assert targets[places == 2].any(axis=0).all()


@given(seed=st.integers(0, 300))
@settings(max_examples=30)
def test_groups_are_never_divided_and_labels_still_stand_in_proportion(seed: int) -> None:
    targets = labels(900, seed=seed)
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 300, 900) * 11 - 5
    for places in (
        divide(targets, seed=seed, groups=groups),
        multilabel_folds(targets, num_folds=4, seed=seed, groups=groups),
    ):
        assert all(len(np.unique(places[groups == group])) == 1 for group in np.unique(groups))
    places = divide(targets, seed=seed, groups=groups)
    frequent = targets.sum(axis=0) >= 100
    for place, fraction in enumerate([0.7, *FRACTIONS]):
        got = targets[places == place].sum(axis=0)
        assert (
            np.abs(got - fraction * targets.sum(axis=0))[frequent] <= 0.05 * targets.sum(axis=0)[frequent] + 4
        ).all()


@given(seed=st.integers(0, 300), num_folds=st.integers(2, 7))
@settings(max_examples=40)
def test_folds_have_every_label_alike_to_within_five_images_of_700(seed: int, num_folds: int) -> None:
    targets = labels(700, seed=seed)
    folds = multilabel_folds(targets, num_folds=num_folds, seed=seed)
    counts = np.stack([targets[folds == fold].sum(axis=0) for fold in range(num_folds)])
    assert (np.abs(counts - targets.sum(axis=0) / num_folds) <= 5).all()
    assert np.ptp(np.bincount(folds, minlength=num_folds)) <= 6


def test_images_without_labels_are_dealt_like_the_others() -> None:
    targets = np.zeros((100, 3), np.uint8)
    targets[:40, 0] = 1
    places = divide(targets)
    assert [int((places[40:] == place).sum()) for place in range(3)] == [42, 9, 9]


def test_too_few_images_are_refused_and_scarce_labels_are_named() -> None:
    with pytest.raises(SplitError, match="cannot be divided into 3 splits"):
        divide(np.ones((2, 2), np.uint8))
    with pytest.raises(SplitError, match="cannot be divided into 5 folds"):
        multilabel_folds(np.ones((4, 2), np.uint8), num_folds=5, seed=0)
    targets = np.zeros((9, 3), np.uint8)
    targets[:6, 0], targets[:2, 1] = 1, 1
    names = ("sky", "tree", "N/A")
    assert scarce_labels(targets, needed=1, classes=("sky", "tree", "cat")) is not None
    words = scarce_labels(targets, needed=3, classes=names)
    assert words is not None and "'tree' (2), 'N/A' (0)" in words
    assert scarce_labels(targets[:, :1], needed=3, classes=("sky",)) is None
    grouped = scarce_labels(targets[:, :1], needed=3, classes=("sky",), groups=np.zeros(9, np.int64))
    assert grouped is not None and "'sky' (1)" in grouped


def manifest_of(targets: np.ndarray, splits: np.ndarray) -> Manifest:
    ids = pa.array([str(row) for row in range(len(targets))], pa.large_string())
    names = tuple(f"label {k}" for k in range(targets.shape[1]))
    return Manifest(ids, ids, targets, splits.astype(np.int8), names, task="multi")


def test_splits_that_the_data_brought_stay_and_scarce_labels_become_a_note() -> None:
    targets = labels(300, seed=3)
    targets[:, 5] = 0
    targets[50, 5] = 1
    splits = np.full(300, UNASSIGNED)
    splits[:30] = TEST
    found = assign_splits(
        manifest_of(targets, splits), validation_fraction=0.2, validation_max=10**6, test_fraction=0.15, seed=0
    )
    assert (found.rows(TEST) == np.arange(30)).all()
    assert abs(len(found.rows(VALIDATION)) - 54) <= 3
    assert len(found.rows(TRAIN)) + len(found.rows(VALIDATION)) == 270
    assert any("'label 5' (1)" in note for note in found.notes)
