"""What a run has settled before it trains, besides its configuration: `settled.json`.

`begin` writes it, and all that comes after reads it, in whatever process. Knows nothing of how anything was settled.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from linnaeus import atomic
from linnaeus.data.image_spec import ImageSpec
from linnaeus.errors import RunError
from linnaeus.planning.plan import Decision


class Preparation(BaseModel):
    """What was settled before training."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    image_spec: ImageSpec
    """The preprocessing, with mean and deviation."""
    cache: str
    """Key of the decoded images; another one means that the images have changed."""
    decisions: tuple[Decision, ...]
    """The plan."""
    leaked_test_ids: tuple[str, ...]
    """Test images that have a copy among those of training or validation."""
    weights_sha256: str | None
    """Of the file of pretrained weights, where there is one."""
    weights_origins: tuple[str, ...] = ()
    """Where packaged weights come from and their licence, a sentence for each backbone that has them."""
    seconds: float
    """How long all this took."""


def read_preparation(path: Path) -> Preparation:
    """Read a settled.json; raises RunError if it is damaged or missing."""
    try:
        return Preparation.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RunError(f"{path} cannot be read, so the run cannot be used. Start it again with --force.") from error


def write_preparation(path: Path, preparation: Preparation) -> None:
    """Write a settled.json, whole or not at all."""
    atomic.write_json(path, preparation.model_dump(mode="json"))
