"""Classifier: a backbone that turns images into features, and a head that turns features into logits.

The seam between the two is what makes frozen features, folds and ensembles cheap. Knows nothing of data or training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Classifier(nn.Module):
    """`forward(x) == logits(features(x))`.

    Args:
        backbone: images float [B, 3, H, W], normalized -> features [B, D].
        head: features [B, D] -> logits [B, K].
        name, options, head_options, features: how `build_classifier` makes this architecture again; they travel with
            the bundle.

    A backbone may define `prepare(images)`, called once before training from scratch with some normalized training
    images (the whitened first layer needs their statistics).
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        name: str,
        options: dict[str, Any],
        head_options: dict[str, Any] | None = None,
        features: str = "last",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.name = name
        self.options = options
        self.head_options = head_options or {}
        self.feature_kind = features

    @property
    def num_features(self) -> int:
        """D, the length of the features: what the first layer of the head takes."""
        return next(int(p.shape[1]) for p in self.head.parameters() if p.ndim == 2)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """float [B, 3, H, W] -> [B, D]."""
        features: torch.Tensor = self.backbone(images)
        return features

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """[B, D] -> [B, K]."""
        logits: torch.Tensor = self.head(features)
        return logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float [B, 3, H, W] -> logits [B, K]."""
        return self.logits(self.features(images))


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """(total, trainable). Total counts trainable and frozen parameters and batch-norm running mean and variance."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    statistics = sum(b.numel() for name, b in model.named_buffers() if name.endswith(("running_mean", "running_var")))
    return trainable + frozen + statistics, trainable
