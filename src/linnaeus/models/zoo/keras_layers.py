"""Layers as Keras makes them, in which most of the reference systems were written.

Weights begin as the papers behind Keras' initializers say, biases at zero; batch norm keeps 0.99 of its running
statistics at each step and adds 1e-3 to the variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

_NORM_EPSILON, _NORM_MOMENTUM = 1e-3, 0.01
_TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a standard normal cut off at -2 and 2, by which Keras divides."""

Initializer = Callable[[torch.Tensor], object]


def glorot_uniform(weight: torch.Tensor) -> None:
    """Uniform within sqrt(6 / (fan in + fan out)) (Glorot and Bengio 2010, equation 16); Keras' default."""
    nn.init.xavier_uniform_(weight)


def he_normal(weight: torch.Tensor) -> None:
    """Normal of variance 2 / fan in (arXiv 1502.01852, equation 10), cut off at two deviations as Keras does."""
    std = math.sqrt(2.0 / weight[0].numel()) / _TRUNCATED_STD
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


def dense(width_in: int, width_out: int, *, initialize: Initializer = glorot_uniform) -> nn.Linear:
    """float [B, width_in] -> [B, width_out]."""
    layer = nn.Linear(width_in, width_out)
    initialize(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def convolution(
    channels_in: int,
    channels_out: int,
    *,
    kernel: int = 3,
    same: bool = True,
    initialize: Initializer = glorot_uniform,
) -> nn.Conv2d:
    """float [B, channels_in, H, W] -> [B, channels_out, H', W']: H' = H with `same`, else H - kernel + 1 ("valid")."""
    layer = nn.Conv2d(channels_in, channels_out, kernel, padding="same" if same else "valid")
    initialize(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def norm_of_maps(channels: int) -> nn.BatchNorm2d:
    """Batch norm of float [B, channels, H, W]."""
    return nn.BatchNorm2d(channels, eps=_NORM_EPSILON, momentum=_NORM_MOMENTUM)


def norm_of_vectors(width: int) -> nn.BatchNorm1d:
    """Batch norm of float [B, width]."""
    return nn.BatchNorm1d(width, eps=_NORM_EPSILON, momentum=_NORM_MOMENTUM)
