"""What training makes small: the loss of a batch's logits (and, in `penalty`, of the size of weights).

Plain functions of tensors; `build_loss` alone reads the configuration. Knows nothing of batches, optimizers or epochs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from linnaeus.config import LossConfig
from linnaeus.losses.multilabel import asymmetric_loss, binary_cross_entropy, squeezed_binary_cross_entropy

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def build_loss(config: LossConfig) -> Loss:
    """The loss that the configuration names: (logits float [B, K], targets) -> scalar.

    Targets are int64 [B] or float [B, K] for one label per image, [B, K] in 0-1 for several. The mean over the batch,
    always computed in float32.
    """

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
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
    """Batch mean of -sum_k q_k log softmax(logits)_k, with q = (1 - s) y + s / K (arXiv 1512.00567, section 7).

    Args:
        logits: float [B, K].
        targets: classes int64 [B], or probabilities float [B, K].
        label_smoothing: s, the share spread evenly over all classes, 0-1.
    """
    return F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing)
