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
    rest = [module for module in rest if not isinstance(module, nn.Identity)]
    if len(rest) == 1 and type(rest[0]) in _CLAMPS and Clamped.takes(before):
        backbone.set_submodule(convolution, Clamped(before, *_CLAMPS[type(rest[0])]))
        rest = []
    backbone.set_submodule(norm, nn.Sequential(*rest))


_CLAMPS: dict[type[nn.Module], tuple[str, list[float]]] = {nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0])}
"""Activations that oneDNN applies while it writes a convolution's output, by its names for them."""


class Clamped(nn.Module):
    """A convolution on a processor with the activation after it in one kernel, as torch.compile has them."""

    def __init__(self, convolution: nn.Conv2d, name: str, bounds: list[float]) -> None:
        super().__init__()
        self.convolution, self.name, self.bounds = convolution, name, bounds

    @staticmethod
    def takes(convolution: nn.Conv2d) -> bool:
        """Whether there is such a kernel for it; subclasses may do more than convolve."""
        return (
            type(convolution) is nn.Conv2d
            and not isinstance(convolution.padding, str)
            and convolution.padding_mode == "zeros"
            and convolution.weight.device.type == "cpu"
            and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
            and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """float [B, C, H, W] -> [B, D, h, w], in bfloat16 under its autocast."""
        own = self.convolution
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else own.weight.dtype
        assert own.bias is not None and not isinstance(own.padding, str)
        answer: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            maps.to(dtype),
            own.weight.to(dtype),
            own.bias.to(dtype),
            list(own.padding),
            list(own.stride),
            list(own.dilation),
            own.groups,
            self.name,
            self.bounds,
            "",
        )
        return answer
