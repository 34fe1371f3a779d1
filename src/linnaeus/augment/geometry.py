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


def warp(images: torch.Tensor, inverse: torch.Tensor, *, fill: Fill) -> torch.Tensor:
    """Resample each image bilinearly through its map.

    Args:
        images: float32 [B, C, H, W], any layout.
        inverse: float32 [B, 2, 3] of `inverse_affine`.
        fill: what lies beyond the edge: "zeros", the last pixel repeated ("border"), or a "reflection".

    Returns float32 [B, C, H, W] with planes of channels. A result of pixels 0-1 is 0-1 up to rounding.
    """
    height, width = images.shape[-2:]
    grid = sampling_grid(inverse, height=height, width=width)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=fill, align_corners=False)


def sampling_grid(inverse: torch.Tensor, *, height: int, width: int) -> torch.Tensor:
    """float32 [B, H, W, 2] for grid_sample, whose coordinates run from -1 to 1 between the outer edges of the image.

    The same as F.affine_grid of the rescaled map, and merely faster: an affine map is a sum of a function of the column
    and a function of the row, and grid_sample reads whole planes of x and y best (both together take a third off).
    """
    device = inverse.device
    x = torch.arange(width, device=device) - (width - 1) / 2
    y = torch.arange(height, device=device) - (height - 1) / 2
    to_unit = torch.tensor([2 / width, 2 / height], device=device)[:, None, None]
    per_pixel = inverse[..., None] * to_unit
    of_column = (per_pixel[:, :, 0] * x)[:, :, None, :]
    of_row = (per_pixel[:, :, 1] * y + per_pixel[:, :, 2])[:, :, :, None]
    return (of_row + of_column).permute(0, 2, 3, 1)
