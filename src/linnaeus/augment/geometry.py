"""Flip, zoom, shear, rotation and shift as ONE affine map per sample and ONE resample of the batch.

Maps are written in pixels from the middle of the image, x to the right and y down, so a rotation stays a rotation on
images that are not square. The conventions (order, signs, pixel centres) are torchvision's `functional.affine`.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

Fill = Literal["zeros", "border", "reflection"]


def inverse_affine(
    *,
    mirrored: torch.Tensor,
    upended: torch.Tensor,
    zoom: torch.Tensor,
    shear_degrees: torch.Tensor,
    rotate_degrees: torch.Tensor,
    shift_px: torch.Tensor,
) -> torch.Tensor:
    """float32 [B, 2, 3]: from a pixel of the result to the place it shows, in pixels from the middle.

    The picture is flipped, zoomed, sheared, rotated and shifted in this order: with p a point of it,
    q = R Sh z F p + t, and this is the inverse, p = F (1/z) Sh^-1 R^-1 (q - t).

    Args:
        mirrored, upended: bool [B], exchange left and right, top and bottom.
        zoom: float [B], above 0; 2 shows things twice as large.
        shear_degrees: float [B], how far vertical lines lean, as torchvision's first shear angle.
        rotate_degrees: float [B], clockwise.
        shift_px: float [B, 2], to the right and down.
    """
    angle = torch.deg2rad(rotate_degrees)
    cosine, sine, lean = angle.cos(), angle.sin(), torch.deg2rad(shear_degrees).tan()
    across = (1.0 - 2.0 * mirrored.float()) / zoom
    down = (1.0 - 2.0 * upended.float()) / zoom
    upper = torch.stack([(cosine - lean * sine) * across, (sine + lean * cosine) * across], dim=1)
    lower = torch.stack([-sine * down, cosine * down], dim=1)
    linear = torch.stack([upper, lower], dim=1)
    origin = -(linear * shift_px[:, None, :]).sum(2, keepdim=True)
    return torch.cat([linear, origin], dim=2)


def axis_terms(inverse: torch.Tensor, *, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The map as a term of the column, float32 [B, 2, 1, W], and one of the row, float32 [B, 2, H, 1].

    Their sum is where each pixel of the result looks: (x, y) in grid_sample's coordinates, -1 to 1 between the outer
    edges of the image. The same as F.affine_grid of the rescaled map, and merely faster: one addition per
    pixel, and planes of x and y, which grid_sample reads best.
    """
    device = inverse.device
    x = torch.arange(width, device=device) - (width - 1) / 2
    y = torch.arange(height, device=device) - (height - 1) / 2
    per_pixel = torch.stack([inverse[:, 0] * (2 / width), inverse[:, 1] * (2 / height)], dim=1)
    of_column = (per_pixel[:, :, 0:1] * x)[:, :, None, :]
    of_row = (per_pixel[:, :, 1:2] * y + per_pixel[:, :, 2:3])[:, :, :, None]
    return of_column, of_row


def warp(images: torch.Tensor, of_column: torch.Tensor, of_row: torch.Tensor, *, fill: Fill) -> torch.Tensor:
    """Resample each image bilinearly through its map.

    Args:
        images: float32 [B, C, H, W], any layout.
        of_column, of_row: the maps, from `axis_terms`.
        fill: what lies beyond the edge: "zeros", the last pixel repeated ("border"), or a "reflection".

    Returns float32 [B, C, H, W] with planes of channels. A result of pixels 0-1 is 0-1 up to rounding.
    """
    grid = (of_column + of_row).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=fill, align_corners=False)
