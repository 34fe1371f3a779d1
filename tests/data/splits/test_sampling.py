"""Sampling: each epoch a new order, found again from the same arguments, shared out among ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.data.splits.sampling import draw_positions, epoch_length, epoch_order, row_weights, shown_counts


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


SINGLE = np.repeat(np.arange(3, dtype=np.int64), [60, 30, 6])


def draw(targets: np.ndarray, **settings: object) -> np.ndarray:
    arguments = {"balance": "oversample", "oversample_factor": 4.0, "seed": 0, "epoch": 0, **settings}
    return draw_positions(targets, **arguments)  # type: ignore[arg-type]


def test_without_balancing_each_row_is_shown_once() -> None:
    assert np.array_equal(draw(SINGLE, balance="none"), np.arange(96))
    assert np.array_equal(row_weights(SINGLE, balance="none", oversample_factor=4.0, seed=0), np.ones(96))


def test_oversampling_grows_fourfold_and_levels_single_labels() -> None:
    """96 images become 384, and 384 / 3 = 128 of each class, which is more than any has."""
    drawn = draw(SINGLE)
    assert len(drawn) == epoch_length(96, balance="oversample", oversample_factor=4.0) == 384
    assert np.bincount(SINGLE[drawn]).tolist() == [128, 128, 128]
    assert np.bincount(drawn, minlength=96).min() == 1, "every image stays in"


def test_oversampling_that_ends_early_raises_the_rarest_only() -> None:
    """96 images become 120: the 24 extra ones lift the rarest class from 6 to 30."""
    assert np.bincount(SINGLE[draw(SINGLE, oversample_factor=1.25)]).tolist() == [60, 30, 30]


def test_oversampling_draws_evenly_from_the_carriers_of_the_rarest_label() -> None:
    """With 3,000 extra images for 6 of the rare class, each of them is drawn about equally often."""
    extra = np.bincount(draw(SINGLE, oversample_factor=30.0)[96:], minlength=96)[-6:]
    expected = extra.sum() / 6
    assert ((extra - expected) ** 2 / expected).sum() < 20.5, "chi-square with 5 degrees of freedom, p = 0.001"


def several(num: int = 400) -> np.ndarray:
    """Labels like those of M: one on half of the images, three rarer ones, and images with none."""
    generator = np.random.default_rng(1)
    return (generator.random((num, 4)) < [0.5, 0.15, 0.04, 0.02]).astype(np.uint8)


def test_every_extra_image_carries_the_label_that_is_rarest_by_then() -> None:
    labels = several()
    drawn = draw(labels)
    counts = labels.sum(axis=0).astype(int)
    for row in drawn[len(labels) :]:
        assert labels[row, counts.argmin()] == 1
        counts += labels[row]
    assert len(drawn) == 1600
    before, after = (np.sort(shown.sum(axis=0).astype(int)) for shown in (labels, labels[drawn]))
    assert before[2] > 5 * before[0]
    assert after[2] - after[0] <= 2, "the three rare ones are level; the common one comes with them"


def test_images_without_a_label_are_not_drawn_again() -> None:
    labels = several()
    none = np.flatnonzero(labels.sum(axis=1) == 0)
    assert len(none) > 100
    assert (np.bincount(draw(labels), minlength=400)[none] == 1).all()


def test_classes_are_shown_by_the_square_root_of_their_images() -> None:
    """Counts 60, 30 and 6 in proportion to their roots, over 96 images; never off by more than rounding."""
    roots = np.sqrt([60, 30, 6])
    for epoch in range(5):
        drawn = draw(SINGLE, balance="square_root", epoch=epoch)
        assert len(drawn) == 96
        assert np.abs(np.bincount(SINGLE[drawn]) - 96 * roots / roots.sum()).max() <= 2
    shown = shown_counts(SINGLE, num_classes=3, balance="square_root", oversample_factor=4.0, seed=0)
    assert np.allclose(shown, 96 * roots / roots.sum())


def test_square_root_sampling_of_several_labels_follows_the_rarest_one() -> None:
    labels = np.array([[1, 0]] * 90 + [[1, 1]] * 10 + [[0, 0]] * 25, np.uint8)
    weights = row_weights(labels, balance="square_root", oversample_factor=4.0, seed=0)
    assert np.allclose(weights[90] / weights[0], np.sqrt(100 / 10))
    assert np.allclose(weights[-1] / weights[0], np.sqrt(100 / 25))
    assert weights.mean() == pytest.approx(1.0)


@pytest.mark.parametrize("balance", ["oversample", "square_root"])
@pytest.mark.parametrize("targets", [SINGLE, several()], ids=["single", "several"])
def test_balanced_draws_are_functions_of_seed_and_epoch(balance: str, targets: np.ndarray) -> None:
    first = draw(targets, balance=balance, seed=3, epoch=4)
    assert np.array_equal(first, draw(targets, balance=balance, seed=3, epoch=4))
    assert not np.array_equal(first, draw(targets, balance=balance, seed=3, epoch=5))
    assert not np.array_equal(first, draw(targets, balance=balance, seed=4, epoch=4))


def test_weights_and_counts_of_oversampling_are_those_of_its_first_epoch() -> None:
    drawn = draw(SINGLE)
    weights = row_weights(SINGLE, balance="oversample", oversample_factor=4.0, seed=0)
    assert np.allclose(weights * 4, np.bincount(drawn))
    shown = shown_counts(SINGLE, num_classes=3, balance="oversample", oversample_factor=4.0, seed=0)
    assert np.allclose(shown, [128, 128, 128])
