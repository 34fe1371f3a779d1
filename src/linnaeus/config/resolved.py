"""ResolvedConfig: a configuration in which nothing is left to choose. Planning makes it, training and judging use it.

The sections are those of `settings`, with a narrower type for each field that may be "auto" there, so that whoever
trains or judges need not ask. Saved as config.yaml, which is itself a recipe. `runtime.device` and `runtime.precision`
follow the machine at every start and may stay "auto"; so may `model.weights` of a network that has none. Knows nothing
of how anything was chosen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from linnaeus.config.pages import read_page
from linnaeus.config.settings import (
    AugmentConfig,
    DataConfig,
    EvaluateConfig,
    FeatureKind,
    Flip,
    ImageConfig,
    ModelConfig,
    PhaseConfig,
    PositiveEpochs,
    RunConfig,
    TTAKind,
    explain_errors,
    parse_config,
)
from linnaeus.errors import ConfigError


def _named(value: str) -> str:
    if value == "auto":
        raise ValueError("the plan has settled no network")
    return value


class ResolvedData(DataConfig):
    """Which images, and how they are divided."""

    out_of_fold: Annotated[int, Field(ge=0)]


class ResolvedImage(ImageConfig):
    """The exact preprocessing."""

    size: int


class ResolvedAugment(AugmentConfig):
    """Random changes to training images."""

    flip: Flip
    pad_crop_px: int


class ResolvedModel(ModelConfig):
    """The network."""

    name: Annotated[str, AfterValidator(_named)]
    features: FeatureKind


class ResolvedPhase(PhaseConfig):
    """One stretch of training with one optimizer."""

    batch_size: int
    epochs: PositiveEpochs


class ResolvedEvaluate(EvaluateConfig):
    """How the finished model answers, and how its scores are stated."""

    tta: TTAKind
    batch_size: Annotated[int, Field(ge=1)]


class ResolvedConfig(RunConfig):
    """One run, whole, and nothing left to choose."""

    data: ResolvedData
    image: ResolvedImage
    augment: ResolvedAugment
    model: ResolvedModel
    phases: tuple[ResolvedPhase, ...] = Field(min_length=1)
    evaluate: ResolvedEvaluate


def resolve(config: RunConfig, *, where: str = "the configuration") -> ResolvedConfig:
    """The same configuration as one with nothing left to choose; raises ConfigError that names a field left open."""
    try:
        return ResolvedConfig.model_validate(config.model_dump())
    except ValidationError as error:
        raise ConfigError(f"In {where}: {explain_errors(error)}") from error


def resolve_image(config: ImageConfig) -> ResolvedImage:
    """The preprocessing alone, which is settled before other sections are."""
    return ResolvedImage.model_validate(config.model_dump())


def read_resolved(path: Path) -> ResolvedConfig:
    """The configuration that a run was trained with, from its config.yaml.

    Raises RecipeError if the file cannot be read, ConfigError if it is no settled configuration.
    """
    return resolve(parse_config(read_page(path), where=str(path)), where=str(path))
