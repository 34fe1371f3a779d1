"""Folds: every row once, every class in each, groups whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.data.splits.folds import stratified_folds
from linnaeus.errors import ClassesError, SplitError

NAMES = ("cat", "dog", "eel")


@given(
    counts=st.lists(st.integers(5, 40), min_size=3, max_size=3), num_folds=st.integers(2, 5), seed=st.integers(0, 99)
)
def test_every_class_stands_in_every_fold_in_its_fraction(counts: list[int], num_folds: int, seed: int) -> None:
    targets = np.repeat(np.arange(3), counts)
    folds = stratified_folds(targets, num_folds=num_folds, seed=seed, classes=NAMES)
    for k, count in enumerate(counts):
        per_fold = np.bincount(folds[targets == k], minlength=num_folds)
        assert per_fold.max() - per_fold.min() <= 1
        assert per_fold.sum() == count


def test_groups_are_never_divided() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5)
    targets = rng.integers(0, 3, 200)
    folds = stratified_folds(targets, num_folds=5, seed=0, classes=NAMES, groups=groups)
    assert all(len(set(folds[groups == group])) == 1 for group in range(40))
    assert set(folds) == set(range(5))


def test_the_seed_decides_which() -> None:
    targets = np.repeat(np.arange(3), 20)
    one, other = (stratified_folds(targets, num_folds=4, seed=seed, classes=NAMES) for seed in (0, 1))
    assert not np.array_equal(one, other)
    assert np.array_equal(one, stratified_folds(targets, num_folds=4, seed=0, classes=NAMES))


def test_a_class_too_small_is_named() -> None:
    targets = np.array([0] * 10 + [1] * 10 + [2] * 3)
    with pytest.raises(ClassesError, match=r"Class eel has 3 images, too few for 5 folds.*--folds 3"):
        stratified_folds(targets, num_folds=5, seed=0, classes=NAMES)
    with pytest.raises(ClassesError, match="groups of images"):
        stratified_folds(targets, num_folds=5, seed=0, classes=NAMES, groups=np.arange(23) // 5)


def test_fewer_images_than_folds_are_refused() -> None:
    with pytest.raises(SplitError, match="4 images cannot be divided into 5 folds"):
        stratified_folds(np.array([0, 0, 1, 1]), num_folds=5, seed=0, classes=NAMES)
