"""TrivialAugment and RandAugment on whole batches: each sample draws its own operations and magnitudes.

After geometry and colour of `pipeline`, in the life of an image. Operations that move pixels (shear, translation,
rotation) become affine maps, so that they and all other geometry are ONE resample; the others change colours, and each
is applied once to the samples that drew it. Operations mean what torchvision's of the same names mean, with one
difference: of several operations of a sample those that move pixels come first, and all geometry shows `augment.fill`
beyond the edge, where torchvision shows black.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from linnaeus.augment.colour import LUMA
from linnaeus.augment.draws import places
from linnaeus.machine import send_to

Policy = Literal["trivial_augment", "rand_augment"]

GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
SIGNED = (*GEOMETRIC, "brightness", "color", "contrast", "sharpness")
OPERATIONS = ("identity", *SIGNED, "posterize", "solarize", "auto_contrast", "equalize")
"""The fourteen operations of both papers (arXiv 2103.10158, table 1; arXiv 1909.13719, section 3)."""

NUM_LEVELS = 31
TRIVIAL_STRONGEST = {
    "shear_x": 0.99,
    "shear_y": 0.99,
    "translate_x": 32.0,
    "translate_y": 32.0,
    "rotate": 135.0,
    "brightness": 0.99,
    "color": 0.99,
    "contrast": 0.99,
    "sharpness": 0.99,
    "posterize": 6.0,
    "solarize": 255.0,
}
"""Magnitudes at the last level of TrivialAugment's wide space: shears as slopes, translations in pixels, rotation in
degrees, factors less 1, bits lost of 8, and what is taken from a threshold of 255 (arXiv 2103.10158, table 1)."""
RAND_STRONGEST = {
    "shear_x": 0.3,
    "shear_y": 0.3,
    "rotate": 30.0,
    "posterize": 4.0,
    "solarize": 255.0,
    "brightness": 0.9,
    "color": 0.9,
    "contrast": 0.9,
    "sharpness": 0.9,
}
"""The same for RandAugment; its translations reach RAND_TRANSLATION of the side (arXiv 1805.09501, table 6)."""
RAND_TRANSLATION = 150 / 331


@dataclass(frozen=True)
class Draws:
    """What each sample gets; on the processor, where it is known without asking the device.

    Attributes:
        operations: int64 [B, n], positions in OPERATIONS.
        magnitudes: float32 [B, n], in the operation's own unit, with its sign.
    """

    operations: torch.Tensor
    magnitudes: torch.Tensor


def draw_operations(
    num: int,
    *,
    policy: Policy,
    num_operations: int,
    level: int,
    height: int,
    width: int,
    generator: torch.Generator,
) -> Draws:
    """Draw for `num` samples.

    TrivialAugment draws one operation and its level, uniformly; RandAugment `num_operations`, with replacement, all at
    the given level of 0 to 30. Signs are those of a fair coin.
    """
    trivial = policy == "trivial_augment"
    shape = (num, 1 if trivial else num_operations)
    operations = torch.randint(len(OPERATIONS), shape, generator=generator)
    levels = torch.randint(NUM_LEVELS, shape, generator=generator) if trivial else torch.full(shape, level)
    signs = 1.0 - 2.0 * torch.randint(2, shape, generator=generator)
    strongest = dict(TRIVIAL_STRONGEST if trivial else RAND_STRONGEST)
    if not trivial:
        strongest |= {"translate_x": RAND_TRANSLATION * width, "translate_y": RAND_TRANSLATION * height}
    table = torch.from_numpy(np.array([strongest.get(name, 0.0) for name in OPERATIONS], np.float32))
    signed = torch.from_numpy(np.isin(OPERATIONS, SIGNED))
    magnitudes = table[operations] * (levels / (NUM_LEVELS - 1))
    return Draws(operations, torch.where(signed[operations], signs * magnitudes, magnitudes))


def moves(draws: Draws) -> torch.Tensor:
    """bool [B]: which samples have their pixels moved."""
    geometric = torch.from_numpy(np.isin(OPERATIONS, GEOMETRIC))
    return geometric[draws.operations].any(dim=1)


def policy_maps(draws: Draws, *, height: int, width: int) -> torch.Tensor:
    """float32 [B, 2, 3]: from a pixel of the result to the place it shows, in pixels from the middle of the image.

    The operations are undone from the last to the first: M_1^-1 M_2^-1 ... of a sample's operations 1, 2 ...
    """
    num, count = draws.operations.shape
    whole = torch.eye(3).expand(num, 3, 3)
    for k in range(count):
        whole = whole @ _inverse(draws.operations[:, k], draws.magnitudes[:, k], height=height, width=width)
    return whole[:, :2].contiguous()


def chain(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """float32 [B, 2, 3]: the inverse map of doing `first` and then `second`, both given as inverse maps."""
    linear = first[:, :, :2] @ second[:, :, :2]
    origin = first[:, :, :2] @ second[:, :, 2:] + first[:, :, 2:]
    return torch.cat([linear, origin], dim=2)


def _inverse(operation: torch.Tensor, magnitude: torch.Tensor, *, height: int, width: int) -> torch.Tensor:
    """float32 [B, 3, 3]: the inverse map of one operation of each sample; the identity where it moves no pixel.

    Translations are by whole pixels, cut towards zero. A sheared pixel shows what lies `slope` times its distance from
    the top (or left) edge of the image to the side; rotation is about the middle and counter-clockwise.
    """
    matrix = torch.eye(3).repeat(len(operation), 1, 1)

    def of(name: str) -> torch.Tensor:
        return torch.where(operation == OPERATIONS.index(name), magnitude, 0.0)

    angle = torch.deg2rad(of("rotate"))
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 0, 1] = of("shear_x") - angle.sin()
    matrix[:, 1, 0] = of("shear_y") + angle.sin()
    matrix[:, 0, 2] = of("shear_x") * height / 2 - of("translate_x").trunc()
    matrix[:, 1, 2] = of("shear_y") * width / 2 - of("translate_y").trunc()
    return matrix


def change_colours(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Apply the operations that move no pixel, in their order.

    Args:
        images: float32 [B, 3, H, W], 0-1.
        draws: of the same samples.

    Returns float32 [B, 3, H, W], 0-1, channels-last.
    """
    pixels = images.permute(0, 2, 3, 1).contiguous()
    for k in range(draws.operations.shape[1]):
        for name, change in _CHANGES.items():
            drawn = places(draws.operations[:, k] == OPERATIONS.index(name))
            if len(drawn):
                amounts = send_to(draws.magnitudes[drawn, k].view(-1, 1, 1, 1), images.device)
                drawn = send_to(drawn, images.device)
                picked = pixels.index_select(0, drawn).permute(0, 3, 1, 2)
                changed = change(picked, amounts).clamp(0.0, 1.0)
                pixels = pixels.index_copy(0, drawn, changed.permute(0, 2, 3, 1))
    return pixels.permute(0, 3, 1, 2)


def _brightness(images: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    return images * (1.0 + amount)


def _color(images: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    return torch.lerp(_grey(images).expand_as(images), images, 1.0 + amount)


def _contrast(images: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    return torch.lerp(_grey(images).mean(dim=(2, 3), keepdim=True).expand_as(images), images, 1.0 + amount)


def _grey(images: torch.Tensor) -> torch.Tensor:
    return images[:, 0:1] * LUMA[0] + images[:, 1:2] * LUMA[1] + images[:, 2:3] * LUMA[2]


def _sharpness(images: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Away from the picture smoothed by 3 x 3 pixels of weight 1, the middle one 5; the border stays as it is."""
    num, channels, height, width = images.shape
    if min(height, width) < 3:
        return images
    kernel = torch.ones(1, 1, 3, 3, device=images.device)
    kernel[:, :, 1, 1].fill_(5.0)
    planes = images.reshape(num * channels, 1, height, width)
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(planes, kernel / kernel.sum()).view(num, channels, height - 2, width - 2)
    return torch.lerp(smooth, images, 1.0 + amount)


def _posterize(images: torch.Tensor, bits_lost: torch.Tensor) -> torch.Tensor:
    step = torch.exp2(bits_lost.round())
    return torch.floor(_whole(images) / step) * step / 255.0


def _solarize(images: torch.Tensor, lowered: torch.Tensor) -> torch.Tensor:
    return torch.where(_whole(images) >= 255.0 - lowered, 1.0 - images, images)


def _auto_contrast(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    flat = high == low
    return torch.where(flat, images, (images - low) / torch.where(flat, 1.0, high - low))


def _equalize(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    from torchvision.transforms.v2.functional import equalize  # takes a second to import

    equalized: torch.Tensor = equalize(_whole(images).to(torch.uint8))
    return equalized.float() / 255.0


def _whole(images: torch.Tensor) -> torch.Tensor:
    """0-1 -> whole numbers of 0-255, still as float32."""
    return (images * 255.0).round()


_CHANGES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "brightness": _brightness,
    "color": _color,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
}
