"""Where a network looks: a heat map over an image, for one class.

Convolutional networks: Grad-CAM (Selvaraju et al., arXiv 1610.02391, equations 1 and 2), by captum. Transformers that
attend from every token to every token: attention rollout (Abnar and Zuidema, arXiv 2005.00928, equation 1), which is
the same for every class. Those with windows, and others without maps of channels: the gradient times the activation of
the last tokens (HiResCAM, arXiv 2011.08891, equation 2). Takes a classifier and images, or a bundle and a picture;
knows nothing of runs or pages.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam, LayerGradientXActivation
from torch import nn

from linnaeus.bundle import Bundle
from linnaeus.errors import ModelError
from linnaeus.models import MODELS, Classifier
from linnaeus.predictions import view_logits

Method = Literal["grad_cam", "attention_rollout", "gradient_x_activation"]
METHOD_WORDS: dict[Method, str] = {
    "grad_cam": "Grad-CAM",
    "attention_rollout": "attention rollout, the same for every class",
    "gradient_x_activation": "gradient times activation",
}
LEAST_MAP_PX = 5
"""Maps with fewer cells on a side are too coarse to point at anything; then an earlier, finer layer is taken."""
_LEAST_FRACTION = 4
"""... unless the image is so small that a layer with a quarter of its pixels is asked for instead."""
_STRONGEST_TINT, _DIMMED = 0.75, 0.7

Pixels = npt.NDArray[np.uint8]
Heat = npt.NDArray[np.float32]


@dataclass(frozen=True)
class HeatMaps:
    """One map per image.

    Attributes:
        maps: float32 [B, H, W], 0-1; each reaches 1, or is 0 everywhere where nothing speaks for its class.
        method: how they were made.
    """

    maps: Heat
    method: Method


@dataclass(frozen=True)
class Explanation:
    """What a model sees in one picture.

    Attributes:
        fitted: uint8 [H, W, 3], the picture as the network gets it.
        heat: float32 [H, W], 0-1.
        label: the class that the heat speaks for.
        probability: of that class, 0-1.
        method: how the heat was found.
    """

    fitted: Pixels
    heat: Heat
    label: str
    probability: float
    method: Method


@dataclass(frozen=True)
class _Maps:
    """A layer whose output is laid out in space. `layout`: where its channels are."""

    layer: nn.Module
    layout: Literal["channels_first", "channels_last", "tokens"]
    num_prefix: int = 0


def heat_maps(classifier: Classifier, images: torch.Tensor, *, targets: npt.NDArray[np.int64]) -> HeatMaps:
    """Heat for one class of each image.

    Args:
        classifier: its training flag is put back afterwards.
        images: float32 [B, 3, H, W], normalized, square, on the classifier's device.
        targets: int64 [B], positions of classes.

    Networks side by side are each asked, and their maps averaged.
    Raises ModelError for a network without anything laid out in space.
    """
    was_training = classifier.training
    classifier.eval()
    try:
        found = [_body_maps(classifier, body, images, targets) for body in _bodies(classifier)]
    finally:
        classifier.train(was_training)
    maps = torch.stack([_scaled(maps) for maps, _ in found]).mean(dim=0)
    return HeatMaps(_scaled(maps).cpu().numpy().astype(np.float32), found[-1][1])


def explain_image(bundle: Bundle, image: Pixels, *, label: str | None = None) -> Explanation:
    """Heat for one class of a picture, uint8 RGB [h, w, 3] of any size. None: for the most probable class or, where
    images have several labels, for the most probable that the model gives.

    Raises ModelError for a class that the model does not know, and where `heat_maps` does.
    """
    found = explain_labels(bundle, image, labels=None if label is None else [label])
    return max(found, key=lambda explanation: explanation.probability)


def explain_labels(bundle: Bundle, image: Pixels, *, labels: list[str] | None = None) -> list[Explanation]:
    """One explanation for each of `labels`. None: for the most probable class or, where images have several labels, for
    each that the model gives (the most probable, if it gives none).
    """
    for name in labels or ():
        if name not in bundle.classes:
            raise ModelError(f"The model does not know a class '{name}'. Its classes: {', '.join(bundle.classes)}.")
    device = next(bundle.classifier.parameters()).device
    fitted = bundle.image_spec.fit(image)
    pixels = torch.from_numpy(fitted.copy()).permute(2, 0, 1).unsqueeze(0).to(device)
    inputs = bundle.image_spec.normalize(pixels).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        logits = view_logits(bundle.classifier.eval(), inputs, tta=bundle.tta)[0].cpu().double()
    logits /= torch.tensor(bundle.temperature, dtype=torch.float64)
    several = bundle.thresholds is not None
    probabilities = (logits.sigmoid() if several else logits.softmax(dim=0)).numpy()
    best = int(probabilities.argmax())
    given = [k for k, p in enumerate(probabilities) if several and p >= (bundle.thresholds or ())[k]]
    chosen = [bundle.classes.index(name) for name in labels] if labels is not None else (given or [best])
    found = heat_maps(bundle.classifier, inputs.repeat(len(chosen), 1, 1, 1), targets=np.array(chosen, np.int64))
    return [
        Explanation(fitted, heat, bundle.classes[k], float(probabilities[k]), found.method)
        for k, heat in zip(chosen, found.maps, strict=True)
    ]


def overlay(image: Pixels, heat: Heat) -> Pixels:
    """A picture uint8 [H, W, 3] under its heat [H, W], 0-1: cold parts are dimmed, hot ones tinted yellow."""
    from matplotlib import colormaps  # takes part of a second

    tint = np.asarray(colormaps["inferno"](0.3 + 0.65 * heat))[..., :3]
    fraction = (_STRONGEST_TINT * heat)[..., None]
    grey = image.mean(axis=2, keepdims=True) / 255
    base = _DIMMED * (0.5 * grey + 0.5 * image / 255)
    return np.asarray(np.round(255 * ((1 - fraction) * base + fraction * tint)), np.uint8)


def place_of(heat: Heat) -> str:
    """Where most of the heat lies, in words, such as `upper left`; `nowhere` for a map of zeros."""
    total = float(heat.sum())
    if not total:
        return "nowhere"
    height, width = heat.shape
    down = float((heat.sum(axis=1) * (np.arange(height) + 0.5)).sum()) / total / height
    across = float((heat.sum(axis=0) * (np.arange(width) + 0.5)).sum()) / total / width
    rows = "upper" if down < 0.4 else "lower" if down > 0.6 else ""
    columns = "left" if across < 0.4 else "right" if across > 0.6 else ""
    return f"{rows} {columns}".strip() or "middle"


def rollout(attentions: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """How much of each token reaches each other one through all layers.

    Args:
        attentions: float64 [N, N] of each layer from the first, averaged over heads; rows sum to 1.

    Returns float64 [N, N], rows sum to 1: the product of 0.5 A + 0.5 I over the layers, the last one leftmost (arXiv
    2005.00928, equation 1; the identity stands for the residual connection).
    """
    tokens = attentions[0].shape[0]
    through = np.eye(tokens)
    for attention in attentions:
        through = (0.5 * attention + 0.5 * np.eye(tokens)) @ through
    return through


def _bodies(classifier: Classifier) -> list[nn.Module]:
    if classifier.name in MODELS:
        return [classifier.backbone]
    from linnaeus.models.backbones import bodies  # timm takes seconds to import

    return list(bodies(classifier.backbone).values())


def _body_maps(
    classifier: Classifier, body: nn.Module, images: torch.Tensor, targets: npt.NDArray[np.int64]
) -> tuple[torch.Tensor, Method]:
    """Maps [B, H, W] of one network, not yet scaled."""
    attentions = _attentions(classifier, body, images)
    if attentions is not None:
        return _rolled_out(attentions, body, images), "attention_rollout"
    maps = _last_maps(classifier, body, images[:1])
    positions = torch.from_numpy(targets).to(images.device)
    inputs = images.detach().clone().float()
    if maps.layout == "channels_first":
        cam: Any = LayerGradCam(classifier, maps.layer).attribute(inputs, positions, relu_attributions=True)
        return _enlarged(cam[:, 0].detach(), images), "grad_cam"
    product: Any = LayerGradientXActivation(classifier, maps.layer).attribute(inputs, positions)
    heat = product.detach().sum(dim=-1).relu()
    if maps.layout == "tokens":
        side = math.isqrt(heat.shape[1] - maps.num_prefix)
        heat = heat[:, maps.num_prefix :].reshape(-1, side, side)
    return _enlarged(heat, images), "gradient_x_activation"


def _last_maps(classifier: Classifier, body: nn.Module, image: torch.Tensor) -> _Maps:
    """The last layer of `body`, in the order of computation, whose output lies in space and is fine enough."""
    side = image.shape[-1]
    least = max(1, min(LEAST_MAP_PX, side // _LEAST_FRACTION))
    num_prefix = int(getattr(body, "num_prefix_tokens", 0))
    seen: list[_Maps] = []

    def look(module: nn.Module, _: Any, output: Any) -> None:
        layout = _layout(output, side, least, num_prefix)
        if layout is not None:
            seen.append(_Maps(module, layout, num_prefix))

    # Attention's own weights [B, heads, N, N] are square too.
    modules = [module for name, module in body.named_modules() if "attn" not in name]
    with _hooks(modules, look), torch.no_grad():
        classifier(image)
    if not seen:
        raise ModelError(f"{classifier.name} keeps nothing laid out in space, so there is no heat map of what it sees.")
    return seen[-1]


def _layout(
    output: Any, side: int, least: int, num_prefix: int
) -> Literal["channels_first", "channels_last", "tokens"] | None:
    if not isinstance(output, torch.Tensor) or len(output) != 1:
        return None
    shape = output.shape
    if output.ndim == 4 and shape[2] == shape[3] and least <= shape[2] <= side:
        return "channels_first"
    if output.ndim == 4 and shape[1] == shape[2] and least <= shape[1] <= side:
        return "channels_last"
    if output.ndim == 3:
        cells = math.isqrt(max(shape[1] - num_prefix, 0))
        if cells >= least and cells**2 == shape[1] - num_prefix:
            return "tokens"
    return None


def _attentions(classifier: Classifier, body: nn.Module, images: torch.Tensor) -> list[torch.Tensor] | None:
    """Attention [B, N, N] of every layer, averaged over heads; None if there is none, or not from all tokens to all."""
    layers: list[Any] = [m for m in body.modules() if hasattr(m, "fused_attn") and hasattr(m, "attn_drop")]
    if not layers:
        return None
    weights: list[torch.Tensor] = []

    def look(_: nn.Module, inputs: Any, __: Any) -> None:
        weights.append(inputs[0].detach().float().mean(dim=1) if inputs[0].ndim == 4 else inputs[0].detach())

    fused = [layer.fused_attn for layer in layers]
    try:
        for layer in layers:  # the fused kernel never shows its weights
            layer.fused_attn = False
        with _hooks([layer.attn_drop for layer in layers], look), torch.no_grad():
            classifier(images)
    finally:
        for layer, was_fused in zip(layers, fused, strict=True):
            layer.fused_attn = was_fused
    tokens = weights[0].shape[-1] if weights else 0
    cells = tokens - int(getattr(body, "num_prefix_tokens", 0))
    whole = len(weights) == len(layers) and all(w.shape == (len(images), tokens, tokens) for w in weights)
    return weights if whole and cells > 0 and math.isqrt(cells) ** 2 == cells else None


def _rolled_out(attentions: list[torch.Tensor], body: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What reaches the class token or, without one, the patches on average; [B, H, W]."""
    num_prefix = int(getattr(body, "num_prefix_tokens", 0))
    pooled = getattr(body, "global_pool", "token")
    layers = [attention.cpu().double().numpy() for attention in attentions]
    through = np.stack([rollout([layer[k] for layer in layers]) for k in range(len(images))])
    from_class = num_prefix > 0 and pooled == "token"
    reached = through[:, 0, num_prefix:] if from_class else through[:, num_prefix:, num_prefix:].mean(axis=1)
    side = math.isqrt(reached.shape[1])
    grid = reached.reshape(len(images), side, side)
    grid = grid - grid.min(axis=(1, 2), keepdims=True)  # every patch gets something; only the differences tell
    return _enlarged(torch.from_numpy(grid).float().to(images.device), images)


def _enlarged(maps: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return F.interpolate(maps.float().unsqueeze(1), size=images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def _scaled(maps: torch.Tensor) -> torch.Tensor:
    """Each of [B, H, W] over its own largest value; zeros stay."""
    largest = maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(largest > 0, maps / largest.clamp_min(torch.finfo(maps.dtype).tiny), torch.zeros_like(maps))


@contextmanager
def _hooks(modules: list[nn.Module], look: Any) -> Iterator[None]:
    handles = [module.register_forward_hook(look) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
