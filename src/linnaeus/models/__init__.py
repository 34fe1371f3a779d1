"""Networks: our own (zoo/), and timm's by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from linnaeus.errors import ModelError, nearest_name
from linnaeus.models.classifier import Classifier, count_parameters
from linnaeus.models.zoo.block_cnn import block_cnn
from linnaeus.models.zoo.feed_forward import feed_forward
from linnaeus.models.zoo.gelu_cnn import gelu_cnn
from linnaeus.models.zoo.mish_cnn import mish_cnn
from linnaeus.models.zoo.relu_cnn import relu_cnn
from linnaeus.models.zoo.speed_cnn import speed_cnn

__all__ = ["MODELS", "Classifier", "build_classifier", "count_parameters"]

MODELS: dict[str, Callable[..., Classifier]] = {
    "block_cnn": block_cnn,
    "feed_forward": feed_forward,
    "gelu_cnn": gelu_cnn,
    "mish_cnn": mish_cnn,
    "relu_cnn": relu_cnn,
    "speed_cnn": speed_cnn,
}


def build_classifier(
    name: str,
    *,
    num_classes: int,
    image_size: int,
    options: dict[str, Any],
    head: Mapping[str, Any] | None = None,
    features: str = "last",
) -> Classifier:
    """Build an architecture with random weights (drawn from torch's global generator).

    Args:
        name: a key of MODELS, or any timm architecture.
        num_classes: K, length of the logits.
        image_size: side in pixels.
        options: arguments of that architecture.
        head: fields of HeadConfig that differ from their defaults; None for the architecture's own, linear head.
        features: "last"; "maps" or "stages" of a timm architecture.

    Raises ModelError for unknown names and options (naming the nearest) and for sizes the network cannot take.
    """
    if name not in MODELS:
        from linnaeus.models.backbones import timm_classifier  # timm takes seconds to import

        return timm_classifier(
            name, num_classes=num_classes, image_size=image_size, options=options, head=head or {}, features=features
        )
    if head or features != "last":
        raise ModelError(f"{name} has a head and features of its own; model.head and model.features are for backbones.")
    build = MODELS[name]
    known = [key for key in inspect.signature(build).parameters if key not in ("num_classes", "image_size")]
    for key in options:
        if key not in known:
            raise ModelError(
                f"{name} has no option '{key}'.{nearest_name(key, known)} Its options: {', '.join(known) or 'none'}."
            )
    return build(num_classes=num_classes, image_size=image_size, **options)
