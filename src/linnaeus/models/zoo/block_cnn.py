"""M3: networks made of residual and inception blocks, as a configuration says (reference system M3).

A stem (3x3 convolution, batch norm, ReLU), stages of blocks, global average pool, dense K. Each stage is a mapping:

    {block: residual, width: 64, repeat: 2, shortcut: projection, pool: true}
    {block: inception, kernels: [1, 3, 5, 0], widths: [32, 64, 16, 16], shortcut: none}

`residual`: two 3x3 convolutions with batch norm (arXiv 1512.03385, figure 2), plus the shortcut. `inception`: branches
side by side, each a 1x1 convolution to half the branch's width and a convolution of that kernel (kernel 1: the 1x1
alone; kernel 0: a max-pool and a 1x1), joined (arXiv 1409.4842, figure 2b), plus the shortcut. `plain`: one 3x3
convolution. `pool` halves the sides after the stage. Knows nothing of what it is given to look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import nn

from linnaeus.errors import ModelError, nearest_name
from linnaeus.models.classifier import Classifier
from linnaeus.models.zoo.keras_layers import convolution, dense, he_normal, norm_of_maps

STAGES: list[dict[str, Any]] = [
    {"block": "residual", "width": 32, "repeat": 2, "shortcut": "projection", "pool": True},
    {"block": "inception", "kernels": [1, 3, 5, 0], "widths": [16, 32, 8, 8], "shortcut": "none", "pool": True},
    {"block": "residual", "width": 128, "repeat": 2, "shortcut": "projection", "pool": True},
    {
        "block": "inception",
        "kernels": [1, 3, 5, 0],
        "widths": [64, 128, 32, 32],
        "shortcut": "projection",
        "pool": True,
    },
]
STEM = 32
_BLOCKS, _SHORTCUTS = ("plain", "residual", "inception"), ("none", "identity", "projection")


@dataclass(frozen=True)
class Stage:
    """Some blocks of one kind, one after the other.

    Attributes:
        block: the kind.
        width: channels that come out of a plain or residual block.
        repeat: how many blocks.
        kernels, widths: of the branches of an inception block.
        shortcut: "none"; "identity", where a block does not change the channels; "projection", by a 1x1 convolution
            where it does.
        pool: a max-pool of 2 after the last block.
    """

    block: Literal["plain", "residual", "inception"]
    width: int = 0
    repeat: int = 1
    kernels: Sequence[int] = ()
    widths: Sequence[int] = ()
    shortcut: Literal["none", "identity", "projection"] = "none"
    pool: bool = False

    @property
    def channels(self) -> int:
        """That come out."""
        return sum(self.widths) if self.block == "inception" else self.width


def block_cnn(
    *, num_classes: int, image_size: int, stem: int = STEM, stages: list[dict[str, Any]] | None = None
) -> Classifier:
    """Build it with random weights (He normal, as its ReLUs want).

    Args:
        num_classes: K.
        image_size: side in pixels.
        stem: channels of the first convolution.
        stages: mappings of Stage's attributes; STAGES if None.

    Raises ModelError for a stage that cannot be built, or an image too small for the poolings.
    """
    stages = STAGES if stages is None else stages
    layers: list[nn.Module] = [_unit(3, stem, 3)]
    channels, side = stem, image_size
    for number, values in enumerate(stages):
        stage = read_stage(values, number=number)
        for _ in range(stage.repeat):
            layers.append(Block(channels, stage, number=number))
            channels = stage.channels
        if stage.pool:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    if side < 1:
        raise ModelError(f"block_cnn with these stages pools {image_size} px away. Take a larger --image-size.")
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    options = {"stem": stem, "stages": stages}
    return Classifier(nn.Sequential(*layers), dense(channels, num_classes), name="block_cnn", options=options)


def read_stage(values: Mapping[str, Any], *, number: int) -> Stage:
    """A stage of the configuration; raises ModelError that names what is wrong with it."""
    where = f"model.options.stages.{number}"
    known = [field.name for field in fields(Stage)]
    for key in values:
        if key not in known:
            raise ModelError(f"{where} has no '{key}'.{nearest_name(key, known)} Known: {', '.join(known)}.")
    for key, choices in (("block", _BLOCKS), ("shortcut", _SHORTCUTS)):
        if values.get(key, "none" if key == "shortcut" else None) not in choices:
            raise ModelError(f"{where}.{key} is one of {', '.join(choices)}, not {values.get(key)}.")
    stage = Stage(**values)
    if stage.block == "inception" and (not stage.kernels or len(stage.kernels) != len(stage.widths)):
        raise ModelError(f"{where} is an inception block and needs kernels and as many widths.")
    if stage.channels < 1 or stage.repeat < 1 or any(width < 1 for width in stage.widths):
        raise ModelError(f"{where} needs a width, widths and repeat of 1 at least.")
    if any(kernel != 0 and kernel % 2 == 0 for kernel in stage.kernels):
        raise ModelError(f"{where}.kernels are odd, or 0 for a pooling branch, not {list(stage.kernels)}.")
    return stage


class Block(nn.Module):
    """float [B, channels_in, H, W] -> [B, stage.channels, H, W]: one block of a stage, with its shortcut."""

    def __init__(self, channels_in: int, stage: Stage, *, number: int) -> None:
        super().__init__()
        width = stage.channels
        if stage.block == "inception":
            pairs = zip(stage.kernels, stage.widths, strict=True)
            self.branches = nn.ModuleList(_branch(channels_in, wide, kernel) for kernel, wide in pairs)
        elif stage.block == "residual":
            second = [convolution(width, width, initialize=he_normal), norm_of_maps(width)]
            self.branches = nn.ModuleList([nn.Sequential(_unit(channels_in, width, 3), *second)])
        else:
            self.branches = nn.ModuleList([_unit(channels_in, width, 3)])
        self.shortcut: nn.Module | None = None
        if stage.shortcut != "none":
            if stage.shortcut == "identity" and channels_in != width:
                raise ModelError(
                    f"model.options.stages.{number}: an identity shortcut cannot join {channels_in} channels to "
                    f"{width}. Take projection."
                )
            project = channels_in != width
            self.shortcut = (
                convolution(channels_in, width, kernel=1, initialize=he_normal) if project else nn.Identity()
            )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """See the class."""
        result = torch.cat([branch(maps) for branch in self.branches], dim=1)
        if self.shortcut is not None:
            result = result + self.shortcut(maps)
        return nn.functional.relu(result)


def _unit(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    layer = convolution(channels_in, channels_out, kernel=kernel, initialize=he_normal)
    return nn.Sequential(layer, norm_of_maps(channels_out), nn.ReLU())


def _branch(channels_in: int, width: int, kernel: int) -> nn.Module:
    if kernel == 0:
        return nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _unit(channels_in, width, 1))
    if kernel == 1:
        return _unit(channels_in, width, 1)
    reduced = max(1, width // 2)
    return nn.Sequential(_unit(channels_in, reduced, 1), _unit(reduced, width, kernel))
