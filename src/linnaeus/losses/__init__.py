"""What training makes small: the loss of a batch's logits (and, in `penalty`, of the size of weights).

Plain functions of tensors; `build_loss` alone reads the configuration. Knows nothing of batches, optimizers or epochs.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F

from linnaeus.config.settings import LossConfig
from linnaeus.data.targets import soft_targets
from linnaeus.losses.multilabel import (
    asymmetric_loss,
    binary_cross_entropy,
    binary_focal_loss,
    squeezed_binary_cross_entropy,
)


class Loss(Protocol):
    """What `build_loss` makes."""

    def __call__(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits float [B, K], targets, and float [B] of weights or None, to a scalar, always computed in float32."""


def build_loss(config: LossConfig, *, class_counts: torch.Tensor | None = None) -> Loss:
    """The loss that the configuration names, of a batch: the mean over its images, each times its weight.

    Targets are int64 [B] or float [B, K] for one label per image, [B, K] in 0-1 for several.

    Args:
        class_counts: float [K], images per class that training shows, on the device of the logits; needed for class
            weights and logit adjustment.
    """
    class_weights = build_class_weights(config, class_counts)
    adjustment = None
    if config.logit_adjustment:
        assert class_counts is not None
        adjustment = config.logit_adjustment * log_fractions(class_counts)

    def loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        each = loss_of_each(logits, targets)
        return each.mean() if weights is None else (each * weights).mean()

    def loss_of_each(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if adjustment is not None:
            logits = logits.float() + adjustment
        match config.name:
            case "cross_entropy":
                return cross_entropy(
                    logits, targets, label_smoothing=config.label_smoothing, class_weights=class_weights
                )
            case "focal":
                return focal_loss(
                    logits,
                    targets,
                    gamma=config.gamma,
                    label_smoothing=config.label_smoothing,
                    class_weights=class_weights,
                )
            case "binary_focal":
                return binary_focal_loss(logits, targets, gamma=config.gamma)
            case "bce":
                return binary_cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
            case "squeezed_bce":
                return squeezed_binary_cross_entropy(logits, targets)
            case "asymmetric":
                return asymmetric_loss(
                    logits, targets, gamma_neg=config.gamma_neg, gamma_pos=config.gamma_pos, clip=config.clip
                )

    return loss


def cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """float32 [B]: -sum_k w_k q_k log softmax(logits)_k, with q = (1 - s) y + s / K (arXiv 1512.00567, section 7).

    Args:
        logits: float [B, K].
        targets: classes int64 [B], or probabilities float [B, K].
        label_smoothing: s, the fraction spread evenly over all classes, 0-1.
        class_weights: w float [K]; None for ones. Nothing is divided by their sum over the batch, as torch does for its
            mean, so that mixed targets, and batches in parts, add up.
    """
    return F.cross_entropy(
        logits.float(), targets, weight=class_weights, label_smoothing=label_smoothing, reduction="none"
    )


def focal_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    gamma: float,
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """float32 [B]: -sum_k w_k q_k (1 - p_k)^gamma log p_k, p = softmax(logits): focal loss (arXiv 1708.02002, equation
    4) of a softmax. With gamma 0 it is `cross_entropy`, whose arguments it takes.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    wanted = soft_targets(targets, logits.shape[1])
    wanted = wanted * (1.0 - label_smoothing) + label_smoothing / logits.shape[1]
    if class_weights is not None:
        wanted = wanted * class_weights
    unsure = (-torch.expm1(log_p)).clamp(min=torch.finfo(torch.float32).tiny)
    return -(wanted * unsure**gamma * log_p).sum(dim=1)


def build_class_weights(config: LossConfig, class_counts: torch.Tensor | None) -> torch.Tensor | None:
    """float [K] as the configuration asks for them, or None; classes without an image get 0.

    "balanced": N / (K n_k), as scikit-learn has it, which is 1 on average over the images. "effective": (1 - beta) / (1
    - beta^n_k), scaled to add up to K (arXiv 1901.05555, section 3.3 and 4).
    """
    if config.class_weights == "none":
        return None
    assert class_counts is not None
    there = class_counts > 0
    counts = class_counts.clamp(min=1e-9)
    if config.class_weights == "balanced":
        return torch.where(there, counts[there].sum() / (there.sum() * counts), 0.0)
    weights = torch.where(there, (1.0 - config.beta) / (1.0 - config.beta**counts), 0.0)
    return weights / weights.sum() * there.sum()


def log_fractions(class_counts: torch.Tensor) -> torch.Tensor:
    """float [K]: the logarithm of each class's fraction; a class without an image counts as half an image."""
    counts = class_counts.clamp(min=0.5)
    return (counts / counts.sum()).log()
