"""One colour matrix: against torchvision's adjustments, and hue by its properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as reference

from linnaeus.augment import colour

FACTORS = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue_turns": 0.0}


def _images(num: int = 2) -> torch.Tensor:
    """Colours between 0.3 and 0.6, so that no adjustment below reaches the clamp at 0 and 1."""
    return 0.3 + 0.3 * torch.rand(num, 3, 16, 20, generator=torch.Generator().manual_seed(5))


def _adjust(images: torch.Tensor, **changed: float) -> torch.Tensor:
    factors = {name: torch.full((len(images),), value) for name, value in {**FACTORS, **changed}.items()}
    return colour.apply_colour(images, colour.colour_matrix(**factors))


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.3, 1.6])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_each_factor_equals_torchvision_to_1e_5(name: str, factor: float) -> None:
    images = _images()
    expected = getattr(reference, f"adjust_{name}")(images, factor)
    torch.testing.assert_close(_adjust(images, **{name: factor}), expected, rtol=0, atol=1e-5)
    assert factor == 1.0 or not torch.allclose(expected, images, atol=1e-3)


def test_one_matrix_equals_brightness_then_contrast_then_saturation() -> None:
    images = _images()
    expected = reference.adjust_brightness(images, 1.2)
    expected = reference.adjust_contrast(expected, 0.7)
    expected = reference.adjust_saturation(expected, 1.4)
    found = _adjust(images, brightness=1.2, contrast=0.7, saturation=1.4)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_each_sample_has_its_own_factors_and_its_own_mean() -> None:
    images = _images(2)
    factors = {name: torch.full((2,), value) for name, value in FACTORS.items()}
    factors["contrast"] = torch.tensor([0.5, 1.5])
    found = colour.apply_colour(images, colour.colour_matrix(**factors))
    for k, factor in enumerate((0.5, 1.5)):
        torch.testing.assert_close(found[k], reference.adjust_contrast(images[k], factor), rtol=0, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(turns=st.floats(-1.0, 1.0))
def test_hue_keeps_the_luma_of_every_pixel(turns: float) -> None:
    images = _images()
    weights = torch.tensor(colour.LUMA).view(1, 3, 1, 1)
    before, after = (images * weights).sum(1), (_adjust(images, hue_turns=turns) * weights).sum(1)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


def test_a_full_turn_of_hue_is_the_identity_and_half_a_turn_is_its_own_inverse() -> None:
    images = _images()
    torch.testing.assert_close(_adjust(images, hue_turns=1.0), images, rtol=0, atol=1e-5)
    half = _adjust(images, hue_turns=0.5)
    assert not torch.allclose(half, images, atol=0.05)
    torch.testing.assert_close(_adjust(half, hue_turns=0.5), images, rtol=0, atol=1e-5)


def test_hue_leaves_greys_alone() -> None:
    grey = torch.linspace(0, 1, 30).view(1, 1, 5, 6).expand(1, 3, 5, 6)
    torch.testing.assert_close(_adjust(grey, hue_turns=0.3), grey, rtol=0, atol=1e-5)


def test_a_small_turn_takes_red_towards_yellow_as_hsv_hue_does() -> None:
    red = torch.tensor([0.8, 0.2, 0.2]).view(1, 3, 1, 1)
    ours, theirs = _adjust(red, hue_turns=0.1).flatten(), reference.adjust_hue(red, 0.1).flatten()
    assert ours[1] > ours[2] and theirs[1] > theirs[2]


def test_nothing_changed_is_the_identity() -> None:
    images = _images()
    torch.testing.assert_close(_adjust(images), images, rtol=0, atol=1e-6)


def test_mean_grey_by_hand() -> None:
    images = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert colour.mean_grey(images).item() == pytest.approx(0.2989 + 0.5 * 0.587, abs=1e-6)
