"""Any timm architecture as a backbone. The only module that imports timm's models.

A name joined by "+" puts the features of several side by side. Weights are random here; `weights` loads others.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg
from timm.models._manipulate import group_with_matcher
from torch import nn

from linnaeus.data.image_spec import Channels
from linnaeus.errors import ModelError, nearest_name
from linnaeus.models.backbone_features import FlattenedMaps, MapDropout, SideBySide, StageFeatures
from linnaeus.models.classifier import Classifier
from linnaeus.models.heads import build_head

FORBIDDEN_OPTIONS = ("pretrained", "checkpoint", "cache_dir")
"""How options of `timm.create_model` begin that would read other files or the network."""
_SIZED = ("vision_transformer", "deit", "swin_transformer", "swin_transformer_v2", "beit", "eva", "mlp_mixer")
"""timm modules whose networks are built for one image size."""


@dataclass(frozen=True)
class BackboneSpec:
    """What an architecture was trained to see.

    Attributes:
        mean, std: per channel, of values in 0-1.
        interpolation: "bicubic", "bilinear" or "nearest".
        input_size: side in pixels.
        whole_size: side in pixels of a whole image whose centre, `input_size` wide, was looked at when it was tested.
        fixed_size: it takes no other.
    """

    mean: Channels
    std: Channels
    interpolation: str
    input_size: int
    whole_size: int
    fixed_size: bool


@functools.cache
def timm_names() -> tuple[str, ...]:
    """Every architecture of the installed timm."""
    return tuple(timm.list_models())


def backbone_spec(name: str) -> BackboneSpec:
    """What timm knows of an architecture's training; of joined ones, that of the first, with values left in 0-1
    because each normalizes for itself. Raises ModelError for an unknown name.
    """
    names = name.split("+")
    for each in names:
        _check_name(each)
    config = timm.get_pretrained_cfg(names[0]) or PretrainedCfg()
    alone = len(names) == 1
    tested = config.test_input_size or config.input_size
    shown = config.test_crop_pct or config.crop_pct  # of the whole image's side; the rest was cut off
    return BackboneSpec(
        mean=_channels(config.mean) if alone else (0.0, 0.0, 0.0),
        std=_channels(config.std) if alone else (1.0, 1.0, 1.0),
        interpolation=config.interpolation,
        input_size=config.input_size[-1],
        whole_size=config.input_size[-1] if config.fixed_input_size else round(tested[-1] / shown),
        fixed_size=bool(config.fixed_input_size) and not _is_sized(names[0]),
    )


def _channels(values: tuple[float, ...]) -> Channels:
    red, green, blue = values
    return red, green, blue


def timm_classifier(
    name: str,
    *,
    num_classes: int,
    image_size: int,
    options: dict[str, Any],
    head: Mapping[str, Any],
    features: str,
) -> Classifier:
    """A timm architecture (or several joined by "+") with random weights, its pooled features, and a new head.

    Args:
        options: go to `timm.create_model`; of joined architectures they are named `mobilenetv2_100.pad_type`.
        head: fields of HeadConfig.
        features: "last", "maps" or "stages".

    Raises ModelError for an unknown name (with the nearest), for options the architecture does not take, and for an
    image size it cannot take.
    """
    head = dict(head)
    map_dropout = head.pop("map_dropout", 0.0)
    names = name.split("+")
    parts = []
    for each in names:
        own = options if len(names) == 1 else _options_of(each, options, names)
        parts.append(_backbone(each, image_size, own, features=features, map_dropout=map_dropout))
    backbone = parts[0]
    if len(parts) > 1:
        specs = [backbone_spec(each) for each in names]
        backbone = SideBySide(parts, [(spec.mean, spec.std) for spec in specs])
    num_features = _num_features(backbone, name, image_size)
    new_head = build_head(num_features, num_classes, **head)
    return Classifier(
        backbone,
        new_head,
        name=name,
        options=options,
        head_options={**head, "map_dropout": map_dropout},
        features=features,
    )


def _backbone(name: str, image_size: int, options: dict[str, Any], *, features: str, map_dropout: float) -> nn.Module:
    _check_name(name)
    for key in options:
        if key.startswith(FORBIDDEN_OPTIONS):
            raise ModelError(f"'{key}' would read other files or the network; weights are named with --weights.")
    body = _create(name, image_size, options)
    if features == "last":
        return MapDropout(body, map_dropout) if map_dropout else body
    if map_dropout:
        raise ModelError(
            f"model.head.map_dropout comes before the pooling of the last feature maps: it does not go with "
            f"features={features}."
        )
    if features == "maps":
        return FlattenedMaps(body)
    if not hasattr(body, "forward_intermediates"):
        raise ModelError(f"{name} does not show the features of its stages. Leave out model.features=stages.")
    return StageFeatures(body)


def _check_name(name: str) -> None:
    known = timm_names()
    if name.partition(".")[0] not in known:
        raise ModelError(f"There is no architecture '{name}'.{nearest_name(name, ['speed_cnn', 'mish_cnn', *known])}")
    if "." in name and name not in timm.list_pretrained(f"{name.partition('.')[0]}.*"):
        tags = ", ".join(timm.list_pretrained(f"{name.partition('.')[0]}.*")[:6])
        raise ModelError(f"There are no weights '{name}'. Known: {tags or 'none of this architecture'}.")


def _options_of(name: str, options: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    for key in options:
        if key.rpartition(".")[0] not in names:
            raise ModelError(
                f"'{key}' names none of {', '.join(names)}. Options of joined backbones look like {names[0]}.pad_type."
            )
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in options.items() if key.startswith(prefix)}


def _create(name: str, image_size: int, options: dict[str, Any]) -> nn.Module:
    arguments: dict[str, Any] = {"pretrained": False, "num_classes": 0, **options}
    if _is_sized(name):
        arguments["img_size"] = image_size
    try:
        model: nn.Module = timm.create_model(name, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ModelError(f"{name} cannot be built with {options} at {image_size} px: {error}") from error
    return model


def _is_sized(name: str) -> bool:
    return str(timm.models.model_entrypoint(name).__module__).endswith(_SIZED)


def _num_features(backbone: nn.Module, name: str, image_size: int) -> int:
    was_training = backbone.training
    try:
        with torch.no_grad():
            return int(backbone.eval()(torch.zeros(1, 3, image_size, image_size)).shape[1])
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ModelError(f"{name} cannot take images of {image_size} px: {error}. Try --image-size 224.") from error
    finally:
        backbone.train(was_training)


def count_backbone(name: str) -> tuple[int, int]:
    """(parameters, features) of an architecture without its classification layer; no memory is taken for it."""
    with torch.device("meta"):
        body: Any = timm.create_model(name, num_classes=0)
    return sum(parameter.numel() for parameter in body.parameters()), int(body.num_features)


def shows_stages(name: str) -> bool:
    """Whether an architecture (each of joined ones) gives the feature maps of its stages; no memory is taken for it."""
    for each in name.split("+"):
        _check_name(each)
        with torch.device("meta"):
            if not hasattr(timm.create_model(each, num_classes=0), "forward_intermediates"):
                return False
    return True


def hub_repository(name: str) -> str | None:
    """Where on the hub the weights of an architecture are published; None where they are not."""
    config = timm.get_pretrained_cfg(name)
    return None if config is None else config.hf_hub_id


def adapt_input_channels(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """The first convolution's weight float [O, 3, h, w] for another number of input channels: summed for grey, else
    repeated and scaled, as timm does it.
    """
    adapted: torch.Tensor = timm.models.adapt_input_conv(channels, weight)
    return adapted


def bodies(backbone: nn.Module) -> dict[str, nn.Module]:
    """timm's own networks inside a backbone, by the prefix of their parameters' names."""
    if isinstance(backbone, SideBySide):
        inner = {f"parts.{k}.": bodies(part) for k, part in enumerate(backbone.parts)}
        return {prefix + below: body for prefix, found in inner.items() for below, body in found.items()}
    if isinstance(backbone, MapDropout | FlattenedMaps | StageFeatures):
        return {"body.": backbone.body}
    return {"": backbone}


def depth_groups(backbone: nn.Module, *, coarse: bool) -> list[list[str]]:
    """Names of the parameters in groups from the input to the output: stages with `coarse`, else single layers.

    By timm's own matchers; a network without one is grouped by its top-level modules. Networks side by side are
    matched from their ends, so that "the last stage" is the last of each.
    """
    per_body = []
    for prefix, body in bodies(backbone).items():
        if hasattr(body, "group_matcher"):
            matched = group_with_matcher(body.named_parameters(), body.group_matcher(coarse=coarse))  # type: ignore[operator]
            groups = [matched[key] for key in sorted(matched)]
        else:
            modules: dict[str, list[str]] = {}
            for name, _ in body.named_parameters():
                modules.setdefault(name.partition(".")[0], []).append(name)
            groups = list(modules.values())
        per_body.append([[prefix + name for name in group] for group in groups])
    depth = max(map(len, per_body))
    padded = [[[]] * (depth - len(groups)) + groups for groups in per_body]
    return [[name for groups in padded for name in groups[k]] for k in range(depth)]
