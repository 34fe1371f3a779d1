"""Two images in one: mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899), each with the soft target it calls for.

Every sample has its own fraction and a partner from the same batch; targets become float32 [B, K], whose
rows sum to 1 where an image has one label.
"""

from __future__ import annotations

import numpy as np
import torch

from linnaeus.augment.boxes import box_fraction, box_mask
from linnaeus.augment.draws import draw_seed, uniform
from linnaeus.data.targets import soft_targets
from linnaeus.machine import send_to


def draw_fractions(num: int, *, alpha: float, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """float32 [num]: lambda ~ Beta(alpha, alpha), the fraction that each image keeps of itself.

    torch's own Beta takes no generator, so a NumPy generator is seeded from it.
    """
    drawn = np.random.default_rng(draw_seed(generator)).beta(alpha, alpha, num)
    return send_to(torch.from_numpy(drawn.astype(np.float32)), device)


def draw_partners(num: int, *, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """int64 [num]: a random permutation; now and then a sample is its own partner, as in the papers' code."""
    return send_to(torch.randperm(num, generator=generator), device)


def mixup(
    images: torch.Tensor, targets: torch.Tensor, *, num_classes: int, partners: torch.Tensor, fractions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """x = lambda x_i + (1 - lambda) x_j and y = lambda y_i + (1 - lambda) y_j (equation in section 2).

    Args:
        images: float32 [B, C, H, W]. targets: int64 [B], or uint8 [B, K].
        partners: int64 [B], j of each i. fractions: float32 [B], lambda, 0-1.

    Returns images float32 [B, C, H, W], channels-last, and soft targets float32 [B, num_classes].
    """
    pixels = images.permute(0, 2, 3, 1)
    mixed = torch.lerp(pixels.index_select(0, partners), pixels, fractions[:, None, None, None])
    return mixed.permute(0, 3, 1, 2), _mix_targets(targets, num_classes, partners, fractions)


def draw_cut_boxes(fractions: torch.Tensor, *, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """int64 [B, 4]: sides sqrt(1 - lambda) of the image's, middle uniform, cut off at the edges (section 3.1)."""
    ratio = (1.0 - fractions).clamp(min=0.0).sqrt()
    tall, wide = (ratio * height).long(), (ratio * width).long()
    middle_y = uniform(len(fractions), 0.0, height, generator=generator, device=fractions.device).long()
    middle_x = uniform(len(fractions), 0.0, width, generator=generator, device=fractions.device).long()
    top, left = middle_y - tall // 2, middle_x - wide // 2
    edges = (top.clamp(min=0), left.clamp(min=0), (top + tall).clamp(max=height), (left + wide).clamp(max=width))
    return torch.stack(edges, dim=1)


def cutmix(
    images: torch.Tensor, targets: torch.Tensor, *, num_classes: int, partners: torch.Tensor, boxes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste each partner's pixels inside the box; lambda is one less the fraction that the box covers exactly.

    Args:
        images: float32 [B, C, H, W]. targets: int64 [B], or uint8 [B, K]. partners: int64 [B]. boxes: int64 [B, 4].

    Returns images float32 [B, C, H, W], channels-last, and soft targets float32 [B, num_classes].
    """
    height, width = images.shape[-2:]
    pixels = images.permute(0, 2, 3, 1)
    mask = box_mask(boxes, height=height, width=width).permute(0, 2, 3, 1)
    pasted = torch.where(mask, pixels.index_select(0, partners), pixels)
    fractions = 1.0 - box_fraction(boxes, height=height, width=width)
    return pasted.permute(0, 3, 1, 2), _mix_targets(targets, num_classes, partners, fractions)


def _mix_targets(
    targets: torch.Tensor, num_classes: int, partners: torch.Tensor, fractions: torch.Tensor
) -> torch.Tensor:
    own = soft_targets(targets, num_classes)
    return torch.lerp(own.index_select(0, partners), own, fractions[:, None])
