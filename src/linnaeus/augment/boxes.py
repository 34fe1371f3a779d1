"""Rectangles in images, one per sample, as edges and as masks; shared by random erasing and CutMix.

A box is int64 [B, 4]: top, left, bottom, right in pixels, the last two exclusive.
"""

from __future__ import annotations

import torch


def box_mask(boxes: torch.Tensor, *, height: int, width: int) -> torch.Tensor:
    """bool [B, 1, H, W]: true inside each sample's box."""
    y = torch.arange(height, device=boxes.device)
    x = torch.arange(width, device=boxes.device)
    top, left, bottom, right = boxes.unbind(1)
    in_rows = (y >= top[:, None]) & (y < bottom[:, None])
    in_columns = (x >= left[:, None]) & (x < right[:, None])
    return (in_rows[:, :, None] & in_columns[:, None, :])[:, None]


def box_fraction(boxes: torch.Tensor, *, height: int, width: int) -> torch.Tensor:
    """float32 [B]: the part of the image that each box covers, exactly as its mask does."""
    top, left, bottom, right = boxes.unbind(1)
    return ((bottom - top) * (right - left)).float() / (height * width)
