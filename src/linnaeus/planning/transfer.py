"""Plans for pretrained backbones: which one, the size it sees, and what fits the time.

Beside `plan`, which settles everything that does not depend on a backbone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from linnaeus.config.settings import ModelConfig, PhaseConfig, RunConfig
from linnaeus.errors import ModelError
from linnaeus.models import MODELS
from linnaeus.planning.decision import Decision
from linnaeus.planning.fingerprint import Fingerprint

if TYPE_CHECKING:
    from linnaeus.models.backbones import BackboneSpec

WEIGHT_FILES = (".safetensors", ".pth", ".bin")
MIN_PX, STEP_PX = 96, 32
ENLARGED, ENLARGED_ONCE = 4, 7
"""Small images are enlarged so many times at most, where each is seen in every epoch or only once."""
SHOWN, LEAST, MOST = 30_000, 3, 15


def is_backbone(config: ModelConfig) -> bool:
    """Whether the network is one of timm's, or to be found from its weights, and not one of our own."""
    if config.name == "auto":
        return config.weights not in ("auto", "none")
    return config.name not in MODELS


def is_head_alone(phases: Sequence[PhaseConfig]) -> bool:
    """Whether no phase trains the backbone."""
    return all(phase.train == "head" for phase in phases)


def choose_backbone(config: ModelConfig) -> tuple[ModelConfig, list[Decision]]:
    """Settle the name, where only weights are given: the architecture that the file, or a file of the folder, is named
    after. Raises ModelError if no file is named after an architecture.
    """
    if config.name != "auto":
        return config, [Decision("network", config.name, "as asked")]
    from linnaeus.models.backbones import timm_names  # takes seconds: timm

    path = Path(config.weights).expanduser()
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
    return config.model_copy(update={"name": name}), [Decision("network", name, why)]


def choose_features(config: ModelConfig, phases: Sequence[PhaseConfig]) -> tuple[ModelConfig, list[Decision]]:
    """Settle which features of a backbone, its name being settled, the head stands on."""
    if config.features != "auto":
        return config, [Decision("features", config.features, "as asked")]
    from linnaeus.models.backbones import shows_stages  # takes seconds: timm

    if not is_head_alone(phases):
        features, why = "last", "all layers are trained after the head"
    elif config.head.map_dropout or not shows_stages(config.name):
        features, why = "last", "those of all stages need a backbone that shows them, without dropout on its maps"
    else:
        features, why = "stages", "a head alone is two points better on those of all stages: docs/transfer.md"
    return config.model_copy(update={"features": features}), [Decision("features", features, why)]


def plan_backbone_image(config: RunConfig, fingerprint: Fingerprint) -> tuple[RunConfig, list[Decision]]:
    """Settle `image.size`: what the backbone was trained with, or less for images that are much smaller.

    For a head alone, what a whole image measures of which the backbone was tested on the centre: nothing is cut off
    here, and frozen layers know things at the size at which they saw them (Touvron et al., arXiv 1906.06423).
    """
    from linnaeus.models.backbones import backbone_spec  # takes seconds: timm

    spec = backbone_spec(config.model.name)
    if config.image.size != "auto":
        return config, [Decision("image size", f"{config.image.size} px", "as asked")]
    longest, head_alone = max(fingerprint.width, fingerprint.height), is_head_alone(config.phases)
    size, why = _size_for(spec, longest, head_alone=head_alone)
    image = config.image.model_copy(update={"size": size})
    return config.model_copy(update={"image": image}), [Decision("image size", f"{size} px, {image.resize}", why)]


def _size_for(spec: BackboneSpec, longest_px: int, *, head_alone: bool) -> tuple[int, str]:
    if spec.fixed_size:
        return spec.input_size, "the only size that the backbone takes"
    known, why = spec.input_size, "the size that the backbone was trained at"
    if head_alone and spec.whole_size > known:
        known = round(spec.whole_size / STEP_PX) * STEP_PX
        why = f"images whose central {spec.input_size} px a backbone was tested on are {spec.whole_size} px wide"
    times = ENLARGED_ONCE if head_alone else ENLARGED
    enlarged = max(MIN_PX, math.ceil(times * longest_px / STEP_PX) * STEP_PX)
    if enlarged < known:
        return enlarged, f"{times} times the images' {longest_px} px; the backbone knows {known} px"
    return known, why


def finetuning_epochs(num_train: int) -> int:
    """Few images are shown more often: between 3 and 15 epochs."""
    return max(LEAST, min(MOST, round(SHOWN / num_train)))


def phases_within(
    phases: list[PhaseConfig],
    *,
    seconds: float,
    costs: list[tuple[float, float]],
    images_per_second: float,
) -> tuple[list[PhaseConfig], Decision]:
    """Cut phases to a time limit at a measured speed, leaving a twentieth for saving and surprises.

    Args:
        phases: settled.
        seconds: allowed for all of them.
        costs: of each phase (fixed, per epoch), in images whose training takes as long; phases without a cost per
            epoch are never cut.
        images_per_second: of training on images.

    What the fixed costs leave is divided in proportion; a phase of which less than half an epoch is left after a head
    was trained is dropped.
    """
    seen = 0.95 * seconds * images_per_second - sum(fixed for fixed, _ in costs)
    wanted = sum(per_epoch * _epochs(phase) for phase, (_, per_epoch) in zip(phases, costs, strict=True))
    share = 1.0 if not wanted else max(0.0, min(1.0, seen / wanted))
    why = f"{images_per_second:,.0f} images/s measured, {seconds:.0f} s allowed"
    if share == 1.0:
        return phases, Decision("epochs", ", ".join(f"{_epochs(p):g}" for p in phases), f"{why}: all of them fit")
    kept: list[PhaseConfig] = []
    for phase, (_, per_epoch) in zip(phases, costs, strict=True):
        epochs = math.floor(100 * share * _epochs(phase)) / 100
        if not per_epoch:
            kept.append(phase)
        elif epochs >= 0.5 or not kept:
            kept.append(phase.model_copy(update={"epochs": max(0.01, epochs)}))
    words = ", ".join(f"{phase.name} {_epochs(phase):g}" for phase in kept)
    before = ", ".join(f"{phase.name} {_epochs(phase):g}" for phase in phases)
    return kept, Decision("epochs", words, f"{why}; without a limit {before}")


def _epochs(phase: PhaseConfig) -> float:
    assert phase.epochs != "auto"
    return phase.epochs
