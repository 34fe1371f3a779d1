"""Pad-crop-flip by whole pixels: exact, in uint8, without resampling. The cheap path for small images.

Nothing is padded in fact: a crop of a reflect-padded image reads row r and column c of the image itself, so one copy of
rows and one gather within rows do the crop and both flips of a whole batch.
"""

from __future__ import annotations

import torch

from linnaeus.machine import send_to


def draw_offsets(num: int, *, pad_px: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """int64 [num, 2]: top and left corner of each crop in the padded image, uniform in 0 to 2 * pad_px."""
    return send_to(torch.randint(2 * pad_px + 1, (num, 2), generator=generator), device)


def crop_and_flip(
    images: torch.Tensor, *, offsets: torch.Tensor, pad_px: int, mirrored: torch.Tensor, upended: torch.Tensor
) -> torch.Tensor:
    """Reflect-pad by `pad_px`, cut a window of the old size at each sample's offset, then flip.

    Args:
        images: uint8 [B, C, H, W]; fastest in channels-last layout.
        offsets: int64 [B, 2], top and left corner in the padded image, 0 to 2 * pad_px.
        pad_px: less than H and W (a reflection does not repeat the edge).
        mirrored, upended: bool [B], exchange left and right, top and bottom.

    Returns uint8 [B, C, H, W], channels-last.
    """
    batch, channels, height, width = images.shape
    assert pad_px < min(height, width), f"{height} x {width} pixels cannot be reflected by {pad_px}"
    rows = _source_positions(height, offsets[:, 0], pad_px, upended)
    columns = _source_positions(width, offsets[:, 1], pad_px, mirrored)
    lines = images.permute(0, 2, 3, 1).reshape(batch * height, width * channels)
    first_line = torch.arange(batch, device=images.device)[:, None] * height
    picked = lines.index_select(0, (first_line + rows).view(-1)).view(batch, height, width * channels)
    inside = columns[:, :, None] * channels + torch.arange(channels, device=images.device)
    moved = picked.gather(2, inside.view(batch, 1, -1).expand(-1, height, -1))
    return moved.view(batch, height, width, channels).permute(0, 3, 1, 2)


def flip_images(images: torch.Tensor, *, mirrored: torch.Tensor, upended: torch.Tensor) -> torch.Tensor:
    """Flip the samples of any [B, C, H, W] that `mirrored` and `upended`, bool [B], name; channels-last.

    Equivalent to `crop_and_flip` without padding, and merely faster: whole images are copied, from both versions.
    """
    pixels = images.permute(0, 2, 3, 1)
    for flipped, axis in ((mirrored, 2), (upended, 1)):
        first = torch.arange(len(images), device=images.device)
        pixels = torch.cat([pixels, pixels.flip(axis)]).index_select(0, first + len(images) * flipped)
    return pixels.permute(0, 3, 1, 2)


def _source_positions(size: int, offset: torch.Tensor, pad_px: int, flipped: torch.Tensor) -> torch.Tensor:
    """int64 [B, size]: which row (or column) of the image each row of the crop shows."""
    position = torch.arange(size, device=offset.device).expand(len(offset), -1)
    position = torch.where(flipped[:, None], size - 1 - position, position) + (offset[:, None] - pad_px)
    position = position.abs()
    return torch.where(position >= size, 2 * (size - 1) - position, position)
