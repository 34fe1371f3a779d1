"""One affine map, one resample: against torchvision's reference, F.affine_grid and numbers by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from linnaeus.augment import geometry

SIZE, MARGIN = 40, 12
TOLERANCE = 2e-4
"""Of pixels in 0-1: both resample in float32 and round their coordinates differently."""


def _maps(
    num: int = 1,
    *,
    mirrored: bool = False,
    upended: bool = False,
    zoom: float = 1.0,
    shear: float = 0.0,
    rotate: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> torch.Tensor:
    return geometry.inverse_affine(
        mirrored=torch.full((num,), mirrored),
        upended=torch.full((num,), upended),
        zoom=torch.full((num,), zoom),
        shear_degrees=torch.full((num,), shear),
        rotate_degrees=torch.full((num,), rotate),
        shift_px=torch.tensor([shift] * num),
    )


def _images(height: int = SIZE, width: int = SIZE, num: int = 1) -> torch.Tensor:
    return torch.rand(num, 3, height, width, generator=torch.Generator().manual_seed(3))


def _warp(images: torch.Tensor, maps: torch.Tensor, *, fill: geometry.Fill) -> torch.Tensor:
    of_column, of_row = geometry.axis_terms(maps, height=images.shape[2], width=images.shape[3])
    return geometry.warp(images, of_column, of_row, fill=fill)


CASES: dict[str, dict[str, Any]] = {
    "rotate": {"rotate": 23.0},
    "rotate the other way": {"rotate": -71.0},
    "shift": {"shift": (5.0, -3.0)},
    "zoom in": {"zoom": 1.3},
    "zoom out": {"zoom": 0.7},
    "shear": {"shear": 17.0},
    "all": {"rotate": 15.0, "shift": (2.0, 4.0), "zoom": 1.1, "shear": -9.0},
}


@pytest.mark.parametrize("fill", ["inside", "everywhere"])
@pytest.mark.parametrize("case", CASES)
def test_geometry_equals_torchvision_affine(case: str, fill: str) -> None:
    asked, images = CASES[case], _images()
    expected = reference.affine(
        images,
        angle=asked.get("rotate", 0.0),
        translate=list(asked.get("shift", (0.0, 0.0))),
        scale=asked.get("zoom", 1.0),
        shear=[asked.get("shear", 0.0), 0.0],
        interpolation=InterpolationMode.BILINEAR,
        fill=None,
    )
    warped = _warp(images, _maps(**asked), fill="zeros")
    if fill == "inside":
        warped, expected = (x[..., MARGIN:-MARGIN, MARGIN:-MARGIN] for x in (warped, expected))
    torch.testing.assert_close(warped, expected, rtol=0, atol=TOLERANCE)
    assert not torch.allclose(warped, images[..., : warped.shape[2], : warped.shape[3]], atol=0.05)


def test_each_sample_follows_its_own_map() -> None:
    images = _images(num=2)
    maps = torch.cat([_maps(rotate=10.0), _maps(shift=(3.0, 0.0))])
    warped = _warp(images, maps, fill="reflection")
    for k in range(2):
        alone = _warp(images[k : k + 1], maps[k : k + 1], fill="reflection")
        torch.testing.assert_close(warped[k : k + 1], alone, rtol=0, atol=1e-6)


def test_flips_by_the_map_equal_torchvision_flips() -> None:
    images = _images(30, 50)
    mirrored = _warp(images, _maps(mirrored=True), fill="zeros")
    upended = _warp(images, _maps(upended=True), fill="zeros")
    torch.testing.assert_close(mirrored, reference.horizontal_flip(images), rtol=0, atol=1e-5)
    torch.testing.assert_close(upended, reference.vertical_flip(images), rtol=0, atol=1e-5)


def test_a_picture_is_flipped_before_it_is_rotated() -> None:
    images = _images()
    together = _warp(images, _maps(mirrored=True, rotate=30.0), fill="zeros")
    in_turn = _warp(reference.horizontal_flip(images), _maps(rotate=30.0), fill="zeros")
    torch.testing.assert_close(together, in_turn, rtol=0, atol=TOLERANCE)


def test_no_change_is_the_identity() -> None:
    images = _images(24, 36, num=3)
    for fill in ("zeros", "border", "reflection"):
        torch.testing.assert_close(_warp(images, _maps(3), fill=fill), images, rtol=0, atol=1e-5)


def test_a_shift_moves_things_right_and_down() -> None:
    images = torch.zeros(1, 1, 9, 9)
    images[0, 0, 4, 4] = 1.0
    moved = _warp(images, _maps(shift=(3.0, 1.0)), fill="zeros")
    assert moved.flatten().argmax() == 5 * 9 + 7
    assert moved.max() == pytest.approx(1.0, abs=1e-5)


def test_rotation_on_an_oblong_image_keeps_distances_in_pixels() -> None:
    """A point 10 px right of the middle of 21 x 61 pixels is 10 px below it after a quarter turn clockwise."""
    images = torch.zeros(1, 1, 21, 61)
    images[0, 0, 10, 40] = 1.0
    turned = _warp(images, _maps(rotate=90.0), fill="zeros")
    assert turned[0, 0, 20, 30] == pytest.approx(1.0, abs=1e-4)
    assert turned.sum() == pytest.approx(1.0, abs=1e-3)


def test_fill_is_black_the_edge_or_a_mirror_image() -> None:
    row = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    shown = {
        fill: _warp(row, _maps(shift=(2.0, 0.0)), fill=fill)[0, 0, 2].tolist()
        for fill in ("zeros", "border", "reflection")
    }
    assert shown["zeros"] == pytest.approx([0, 0, 1, 2], abs=1e-5)
    assert shown["border"] == pytest.approx([1, 1, 1, 2], abs=1e-5)
    assert shown["reflection"] == pytest.approx([2, 1, 1, 2], abs=1e-5)


def test_the_grid_equals_affine_grid() -> None:
    height, width = 20, 31
    maps = _maps(2, rotate=33.0, zoom=1.2, shear=8.0, shift=(4.0, -2.0))
    # affine_grid's coordinates run from -1 to 1 over the image, whatever its shape.
    across, down = width / 2, height / 2
    unit = maps.clone()
    unit[:, 0] = maps[:, 0] * torch.tensor([1.0, down / across, 1 / across])
    unit[:, 1] = maps[:, 1] * torch.tensor([across / down, 1.0, 1 / down])
    expected = F.affine_grid(unit, [2, 3, height, width], align_corners=False)
    of_column, of_row = geometry.axis_terms(maps, height=height, width=width)
    torch.testing.assert_close((of_column + of_row).permute(0, 2, 3, 1), expected, rtol=0, atol=1e-6)
