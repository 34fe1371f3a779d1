"""Gaussian noise, and random erasing (Zhong et al., arXiv 1708.04896).

Both act on floats in 0-1, before normalization, and keep them there.
"""

from __future__ import annotations

import torch

from linnaeus.augment.boxes import box_mask
from linnaeus.augment.draws import generator_on, places, uniform
from linnaeus.machine import send_to

AREA = (0.02, 0.33)
"""Fraction of the image that is erased: s_l and s_h of the paper's CIFAR and ImageNet experiments (section 4.1:
0.02-0.4 there; 0.02-0.33 is what torchvision and timm settled on)."""
ASPECT = (0.3, 1 / 0.3)
"""Height over width of the erased rectangle: r_1 and r_2."""


def add_noise(images: torch.Tensor, *, deviation: float, generator: torch.Generator) -> torch.Tensor:
    """float32 [B, C, H, W] in 0-1, plus independent noise of this standard deviation, clamped to 0-1."""
    noise = torch.empty_like(images)
    noise.normal_(0.0, deviation, generator=generator_on(generator, images.device))
    return noise.add_(images).clamp_(0.0, 1.0)


def draw_erased_boxes(
    num: int, *, height: int, width: int, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """int64 [num, 4]: one rectangle per sample, of a fraction of the area in AREA and of an aspect in ASPECT.

    The paper draws until a rectangle fits (algorithm 1). Here the aspect is drawn at once from those that fit the drawn
    area, and in logarithm, so that wide ones are as likely as tall ones (torchvision's reading). Only images more than
    ten times as long as wide have areas that no aspect fits; their rectangles are cut to the image.
    """
    area = uniform(num, *AREA, generator=generator, device=device) * (height * width)
    widest = area.div(width * width).clamp(min=ASPECT[0]).log()
    tallest = area.reciprocal().mul(height * height).clamp(max=ASPECT[1]).log()
    aspect = torch.lerp(widest, tallest, uniform(num, 0.0, 1.0, generator=generator, device=device)).exp()
    tall = (area * aspect).sqrt().round().clamp(1, height).long()
    wide = (area / aspect).sqrt().round().clamp(1, width).long()
    top = (uniform(num, 0.0, 1.0, generator=generator, device=device) * (height - tall + 1)).long()
    left = (uniform(num, 0.0, 1.0, generator=generator, device=device) * (width - wide + 1)).long()
    top, left = torch.minimum(top, height - tall), torch.minimum(left, width - wide)
    return torch.stack([top, left, top + tall, left + wide], dim=1)


def erase(images: torch.Tensor, *, boxes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Paint noise over each sample's box, every value uniform in 0-1 (the paper's RE-R, its best).

    Args:
        images: float32 [B, C, H, W] in 0-1.
        boxes: int64 [B, 4]; an empty box leaves its sample as it is.
    """
    mask = box_mask(boxes, height=images.shape[2], width=images.shape[3])
    noise = torch.empty_like(images).uniform_(generator=generator_on(generator, images.device))
    return torch.where(mask, noise, images)


def erase_some(images: torch.Tensor, *, probability: float, generator: torch.Generator) -> torch.Tensor:
    """Erase a random rectangle with noise from each sample with this probability; float32 [B, C, H, W] in 0-1."""
    num, _, height, width = images.shape
    chosen = places(torch.rand(num, generator=generator) < probability)
    if not len(chosen):
        return images
    boxes = draw_erased_boxes(len(chosen), height=height, width=width, generator=generator, device=images.device)
    chosen = send_to(chosen, images.device)
    pixels = images.permute(0, 2, 3, 1)  # whole images are copied fastest in the layout they have
    picked = pixels.index_select(0, chosen).permute(0, 3, 1, 2)
    erased = erase(picked, boxes=boxes, generator=generator)
    return pixels.index_copy(0, chosen, erased.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
