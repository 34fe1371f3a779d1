"""A network that only answers: batch norms become part of the convolutions before them.

In evaluation mode a batch norm multiplies each channel and adds to it, as the convolution could have done at once
(Jacob et al., arXiv 1712.05877, section 3.2). What is left out is a pass over every feature map. Beside the classifier,
for whoever computes features or predictions of many images; training never sees such a copy. Knows nothing of
particular architectures: it watches an image go through, and believes the result only where it gives the same features.
"""

from __future__ import annotations

import copy
from collections import Counter
from functools import partial

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from linnaeus.models.classifier import Classifier

TOLERANCE = 1e-2
"""Largest difference of any feature, in units of their root mean square. In float32 a thousandth of that is seen, with
TF32 a tenth; a convolution whose output something else uses too is beyond it by far."""


@torch.no_grad()
def folded(classifier: Classifier, *, height: int, width: int) -> Classifier:
    """A copy in evaluation mode, on the same device, whose features are the same up to rounding; `classifier` itself
    where it has no batch norm to fold, or does something with its convolutions that this cannot see.

    Args:
        classifier: in evaluation mode.
        height, width: of an image that it takes, in pixels.
    """
    device = next(classifier.parameters()).device
    images = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.autocast(device.type, enabled=False):
        found, wanted = _pairs(classifier.backbone, images)
        if not found:
            return classifier
        short = copy.deepcopy(classifier).requires_grad_(False)
        for convolution, norm in found:
            _fold(short.backbone, convolution, norm)
        difference = (short.features(images) - wanted).abs().max()
    same = bool(difference <= TOLERANCE * wanted.square().mean().sqrt())
    return short if same else classifier


def _pairs(backbone: nn.Module, images: torch.Tensor) -> tuple[list[tuple[str, str]], torch.Tensor]:
    """Names of every convolution whose output goes to a batch norm, with that norm, and the features of the images.

    Both must be used once only: what is folded for one use would be wrong for the next.
    """
    outputs: dict[int, tuple[str, torch.Tensor]] = {}  # the tensors too, so that no other gets the same identity
    pairs: list[tuple[str, str]] = []
    uses: Counter[str] = Counter()

    def watch(module: nn.Module, seen: tuple[torch.Tensor, ...], output: torch.Tensor, *, name: str) -> None:
        uses[name] += 1
        if isinstance(module, nn.Conv2d):
            outputs[id(output)] = (name, output)
        elif id(seen[0]) in outputs:
            pairs.append((outputs[id(seen[0])][0], name))

    handles = [
        module.register_forward_hook(partial(watch, name=name))
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    try:
        features: torch.Tensor = backbone(images)
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in pairs if all(uses[name] == 1 for name in pair)], features


def _fold(backbone: nn.Module, convolution: str, norm: str) -> None:
    before, after = backbone.get_submodule(convolution), backbone.get_submodule(norm)
    assert isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d)
    if after.running_mean is None or after.running_var is None:
        return  # it normalizes by each batch, even now
    before.weight, before.bias = fuse_conv_bn_weights(
        before.weight, before.bias, after.running_mean, after.running_var, after.eps, after.weight, after.bias
    )
    # timm's batch norms hold the activation that follows, and some dropout before it.
    rest = [module for name in ("drop", "act") if isinstance(module := getattr(after, name, None), nn.Module)]
    backbone.set_submodule(norm, nn.Sequential(*rest))
