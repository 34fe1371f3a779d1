"""Which pretrained backbone, and which of its features a head stands on.

Before the size of the images is settled, which depends on it. Networks of our own have neither to choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from linnaeus.config.settings import ModelConfig, PhaseConfig
from linnaeus.errors import ModelError
from linnaeus.models import MODELS
from linnaeus.planning.plan import Plan

WEIGHT_FILES = (".safetensors", ".pth", ".bin")


def is_backbone(config: ModelConfig) -> bool:
    """Whether the network is one of timm's, or to be found from its weights, and not one of our own."""
    if config.name == "auto":
        return config.weights not in ("auto", "none")
    return config.name not in MODELS


def is_head_alone(phases: Sequence[PhaseConfig]) -> bool:
    """Whether no phase trains the backbone."""
    return all(phase.train == "head" for phase in phases)


def plan_backbone(plan: Plan) -> Plan:
    """Settle `model.name` and `model.features` where the network is a backbone; one of our own is left for later.

    Raises ModelError if only weights are given, and no file is named after an architecture.
    """
    if not is_backbone(plan.config.model):
        return plan
    return choose_features(choose_backbone(plan))


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
