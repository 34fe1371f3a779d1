"""Near duplicates: found whatever way they are searched for, and flat or different images are left alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.analysis import duplicates
from linnaeus.analysis.duplicates import correlations, equal_groups, join_groups, near_duplicates, take_fingerprints


def thumbnails(number: int, *, seed: int = 0) -> npt.NDArray[np.uint8]:
    """uint8 [n, 32, 32]: smooth shapes with detail on them."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (number, 4, 4)).repeat(8, 1).repeat(8, 2)
    fine = generator.integers(0, 256, (number, 16, 16)).repeat(2, 1).repeat(2, 2)
    return (0.6 * coarse + 0.4 * fine).astype(np.uint8)


def near(images: npt.NDArray[np.uint8]) -> list[list[int]]:
    found = near_duplicates(take_fingerprints(images), rows=np.arange(len(images)))
    return [group.tolist() for group in found]


@pytest.mark.parametrize("exhaustive", [True, False])
@pytest.mark.parametrize("block", [7, 4096])
def test_noisy_brighter_and_mirrored_copies_are_found_and_nothing_else(
    exhaustive: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "MOST_EXHAUSTIVE", 10**6 if exhaustive else 0)
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    images = thumbnails(60)
    noise = np.random.default_rng(1).normal(0, 2, (32, 32))
    images[40] = np.clip(images[3] + noise, 0, 255)
    images[41] = images[5] * 0.8 + 20
    images[42] = images[7][:, ::-1]
    images[43] = images[42]
    assert near(images) == [[3, 40], [5, 41], [7, 42, 43]]


def test_flat_images_do_not_match_each_other() -> None:
    generator = np.random.default_rng(0)
    flat = np.stack([np.full((32, 32), level) + generator.normal(0, 1, (32, 32)) for level in range(20, 240, 20)])
    assert near(flat.clip(0, 255).astype(np.uint8)) == []


def test_silhouettes_alike_in_all_but_detail_are_kept_apart() -> None:
    y, x = np.mgrid[:32, :32]
    generator = np.random.default_rng(2)
    shape = np.where((x - 16) ** 2 + (y - 16) ** 2 < 90, 40.0, 220.0)
    images = np.stack([shape + generator.normal(0, 12, (32, 32)) for _ in range(6)]).clip(0, 255).astype(np.uint8)
    coarse = take_fingerprints(images)[:, :8, :8].astype(np.float32).reshape(6, -1)
    coarse /= np.linalg.norm(coarse, axis=1, keepdims=True)
    assert (coarse @ coarse.T).min() > duplicates.COARSE_ALIKE  # the first test alone would join them all
    shifted = np.where((x - 16) ** 2 / 110 + (y - 16) ** 2 / 75 < 1, 40.0, 220.0)
    other = (shifted + generator.normal(0, 12, (32, 32))).clip(0, 255).astype(np.uint8)
    assert near(np.stack([images[0], other])) == []


def test_only_the_rows_asked_for_are_compared() -> None:
    images = thumbnails(4)
    images[1], images[3] = images[0], images[2]
    found = near_duplicates(take_fingerprints(images), rows=np.array([0, 2, 3]))
    assert [group.tolist() for group in found] == [[2, 3]]


@pytest.mark.parametrize("number", [0, 1])
def test_fewer_than_two_images_have_no_duplicates(number: int) -> None:
    assert near(thumbnails(number)) == []


def test_correlations_tell_a_mirrored_copy_from_a_plain_one() -> None:
    image = thumbnails(1)[0]
    prints = take_fingerprints(np.stack([image, image, image[:, ::-1]]))
    plain, mirrored = correlations(prints[0], prints[1:])
    assert plain[0] > 0.999 > mirrored[0]
    assert mirrored[1] > 0.999 > plain[1]


def test_equal_digests_make_groups_and_zeros_make_none() -> None:
    digests = np.array([[1, 2], [0, 0], [3, 4], [1, 2], [0, 0], [1, 2], [3, 5]], np.uint8)
    assert [group.tolist() for group in equal_groups(digests)] == [[0, 3, 5]]


@given(st.lists(st.sets(st.integers(0, 19), min_size=2, max_size=5), max_size=12))
def test_joined_groups_are_the_connected_components(given_groups: list[set[int]]) -> None:
    sets: list[set[int]] = []
    for group in given_groups:
        touched = [other for other in sets if other & group]
        sets = [other for other in sets if not other & group] + [group.union(*touched)]
    found = join_groups(np.array(sorted(group), np.int64) for group in given_groups)
    assert [group.tolist() for group in found] == sorted(sorted(group) for group in sets)


def test_fingerprints_are_the_lowest_frequencies_of_the_cosine_transform() -> None:
    """Against the sum by which the orthonormal DCT-II is defined."""
    image = thumbnails(1)
    place, wave = np.arange(32), np.arange(16)[:, None]
    basis = np.cos(np.pi * (2 * place + 1) * wave / 64) * np.where(wave == 0, np.sqrt(1 / 32), np.sqrt(2 / 32))
    expected = basis @ image[0].astype(np.float64) @ basis.T
    expected[0, 0] = 0
    np.testing.assert_allclose(take_fingerprints(image)[0], expected, rtol=1e-3, atol=0.1)
