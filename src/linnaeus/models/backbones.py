"""Any timm architecture as a backbone. The only module that imports timm's models."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

from linnaeus.errors import ModelError, nearest_name
from linnaeus.models.classifier import Classifier

FORBIDDEN_OPTIONS = ("pretrained", "checkpoint", "cache_dir")
"""How options of `timm.create_model` begin that would read other files or the network."""
_HEAD_STD = 0.01


def timm_names() -> list[str]:
    """Every architecture of the installed timm."""
    return list(timm.list_models())


def timm_classifier(name: str, *, num_classes: int, image_size: int, options: dict[str, Any]) -> Classifier:
    """A timm architecture with random weights, its pooled features, and a new linear head.

    `options` go to `timm.create_model`. Raises ModelError for an unknown name (with the nearest), for options the
    architecture does not take, and for an image size it cannot take.
    """
    if name not in timm_names():
        raise ModelError(
            f"There is no architecture '{name}'.{nearest_name(name, ['speed_cnn', 'mish_cnn', *timm_names()])}"
        )
    for key in options:
        if key.startswith(FORBIDDEN_OPTIONS):
            raise ModelError(f"'{key}' would read other files or the network; networks start with random weights here.")
    backbone = _create(name, image_size, options)
    try:
        with torch.no_grad():
            was_training = backbone.training
            num_features = backbone.eval()(torch.zeros(1, 3, image_size, image_size)).shape[1]
            backbone.train(was_training)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ModelError(f"{name} cannot take images of {image_size} px: {error}. Try --image-size 224.") from error
    head = nn.Linear(num_features, num_classes)
    nn.init.normal_(head.weight, std=_HEAD_STD)
    nn.init.zeros_(head.bias)
    return Classifier(backbone, head, name=name, options=options)


def _create(name: str, image_size: int, options: dict[str, Any]) -> nn.Module:
    arguments: dict[str, Any] = {"pretrained": False, "num_classes": 0, **options}
    if timm.models.model_entrypoint(name).__module__.endswith(_SIZED):
        arguments["img_size"] = image_size
    try:
        model: nn.Module = timm.create_model(name, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ModelError(f"{name} cannot be built with {options} at {image_size} px: {error}") from error
    return model


_SIZED = ("vision_transformer", "deit", "swin_transformer", "swin_transformer_v2", "beit", "eva", "mlp_mixer")
"""timm modules whose networks are built for one image size."""
