"""What training makes small: the loss of a batch's logits (and, in `penalty`, of the size of weights).

Plain functions of tensors; `build_loss` alone reads the configuration. Knows nothing of batches, optimizers or epochs.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F

from linnaeus.config import LossConfig
from linnaeus.losses.multilabel import asymmetric_loss, binary_cross_entropy, squeezed_binary_cross_entropy


class Loss(Protocol):
    """What `build_loss` makes."""

    def __call__(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits float [B, K], targets, and float [B] of weights or None, to a scalar, always computed in float32."""


def build_loss(config: LossConfig) -> Loss:
    """The loss that the configuration names, of a batch: the mean over its images, each times its weight.

    Targets are int64 [B] or float [B, K] for one label per image, [B, K] in 0-1 for several.
    """

    def loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        each = loss_of_each(logits, targets)
        return each.mean() if weights is None else (each * weights).mean()

    def loss_of_each(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        match config.name:
            case "cross_entropy":
                return cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
            case "bce":
                return binary_cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
            case "squeezed_bce":
                return squeezed_binary_cross_entropy(logits, targets)
            case "asymmetric":
                return asymmetric_loss(
                    logits, targets, gamma_neg=config.gamma_neg, gamma_pos=config.gamma_pos, clip=config.clip
                )

    return loss


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, *, label_smoothing: float) -> torch.Tensor:
    """float32 [B]: -sum_k q_k log softmax(logits)_k, with q = (1 - s) y + s / K (arXiv 1512.00567, section 7).

    Args:
        logits: float [B, K].
        targets: classes int64 [B], or probabilities float [B, K].
        label_smoothing: s, the share spread evenly over all classes, 0-1.
    """
    return F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing, reduction="none")
