"""What a backbone gives to a head: pooled maps with dropout, maps as they are, all stages, several backbones together.

Wrappers around networks that have timm's methods; this module does not need timm.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from linnaeus.data.image_spec import Channels


class MapDropout(nn.Module):
    """A timm network with dropout on its last feature maps, before they are pooled."""

    def __init__(self, body: nn.Module, dropout: float) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float [B, 3, H, W] -> [B, D]."""
        maps: Any = self.body.forward_features(images)  # type: ignore[operator]
        pooled: torch.Tensor = self.body.forward_head(self.dropout(maps))  # type: ignore[operator]
        return pooled


class FlattenedMaps(nn.Module):
    """The last feature maps of a timm network as they are, without pooling, one after the other."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float [B, 3, H, W] -> [B, C * h * w]."""
        maps: torch.Tensor = self.body.forward_features(images)  # type: ignore[operator]
        return maps.flatten(1)


class StageFeatures(nn.Module):
    """Mean and standard deviation over space of the feature maps of every stage, beside the network's own features.

    Head2Toe (arXiv 2201.03529) without its selection: the penalty of the head takes that part. The deviation says how
    uneven a map is, which the mean cannot: docs/transfer.md has what it brings. Means, deviations and the network's own
    are each brought to unit root mean square, so that none drowns the others.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float [B, 3, H, W] -> [B, D]: of each stage means, then deviations (0 of a single pixel), its own last."""
        last, maps = self.body.forward_intermediates(images)  # type: ignore[operator]
        own: torch.Tensor = self.body.forward_head(last)  # type: ignore[operator]
        pooled: list[torch.Tensor] = []
        for stage in maps:
            pooled += _mean_and_deviation(stage)
        return torch.cat([F.rms_norm(part.float(), part.shape[1:]) for part in (*pooled, own)], dim=1)


def _mean_and_deviation(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, C, h, w] -> mean and standard deviation over space, float32 [B, C] each.

    As `torch.std_mean`, which takes six times as long for channels-last maps: a fifth of a small network's time.
    """
    pixels = maps.permute(0, 2, 3, 1).flatten(1, 2).float()
    mean = pixels.mean(1, keepdim=True)
    # Nothing is left of a constant map, nor of its gradient, which the root alone would make infinite.
    return mean[:, 0], (pixels - mean).square().mean(1).clamp(min=1e-20).sqrt()


class SideBySide(nn.Module):
    """The features of several networks that see the same images, each normalized in its own way.

    Args:
        parts: networks float [B, 3, H, W] -> [B, D_i].
        normalizations: of each, (mean, std) of values in 0-1.
    """

    def __init__(self, parts: list[nn.Module], normalizations: list[tuple[Channels, Channels]]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        for k, (mean, std) in enumerate(normalizations):
            self.register_buffer(f"mean_{k}", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
            self.register_buffer(f"std_{k}", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float [B, 3, H, W], 0-1 -> [B, sum of D_i]."""
        buffers = dict(self.named_buffers(recurse=False))
        seen = [(images - buffers[f"mean_{k}"]) / buffers[f"std_{k}"] for k in range(len(self.parts))]
        return torch.cat([part(view).float() for part, view in zip(self.parts, seen, strict=True)], dim=1)
