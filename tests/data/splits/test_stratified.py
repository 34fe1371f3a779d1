"""Splitting: every row once, in proportion, the same for the same seed, and never against what the data brought."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, VALIDATION, Manifest
from linnaeus.data.splits.stratified import apportion, assign_splits
from linnaeus.errors import ClassesError, SplitError


def manifest_of(counts: list[int], splits: np.ndarray | None = None) -> Manifest:
    targets = np.random.default_rng(7).permutation(np.repeat(np.arange(len(counts)), counts))
    ids = pa.array([str(row) for row in range(len(targets))], pa.large_string())
    where = np.full(len(targets), UNASSIGNED, np.int8) if splits is None else splits
    return Manifest(ids, ids, targets.astype(np.int64), where, tuple(f"class {k}" for k in range(len(counts))))


def divide(
    manifest: Manifest, *, validation: float = 0.15, test: float = 0.15, most: int = 10**9, seed: int = 0
) -> Manifest:
    return assign_splits(manifest, validation_fraction=validation, validation_max=most, test_fraction=test, seed=seed)


def counts_of(manifest: Manifest, split: int) -> list[int]:
    return manifest.class_counts(manifest.rows(split)).tolist()


def test_each_class_is_divided_70_15_15() -> None:
    divided = divide(manifest_of([100, 200, 1000]))
    assert counts_of(divided, TRAIN) == [70, 140, 700]
    assert counts_of(divided, VALIDATION) == [15, 30, 150]
    assert counts_of(divided, TEST) == [15, 30, 150]


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(3, 60), min_size=2, max_size=8),
    validation=st.floats(0.01, 0.45),
    test=st.floats(0.01, 0.45),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_row_has_one_split_and_every_split_every_class(
    counts: list[int], validation: float, test: float, seed: int
) -> None:
    divided = divide(manifest_of(counts), validation=validation, test=test, seed=seed)
    assert set(np.unique(divided.splits)) == {TRAIN, VALIDATION, TEST}
    for split, fraction in ((VALIDATION, validation), (TEST, test)):
        for got, count in zip(counts_of(divided, split), counts, strict=True):
            assert got >= 1
            # By more than one row only where a class of its own needs a row in each split.
            assert abs(got - fraction * count) <= 1 + len(counts) or got == 1
    assert min(counts_of(divided, TRAIN)) >= 1
    assert divided.ids.equals(manifest_of(counts).ids)


def test_a_seed_gives_the_same_rows_and_another_seed_others() -> None:
    manifest = manifest_of([100, 100])
    assert np.array_equal(divide(manifest).splits, divide(manifest).splits)
    assert not np.array_equal(divide(manifest).splits, divide(manifest, seed=1).splits)


def test_test_rows_do_not_depend_on_the_validation_fraction() -> None:
    manifest = manifest_of([100, 300])
    few, many = divide(manifest, validation=0.05), divide(manifest, validation=0.4)
    assert np.array_equal(few.rows(TEST), many.rows(TEST))


def test_rows_are_drawn_from_the_whole_length_of_the_data() -> None:
    rows = divide(manifest_of([5000, 5000])).rows(TEST)
    assert 4500 < rows.mean() < 5500


def test_splits_that_the_data_brought_stay_and_only_the_missing_one_is_drawn() -> None:
    brought = np.array([TRAIN] * 80 + [TEST] * 20, np.int8)
    divided = divide(manifest_of([50, 50], brought), validation=0.25)
    assert np.array_equal(divided.rows(TEST), np.arange(80, 100))
    assert len(divided.rows(VALIDATION)) == 20 and divided.rows(VALIDATION).max() < 80

    brought = np.array([TRAIN] * 80 + [VALIDATION] * 20, np.int8)
    divided = divide(manifest_of([50, 50], brought), test=0.25)
    assert np.array_equal(divided.rows(VALIDATION), np.arange(80, 100))
    assert len(divided.rows(TEST)) == 20 and divided.rows(TEST).max() < 80

    brought = np.array([TRAIN] * 60 + [VALIDATION] * 20 + [TEST] * 20, np.int8)
    assert np.array_equal(divide(manifest_of([50, 50], brought)).splits, brought)


def test_unassigned_rows_beside_brought_ones_train() -> None:
    brought = np.array([UNASSIGNED] * 60 + [VALIDATION] * 20 + [TEST] * 20, np.int8)
    assert len(divide(manifest_of([50, 50], brought)).rows(TRAIN)) == 60


def test_validation_is_capped_in_proportion_but_not_below_50_per_class() -> None:
    divided = divide(manifest_of([3000, 6000]), most=300)
    assert counts_of(divided, VALIDATION) == [100, 200]
    assert sum(counts_of(divide(manifest_of([3000, 6000]), most=7), VALIDATION)) == 100


def test_a_class_of_three_stands_once_in_each_split() -> None:
    divided = divide(manifest_of([3, 1000]))
    assert [counts_of(divided, split)[0] for split in (TRAIN, VALIDATION, TEST)] == [1, 1, 1]


def test_small_classes_are_named_with_their_counts() -> None:
    with pytest.raises(ClassesError, match=r"'class 1' \(2\), 'class 3' \(1\): every class needs at least 3"):
        divide(manifest_of([10, 2, 10, 1]))


def test_two_images_are_enough_where_the_test_split_is_given() -> None:
    manifest = manifest_of([4, 4], np.array([TRAIN] * 8, np.int8))
    targets = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    given_test = Manifest(
        manifest.ids, manifest.uris, targets, np.array([TRAIN] * 4 + [TEST] * 4, np.int8), manifest.classes
    )
    divided = divide(given_test)
    assert counts_of(divided, TRAIN) == [1, 1] and counts_of(divided, VALIDATION) == [1, 1]


def test_one_class_cannot_be_divided() -> None:
    with pytest.raises(ClassesError, match="at least two"):
        divide(manifest_of([30]))


def test_fractions_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(SplitError, match=r"0\.5 for validation and 0\.6 for test"):
        divide(manifest_of([30, 30]), validation=0.5, test=0.6)


def test_several_labels_are_divided_so_that_each_stands_everywhere() -> None:
    labels = np.zeros((200, 3), np.uint8)
    labels[:100, 0], labels[50:140, 1], labels[190:, 2] = 1, 1, 1  # 100, 90 and 10 images; 50 have none
    several = dataclasses.replace(manifest_of([200]), targets=labels, task="multi", classes=("a", "b", "rare"))
    divided = divide(several)
    counts = {split: labels[divided.rows(split)].sum(axis=0).tolist() for split in (TRAIN, VALIDATION, TEST)}
    assert counts[TEST][:2] == pytest.approx([15, 13.5], abs=1)  # 15 % of each
    assert counts[VALIDATION][:2] == pytest.approx([15, 13.5], abs=1)
    assert all(counts[split][2] >= 1 for split in counts)
    assert len(divided.rows(TEST)) == pytest.approx(30, abs=1)


def test_largest_remainders_by_hand() -> None:
    counts = np.array([40, 35, 25])
    # Quotas of 7 seats: 2.8, 2.45, 1.75. Floors give 5; the two largest remainders are .8 and .75.
    assert apportion(counts, 7, ceiling=counts).tolist() == [3, 2, 2]
    assert apportion(np.array([1000, 1]), 10, ceiling=np.array([1000, 1])).tolist() == [9, 1]
    assert apportion(np.array([5, 5]), 100, ceiling=np.array([3, 4])).tolist() == [3, 4]
    assert apportion(np.array([5, 5, 5]), 0, ceiling=np.array([3, 3, 3])).tolist() == [1, 1, 1]
