"""Heads: what turns the features of a backbone into logits. Knows nothing of backbones, images or training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from linnaeus.errors import ModelError

Activation = Literal["relu", "leaky_relu", "gelu", "mish"]
ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.01),
    "gelu": nn.GELU,
    "mish": nn.Mish,
}
_OUTPUT_STD = 0.01
_COSINE_SCALE = 16.0


def build_head(
    num_features: int,
    num_classes: int,
    *,
    hidden: Sequence[int] = (),
    activation: Activation = "relu",
    batch_norm: bool = False,
    dropout: float = 0.0,
    feature_dropout: float = 0.0,
    cosine: bool = False,
) -> nn.Module:
    """Features float [B, num_features] -> logits [B, num_classes].

    Args:
        hidden: widths of the hidden layers; each is followed by the activation, batch norm and dropout, in that order
            where they are asked for (the order of the Keras models that the reference heads come from).
        feature_dropout: before the first layer.
        cosine: the last layer gives scaled cosines instead of dot products.

    The last layer begins near zero, so that all classes are about equally likely and the first gradients small. Without
    any of this it is one `nn.Linear`, which is what folds average and L-BFGS solves for.
    """
    layers: list[nn.Module] = [nn.Dropout(feature_dropout)] if feature_dropout else []
    width = num_features
    for wider in hidden:
        linear = nn.Linear(width, wider)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layers += [linear, ACTIVATIONS[activation]()]
        layers += [nn.BatchNorm1d(wider)] if batch_norm else []
        layers += [nn.Dropout(dropout)] if dropout else []
        width = wider
    output = CosineLinear(width, num_classes) if cosine else nn.Linear(width, num_classes)
    nn.init.normal_(output.weight, std=_OUTPUT_STD)
    if isinstance(output, nn.Linear):
        nn.init.zeros_(output.bias)
    return nn.Sequential(*layers, output) if layers else output


class CosineLinear(nn.Module):
    """Logits are cosines of features and class vectors, times a learned scale (arXiv 1804.09458, section 3)."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, num_features))
        self.scale = nn.Parameter(torch.tensor(_COSINE_SCALE))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """float [B, D] -> [B, K]."""
        return self.scale * F.linear(F.normalize(features, dim=1), F.normalize(self.weight, dim=1))


@torch.no_grad()
def shift_logits(head: nn.Module, amounts: torch.Tensor) -> None:
    """Add float [K] to the logits for good, in the bias of the last dense layer.

    Raises ModelError for a head that does not end in a dense layer with a bias.
    """
    last = list(head.modules())[-1]
    if type(last) is not nn.Linear or last.bias is None:
        raise ModelError(
            "evaluate.logit_adjustment needs a head that ends in a dense layer with a bias. Take loss.logit_adjustment "
            "for this network."
        )
    last.bias.add_(amounts.to(last.bias))
