"""TrivialAugment and RandAugment: every operation against torchvision's, the draws against the papers' tables."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torchvision.transforms import InterpolationMode, RandAugment, TrivialAugmentWide
from torchvision.transforms.autoaugment import _apply_op

from linnaeus.augment import augment_batch, geometry
from linnaeus.augment.policy import (
    NUM_LEVELS,
    OPERATIONS,
    SIGNED,
    Draws,
    chain,
    change_colours,
    draw_operations,
    moves,
    policy_maps,
)
from linnaeus.config.resolved import ResolvedAugment

NAMES = {"auto_contrast": "AutoContrast", "shear_x": "ShearX", "shear_y": "ShearY"}
NAMES |= {"translate_x": "TranslateX", "translate_y": "TranslateY"}
SIZE = (20, 27)


def theirs(name: str) -> str:
    return NAMES.get(name, name.capitalize())


def pictures(num: int, *, seed: int = 0) -> torch.Tensor:
    """uint8 [num, 3, 20, 27] with some structure, so that neighbours resemble each other."""
    coarse = torch.rand(num, 3, 5, 7, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, SIZE, mode="bilinear")
    return (smooth * 200 + 30).round().to(torch.uint8)


def draws_of(*rows: list[tuple[str, float]]) -> Draws:
    return Draws(
        torch.tensor([[OPERATIONS.index(name) for name, _ in row] for row in rows]),
        torch.tensor([[value for _, value in row] for row in rows]),
    )


def apply(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    """What augmentation does with these draws and nothing else, float32 0-1, black beyond the edge."""
    height, width = images.shape[-2:]
    terms = geometry.axis_terms(policy_maps(draws, height=height, width=width), height=height, width=width)
    return change_colours(geometry.warp(images / 255.0, *terms, fill="zeros"), draws)


def reference(image: torch.Tensor, name: str, magnitude: float) -> torch.Tensor:
    return _apply_op(image, theirs(name), magnitude, InterpolationMode.BILINEAR, None).float() / 255.0


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("posterize", "solarize")])
@pytest.mark.parametrize("magnitude", [0.25, -0.7, 0.0])
def test_an_operation_is_torchvisions_with_each_samples_own_magnitude(name: str, magnitude: float) -> None:
    images = pictures(3)
    scale = {"rotate": 40.0, "translate_x": 9.5, "translate_y": 9.5}.get(name, 1.0)
    values = [scale * magnitude * factor for factor in (1.0, 0.5, 0.0)]
    found = apply(images, draws_of(*([(name, value)] for value in values)))
    for k, value in enumerate(values):
        # Theirs rounds down to 0-255, what it blends with and then the result; ours does not.
        torch.testing.assert_close(found[k], reference(images[k], name, value), rtol=0, atol=2.01 / 255)
    if magnitude and name not in ("identity", "auto_contrast", "equalize"):
        assert not torch.allclose(found[0], images[0] / 255.0, atol=0.005), "it does something"


@pytest.mark.parametrize("lost", [0, 1, 3, 6])
def test_posterizing_is_torchvisions(lost: int) -> None:
    images = pictures(2)
    found = apply(images, draws_of([("posterize", lost)], [("identity", 0.0)]))
    torch.testing.assert_close(found[0], reference(images[0], "posterize", 8 - lost), rtol=0, atol=1e-6)
    torch.testing.assert_close(found[1], images[1] / 255.0, rtol=0, atol=1e-6)


@pytest.mark.parametrize("threshold", [255.0, 170.0, 85.5, 0.0])
def test_solarizing_is_torchvisions(threshold: float) -> None:
    images = pictures(2)
    found = apply(images, draws_of([("solarize", 255.0 - threshold)], [("identity", 0.0)]))
    torch.testing.assert_close(found[0], reference(images[0], "solarize", threshold), rtol=0, atol=1e-6)


def test_operations_of_one_sample_come_one_after_another() -> None:
    images = pictures(1, seed=3)
    found = apply(images, draws_of([("brightness", 0.4), ("contrast", -0.5)]))
    expected = reference((reference(images[0], "brightness", 0.4) * 255).to(torch.uint8), "contrast", -0.5)
    torch.testing.assert_close(found[0], expected, rtol=0, atol=2 / 255)


def test_geometry_of_one_sample_is_one_map_in_their_order() -> None:
    images = pictures(1, seed=4)
    found = apply(images, draws_of([("translate_x", 6.0), ("rotate", 90.0)]))
    moved = reference(images[0], "translate_x", 6.0)
    expected = _apply_op(moved, "Rotate", 90.0, InterpolationMode.BILINEAR, None)
    inner = (slice(None), slice(4, 16), slice(10, 20))  # turning loses what lies outside for a moment in theirs
    torch.testing.assert_close(found[0][inner], expected[inner], rtol=0, atol=1.01 / 255)


def test_a_chain_of_maps_is_the_matrix_product() -> None:
    first, second = (torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    row = torch.tensor([0.0, 0.0, 1.0]).expand(2, 1, 3)
    expected = (torch.cat([first, row], 1) @ torch.cat([second, row], 1))[:, :2]
    torch.testing.assert_close(chain(first, second), expected)


@pytest.mark.parametrize("policy", ["trivial_augment", "rand_augment"])
def test_magnitudes_and_how_often_each_operation_is_drawn_are_torchvisions(
    policy: Literal["trivial_augment", "rand_augment"],
) -> None:
    num, level = 20_000, 12
    draws = draw_operations(
        num,
        policy=policy,
        num_operations=2,
        level=level,
        height=SIZE[0],
        width=SIZE[1],
        generator=torch.Generator().manual_seed(1),
    )
    if policy == "trivial_augment":
        space = TrivialAugmentWide()._augmentation_space(NUM_LEVELS)
    else:
        space = RandAugment()._augmentation_space(NUM_LEVELS, SIZE)
    assert draws.operations.shape == (num, 1 if policy == "trivial_augment" else 2)
    assert {theirs(name) for name in OPERATIONS} == set(space)
    for position, name in enumerate(OPERATIONS):
        chosen = draws.magnitudes[draws.operations == position]
        fraction = len(chosen) / draws.operations.numel()
        assert fraction == pytest.approx(1 / 14, abs=5 * math.sqrt(13 / 14**2 / draws.operations.numel()))
        magnitudes, signed = space[theirs(name)]
        assert signed == (name in SIGNED)
        if name in ("identity", "auto_contrast", "equalize"):
            continue
        allowed = magnitudes.float() if policy == "trivial_augment" else magnitudes[level : level + 1].float()
        found = chosen.abs().unique()
        found = {"posterize": 8 - found.round(), "solarize": 255.0 - found}.get(name, found).unique()
        torch.testing.assert_close(found, allowed.abs().unique(), atol=1e-4, rtol=1e-5)
        if signed:
            assert 0.4 < (chosen < 0).float().mean() / (chosen != 0).float().mean() < 0.6


def augment(images: torch.Tensor, *, seed: int = 0, **settings: object) -> torch.Tensor:
    num = len(images)
    return augment_batch(
        images.contiguous(memory_format=torch.channels_last),
        torch.zeros(num, dtype=torch.long),
        ResolvedAugment.model_validate({"flip": "none", "pad_crop_px": 0, **settings}),
        num_classes=2,
        epoch=0,
        rows=torch.arange(num),
        seed=0,
        generator=torch.Generator().manual_seed(seed),
    )[0]


@pytest.mark.parametrize("policy", ["trivial_augment", "rand_augment"])
def test_a_policy_changes_most_images_follows_its_seed_and_stays_in_range(policy: str) -> None:
    images = pictures(64)
    found = augment(images, policy=policy, fill="zeros")
    assert torch.equal(found, augment(images, policy=policy, fill="zeros"))
    assert not torch.equal(found, augment(images, policy=policy, fill="zeros", seed=1))
    assert found.min() >= 0 and found.max() <= 1 and found.dtype == torch.float32
    changed = (found - images / 255.0).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert 0.6 < changed.float().mean() < 1, "one in fourteen is left as it is"


def test_samples_whose_pixels_are_not_moved_are_not_resampled() -> None:
    draws = draws_of([("identity", 0.0)], [("solarize", 100.0)], [("shear_x", 0.3)])
    assert moves(draws).tolist() == [False, False, True]
    images = pictures(1).repeat(40, 1, 1, 1)
    found = augment(images, policy="trivial_augment")
    untouched = (found == images / 255.0).all(dim=(1, 2, 3))
    assert untouched.any(), "the identity is exact"


def test_a_policy_goes_with_flips_in_one_resample() -> None:
    images = pictures(200)
    found = augment(images, policy="trivial_augment", flip="horizontal")
    mirrored = (found == images.flip(-1) / 255.0).all(dim=(1, 2, 3))
    straight = (found == images / 255.0).all(dim=(1, 2, 3))
    assert mirrored.any() and straight.any()
