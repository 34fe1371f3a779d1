"""Losses where an image has several labels: each label is a question of its own, answered by a sigmoid.

Plain functions of logits float [B, K] and targets [B, K] in 0-1 (of any type; soft ones from mixup too), to one loss
per image, float32 [B], that gradients flow through. Knows nothing of the configuration.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

_LEAST = 1e-8
"""Powers below 1 have an endless slope at 0, so they are taken of no less."""


def binary_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, *, label_smoothing: float = 0.0) -> torch.Tensor:
    """Mean over labels of -(y log p + (1 - y) log(1 - p)), p = sigmoid(logits).

    `label_smoothing` s moves y to (1 - s) y + s / 2, as Keras' BinaryCrossentropy does.
    """
    wanted = targets.float() * (1.0 - label_smoothing) + label_smoothing / 2
    return F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none").mean(dim=1)


def squeezed_binary_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum over labels of binary cross-entropy on s(p) = 0.99 p + 0.005, p = sigmoid(logits).

    The squeeze bounds the loss of a label that is surely wrong by -log 0.005, about 5.3.
    """
    squeezed, wanted = 0.99 * torch.sigmoid(logits.float()) + 0.005, targets.float()
    # Not 1 - s(p): sigmoid(-x) keeps digits where 1 - sigmoid(x) has lost them.
    complement = 0.99 * torch.sigmoid(-logits.float()) + 0.005
    return -(wanted * squeezed.log() + (1.0 - wanted) * complement.log()).sum(dim=1)


def asymmetric_loss(
    logits: torch.Tensor, targets: torch.Tensor, *, gamma_neg: float, gamma_pos: float, clip: float
) -> torch.Tensor:
    """Sum over labels of the asymmetric loss (arXiv 2009.14119, equations 1, 5 and 7).

    -y (1 - p)^gamma_pos log p - (1 - y) p_m^gamma_neg log(1 - p_m), with p_m = max(p - clip, 0): labels that are easily
    kept out weigh little, or nothing below `clip`. With all three at 0 it is the sum of binary cross-entropies.
    """
    scores, wanted = logits.float(), targets.float()
    present, shifted = torch.sigmoid(scores), torch.sigmoid(scores)
    absent, log_absent = torch.sigmoid(-scores), F.logsigmoid(-scores)
    if clip:
        shifted = (present - clip).clamp(min=0.0)
        log_absent = torch.log1p(-shifted)
    hard_present = wanted * absent.clamp(min=_LEAST) ** gamma_pos * F.logsigmoid(scores)
    hard_absent = (1.0 - wanted) * shifted.clamp(min=_LEAST) ** gamma_neg * log_absent
    return -(hard_present + hard_absent).sum(dim=1)


def binary_focal_loss(logits: torch.Tensor, targets: torch.Tensor, *, gamma: float) -> torch.Tensor:
    """float32 [B]: the sum over labels of the focal loss (arXiv 1708.02002, equation 4), torchvision's."""
    losses: torch.Tensor = sigmoid_focal_loss(logits.float(), targets.float(), alpha=-1, gamma=gamma, reduction="none")
    return losses.sum(dim=1)
