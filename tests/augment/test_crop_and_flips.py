"""The exact path: crops by whole pixels, flips, and flips that alternate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as reference

from linnaeus.augment import crop, flips


def _images(num: int, height: int, width: int, *, channels_last: bool = True) -> torch.Tensor:
    images = torch.randint(
        0, 256, (num, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    return images.contiguous(memory_format=torch.channels_last) if channels_last else images


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(3, 12),
    width=st.integers(3, 12),
    pad_px=st.integers(0, 2),
    seed=st.integers(0, 2**31),
    channels_last=st.booleans(),
)
def test_crop_and_flip_equals_slicing_every_sample_by_hand(
    height: int, width: int, pad_px: int, seed: int, channels_last: bool
) -> None:
    num, rng = 6, np.random.default_rng(seed)
    images = _images(num, height, width, channels_last=channels_last)
    offsets = rng.integers(0, 2 * pad_px + 1, (num, 2))
    mirrored, upended = rng.random((2, num)) < 0.5
    found = crop.crop_and_flip(
        images,
        offsets=torch.from_numpy(offsets),
        pad_px=pad_px,
        mirrored=torch.from_numpy(mirrored),
        upended=torch.from_numpy(upended),
    )
    assert found.dtype == torch.uint8 and found.is_contiguous(memory_format=torch.channels_last)
    padding = ((0, 0), (pad_px, pad_px), (pad_px, pad_px))
    for k in range(num):
        top, left = offsets[k]
        expected = np.pad(images[k].numpy(), padding, mode="reflect")[:, top : top + height, left : left + width]
        expected = expected[:, :, ::-1] if mirrored[k] else expected
        expected = expected[:, ::-1] if upended[k] else expected
        np.testing.assert_array_equal(found[k].numpy(), expected)


def test_offsets_reach_every_place_and_no_other() -> None:
    offsets = crop.draw_offsets(500, pad_px=2, generator=torch.Generator().manual_seed(0), device=torch.device("cpu"))
    assert offsets.shape == (500, 2) and offsets.dtype == torch.int64
    assert sorted(set(offsets[:, 0].tolist())) == sorted(set(offsets[:, 1].tolist())) == [0, 1, 2, 3, 4]


def test_flip_images_equals_torchvision_flips_and_leaves_the_others() -> None:
    images = _images(4, 5, 7)
    flipped = crop.flip_images(
        images,
        mirrored=torch.tensor([False, True, False, True]),
        upended=torch.tensor([False, False, True, True]),
    )
    expected = [
        images[0],
        reference.horizontal_flip(images[1]),
        reference.vertical_flip(images[2]),
        reference.vertical_flip(reference.horizontal_flip(images[3])),
    ]
    assert torch.equal(flipped, torch.stack(expected))


@pytest.mark.parametrize(
    ("flip", "mirrors", "upends"),
    [("none", False, False), ("horizontal", True, False), ("vertical", False, True), ("both", True, True)],
)
def test_drawn_flips_happen_half_the_time_and_only_as_asked(flip: flips.Flip, mirrors: bool, upends: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    mirrored, upended = flips.draw_flips(4000, flip=flip, generator=generator, device=torch.device("cpu"))
    for drawn, wanted in ((mirrored, mirrors), (upended, upends)):
        assert drawn.dtype == torch.bool
        assert drawn.float().mean() == pytest.approx(0.5 if wanted else 0.0, abs=0.05)
    if flip == "both":
        assert (mirrored & upended).float().mean() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("flip", ["horizontal", "vertical"])
def test_alternating_flips_turn_every_row_every_other_epoch(flip: flips.Flip) -> None:
    rows = torch.arange(2000)
    epochs = [flips.alternating_flips(rows, flip=flip, epoch=epoch, seed=7) for epoch in range(4)]
    turned = [pair[flip == "vertical"] for pair in epochs]
    assert not any(pair[flip == "horizontal"].any() for pair in epochs)
    assert torch.equal(turned[0], ~turned[1]) and torch.equal(turned[0], turned[2])
    assert turned[0].float().mean() == pytest.approx(0.5, abs=0.05)


def test_alternating_flips_of_both_kinds_show_four_orientations_in_any_four_epochs() -> None:
    rows = torch.arange(300)
    shown = torch.stack(
        [
            mirrored + 2 * upended.long()
            for mirrored, upended in (flips.alternating_flips(rows, flip="both", epoch=e, seed=0) for e in range(3, 7))
        ]
    )
    assert torch.equal(shown.sort(dim=0).values, torch.arange(4)[:, None].expand(4, 300))


def test_alternating_flips_depend_on_the_row_and_the_seed_alone() -> None:
    rows = torch.arange(1000)
    shuffled = torch.randperm(1000, generator=torch.Generator().manual_seed(0))

    def turned(of: torch.Tensor, seed: int) -> torch.Tensor:
        return flips.alternating_flips(of, flip="horizontal", epoch=0, seed=seed)[0]

    assert torch.equal(turned(rows, 1)[shuffled], turned(rows[shuffled], 1))
    assert (turned(rows, 1) == turned(rows, 2)).float().mean() == pytest.approx(0.5, abs=0.06)
    neighbours = turned(rows, 1)
    assert (neighbours[1:] == neighbours[:-1]).float().mean() == pytest.approx(0.5, abs=0.06)


def test_the_hash_is_splitmix64() -> None:
    """The first outputs of SplitMix64 from state 0, as its reference implementation prints them."""
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    gamma = 0x9E3779B97F4A7C15
    found = [int(flips._hash(torch.zeros(1, dtype=torch.int64), k)[0]) % 2**64 for k in range(3)]
    assert found == expected
    assert int(flips._hash(torch.tensor([5]), 0)[0]) % 2**64 == _splitmix64(5 + gamma)


def _splitmix64(state: int) -> int:
    mask = 2**64 - 1
    state &= mask
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)
