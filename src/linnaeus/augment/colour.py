"""Brightness, contrast, saturation and hue as ONE 3 x 4 matrix per sample, applied by one pass and clamped once.

The first three mean what torchvision's adjust_brightness, adjust_contrast and adjust_saturation mean, in this order,
but pixels are clamped to 0-1 only at the end, so nothing is lost half way. Hue turns the chrominance plane of YIQ,
which is linear and keeps the luma of every pixel; torchvision's adjust_hue turns the angle of HSV, which is neither,
so the same turn gives other colours there.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt
import torch

LUMA = (0.2989, 0.587, 0.114)
"""Fractions of red, green and blue in grey: ITU-R BT.601 as torchvision rounds it, so that factors mean the same."""
Matrix = npt.NDArray[np.float32]
_I, _Q = (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)  # the chrominance axes of NTSC's YIQ


def colour_matrix(
    *, brightness: torch.Tensor, contrast: torch.Tensor, saturation: torch.Tensor, hue_turns: torch.Tensor
) -> torch.Tensor:
    """float32 [B, 3, 4]: (r, g, b, mean grey of the image) -> (r, g, b).

    First brightness, then contrast, which pulls away from the mean grey, then saturation and hue.

    Args (all on the processor, as is the result):
        brightness, contrast, saturation: float [B], factors; 1 changes nothing.
        hue_turns: float [B], in full turns, red towards yellow; 0 and 1 change nothing.
    """
    luma = torch.from_numpy(np.array(LUMA, np.float32))
    # saturate(x) = s x + (1 - s) grey(x), as a matrix acting on colours; hue turns the result.
    saturate = saturation[:, None, None] * torch.eye(3)
    saturate = saturate + (1 - saturation)[:, None, None] * luma.expand(3, 3)
    colour = (_hue_matrix(hue_turns)[..., None] * saturate[:, None]).sum(2)
    # contrast(b x) = c b x + (1 - c) b mean: the mean of the brightened image is b times the mean.
    linear = colour * (contrast * brightness)[:, None, None]
    of_mean = colour.sum(2, keepdim=True) * ((1 - contrast) * brightness)[:, None, None]
    return torch.cat([linear, of_mean], dim=2)


def apply_colour(images: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """float32 [B, 3, H, W], fastest as planes of channels, through float32 [B, 3, 4]; not clamped."""
    constant = matrix[:, :, 3] * mean_grey(images)[:, None]
    if images.device.type == "cpu":
        return torch.baddbmm(constant[:, :, None], matrix[:, :, :3], images.flatten(2)).view_as(images)
    # The same one term at a time: elsewhere training may have lowered the precision of matrix products (TF32).
    weights = matrix[..., None, None]
    result = images[:, 0:1] * weights[:, :, 0]
    result.add_(constant[:, :, None, None])
    result.addcmul_(images[:, 1:2], weights[:, :, 1])
    return result.addcmul_(images[:, 2:3], weights[:, :, 2])


def mean_grey(images: torch.Tensor) -> torch.Tensor:
    """float32 [B]: mean over each image, float [B, 3, H, W], of its grey value."""
    means = images.mean(dim=(2, 3))
    return means[:, 0] * LUMA[0] + means[:, 1] * LUMA[1] + means[:, 2] * LUMA[2]


def _hue_matrix(turns: torch.Tensor) -> torch.Tensor:
    """float32 [B, 3, 3]: a rotation of (I, Q) between RGB -> YIQ and back; greys stay, and so does luma."""
    still, along, crosswise = (torch.from_numpy(part) for part in _hue_parts())
    angle = (2 * math.pi * turns)[:, None, None]
    return still + angle.cos() * along - angle.sin() * crosswise


@functools.cache
def _hue_parts() -> tuple[Matrix, Matrix, Matrix]:
    """float32 [3, 3] each: of a rotation of (I, Q) in RGB what stays, what goes with its cosine, and with its sine."""
    total = sum(LUMA)
    to_yiq = np.array([[fraction / total for fraction in LUMA], _I, _Q])
    # I and Q are rounded in the literature; greys have none of either only once each row sums to zero.
    to_yiq[1:] -= to_yiq[1:].mean(axis=1, keepdims=True)
    to_rgb = np.linalg.inv(to_yiq)
    still = np.outer(to_rgb[:, 0], to_yiq[0])
    along = to_rgb[:, 1:] @ to_yiq[1:]
    crosswise = np.outer(to_rgb[:, 2], to_yiq[1]) - np.outer(to_rgb[:, 1], to_yiq[2])
    return still.astype(np.float32), along.astype(np.float32), crosswise.astype(np.float32)
