"""Targets as the numbers that a network is trained towards. Knows nothing of labels' names, images or losses."""

from __future__ import annotations

import torch


def soft_targets(targets: torch.Tensor, num_classes: int) -> torch.Tensor:
    """float32 [B, K] in 0-1: one-hot of classes int64 [B]; several labels per image, or soft ones, [B, K] as they are.

    As `torch.nn.functional.one_hot`, which on a processor looks at every class first to see that there is such a one.
    """
    if targets.ndim == 2:
        return targets.float()
    return (targets[:, None] == torch.arange(num_classes, device=targets.device)).float()
