"""Splitting in groups: no group is divided, every class stands in every split, and proportions hold."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, VALIDATION, Manifest
from linnaeus.data.splits.stratified import assign_splits
from linnaeus.errors import ClassesError, SplitError

ALL = (TRAIN, VALIDATION, TEST)


def grouped(groups: np.ndarray, targets: np.ndarray, splits: np.ndarray | None = None) -> Manifest:
    ids = pa.array([str(row) for row in range(len(targets))], pa.large_string())
    where = np.full(len(targets), UNASSIGNED, np.int8) if splits is None else splits
    names = tuple(f"class {k}" for k in range(int(targets.max()) + 1))
    return Manifest(ids, ids, targets.astype(np.int64), where, names, groups=groups.astype(np.int64))


def scenes(num_scenes: int, fractions: list[float], *, seed: int = 0) -> Manifest:
    """Scenes of very different numbers of objects and mixtures of classes, in shuffled rows."""
    rng = np.random.default_rng(seed)
    sizes = np.ceil(rng.lognormal(3.5, 1.0, num_scenes)).astype(np.int64)
    mixtures = rng.dirichlet(np.array(fractions) * 8, num_scenes)
    groups = np.repeat(rng.permutation(num_scenes) * 7 - 3, sizes)
    targets = np.concatenate([rng.choice(len(fractions), n, p=mix) for n, mix in zip(sizes, mixtures, strict=True)])
    order = rng.permutation(len(groups))
    return grouped(groups[order], targets[order])


def divide(
    manifest: Manifest, *, validation: float = 0.15, test: float = 0.15, most: int = 10**9, seed: int = 0
) -> Manifest:
    return assign_splits(manifest, validation_fraction=validation, validation_max=most, test_fraction=test, seed=seed)


def assert_no_group_is_divided(manifest: Manifest) -> None:
    assert manifest.groups is not None
    pairs = set(zip(manifest.groups.tolist(), manifest.splits.tolist(), strict=True))
    assert len(pairs) == len(set(manifest.groups.tolist()))


def fractions_of(manifest: Manifest, split: int) -> np.ndarray:
    return manifest.class_counts(manifest.rows(split)) / manifest.class_counts()


@pytest.mark.parametrize("seed", range(5))
def test_whole_scenes_are_divided_in_the_proportions_of_the_classes(seed: int) -> None:
    divided = divide(scenes(300, [0.6, 0.3, 0.08, 0.02], seed=seed), seed=seed)
    assert_no_group_is_divided(divided)
    for split, fraction in ((TRAIN, 0.70), (VALIDATION, 0.15), (TEST, 0.15)):
        assert np.abs(fractions_of(divided, split) - fraction).max() < 0.03


def test_a_seed_gives_the_same_split_and_another_seed_another() -> None:
    manifest = scenes(60, [0.7, 0.3])
    assert np.array_equal(divide(manifest).splits, divide(manifest).splits)
    tests = {tuple(divide(manifest, seed=seed).rows(TEST)[:50].tolist()) for seed in range(4)}
    assert len(tests) == 4


def test_test_rows_do_not_depend_on_the_validation_fraction() -> None:
    manifest = scenes(60, [0.7, 0.3])
    few, many = divide(manifest, validation=0.05), divide(manifest, validation=0.4)
    assert np.array_equal(few.rows(TEST), many.rows(TEST)) and len(many.rows(VALIDATION)) > 3 * len(
        few.rows(VALIDATION)
    )


def test_many_small_groups_are_divided_like_rows() -> None:
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 40_000, 50_000)
    targets = (groups % 10 == 0).astype(np.int64)
    divided = divide(grouped(groups, targets))
    assert_no_group_is_divided(divided)
    for split, fraction in ((TRAIN, 0.70), (VALIDATION, 0.15), (TEST, 0.15)):
        assert np.abs(fractions_of(divided, split) - fraction).max() < 0.002


def test_groups_of_one_class_and_of_several_are_divided_together() -> None:
    mixed = scenes(40, [0.5, 0.5])
    assert mixed.groups is not None
    pure = np.arange(2000)
    groups = np.concatenate([mixed.groups, 10_000 + pure])
    divided = divide(grouped(groups, np.concatenate([mixed.targets, pure % 2])))
    assert_no_group_is_divided(divided)
    for split, fraction in ((TRAIN, 0.70), (VALIDATION, 0.15), (TEST, 0.15)):
        assert np.abs(fractions_of(divided, split) - fraction).max() < 0.02


def test_a_class_in_three_scenes_stands_in_each_split() -> None:
    manifest = scenes(50, [0.7, 0.3])
    assert manifest.groups is not None
    targets = np.array(manifest.targets)
    for group in np.unique(manifest.groups)[:3]:
        targets[np.flatnonzero(manifest.groups == group)[:1]] = 2
    divided = divide(grouped(manifest.groups, targets))
    assert [divided.class_counts(divided.rows(split))[2] for split in ALL] == [1, 1, 1]
    assert_no_group_is_divided(divided)


def test_classes_in_too_few_scenes_are_named_with_their_number() -> None:
    groups, targets = np.repeat(np.arange(10), 10), np.zeros(100, np.int64)
    targets[::7], targets[[0, 1, 2, 15]], targets[[30, 31, 32]] = 1, 2, 3
    with pytest.raises(ClassesError, match=r"with 'class 2' \(2\), 'class 3' \(1\): .* at least 3"):
        divide(grouped(groups, targets))


def test_two_scenes_are_enough_where_the_test_split_is_given() -> None:
    groups = np.repeat(np.arange(4), 5)
    targets = np.tile(np.array([0, 0, 0, 1, 1]), 4)
    splits = np.where(groups < 2, TRAIN, TEST).astype(np.int8)
    divided = divide(grouped(groups, targets, splits))
    assert np.array_equal(divided.rows(TEST), np.arange(10, 20))
    assert len(divided.rows(VALIDATION)) == len(divided.rows(TRAIN)) == 5
    assert_no_group_is_divided(divided)


def test_splits_that_the_data_brought_stay() -> None:
    groups = np.repeat(np.arange(6), 4)
    brought = np.repeat(np.array([TRAIN, TRAIN, VALIDATION, VALIDATION, TEST, TEST], np.int8), 4)
    assert np.array_equal(divide(grouped(groups, np.tile([0, 1], 12), brought)).splits, brought)


def test_validation_is_capped_as_nearly_as_scenes_allow() -> None:
    manifest = scenes(400, [0.6, 0.4])
    capped = divide(manifest, validation=0.4, most=300)
    assert 250 < len(capped.rows(VALIDATION)) < 350
    assert np.array_equal(capped.rows(TEST), divide(manifest).rows(TEST))


@settings(max_examples=60, deadline=None)
@given(
    contents=st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=3, max_size=7),
    seed=st.integers(0, 100),
)
def test_it_fails_only_where_no_way_of_dealing_scenes_gives_every_split_every_class(
    contents: list[set[int]], seed: int
) -> None:
    """Against all 3 ** G ways."""
    names = sorted(set().union(*contents))
    if len(names) < 2:
        return
    sets = [frozenset(names.index(k) for k in content) for content in contents]
    wanted = frozenset(range(len(names)))
    possible = any(
        all(frozenset().union(*(s for s, p in zip(sets, places, strict=True) if p == split)) == wanted for split in ALL)
        for places in itertools.product(ALL, repeat=len(sets))
    )
    groups = np.repeat(np.arange(len(sets)), [2 * len(s) for s in sets])
    targets = np.concatenate([np.repeat(sorted(s), 2) for s in sets])
    try:
        divided = divide(grouped(groups, targets), seed=seed)
    except (ClassesError, SplitError):
        assert not possible
        return
    assert possible
    assert_no_group_is_divided(divided)
    for split in ALL:
        assert divided.class_counts(divided.rows(split)).min() >= 1


def test_rare_classes_that_cannot_be_dealt_are_named() -> None:
    """Class 0 in scenes 1 2 3, class 1 in 1 2 4, class 2 in 1 3 4: 3 and 4 would have to be together, and apart."""
    groups = np.array([1, 2, 3, 1, 2, 4, 1, 3, 4])
    targets = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    with pytest.raises(SplitError, match=r"every split has every class; 'class \d'.* would be missing"):
        divide(grouped(groups, targets))
