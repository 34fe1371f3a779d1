"""What bundle.json says: everything of a bundle but its weights, checked by pydantic when it is read.

Knows nothing of the other files of the folder, and builds no network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, PositiveFloat, ValidationError

from linnaeus.bundle import TTA, Bundle
from linnaeus.config.settings import Option
from linnaeus.data.image_spec import ImageSpec
from linnaeus.errors import BundleError
from linnaeus.metrics.conformal import LabelSetRule, SetRule
from linnaeus.metrics.operating_point import OperatingPoint
from linnaeus.models import Classifier, count_parameters
from linnaeus.version import __version__

FORMAT = 3
"""Of bundle.json; raised when a field gets another name or meaning."""
COPY_AGAIN = "Copy the model folder again from where it came from."


class _ModelFacts(BaseModel):
    name: str
    options: dict[str, Option]
    head: dict[str, Option] = {}
    features: Literal["last", "maps", "stages"] = "last"


class MemberFacts(BaseModel):
    """What it holds of one member of an ensemble."""

    model: _ModelFacts
    classes: tuple[str, ...]
    image_spec: ImageSpec
    tta: TTA
    temperature: PositiveFloat | tuple[PositiveFloat, ...]
    weight: PositiveFloat


class _OodFacts(BaseModel):
    threshold: float
    in_distribution_fraction: float


class Facts(BaseModel):
    """What bundle.json holds: everything but the weights."""

    format: int = FORMAT
    linnaeus: str = __version__
    model: _ModelFacts
    num_parameters: int
    classes: tuple[str, ...]
    image_spec: ImageSpec
    tta: TTA
    temperature: PositiveFloat | tuple[PositiveFloat, ...]
    thresholds: tuple[float, ...] | None
    operating_point: OperatingPoint | None = None
    sets: SetRule | LabelSetRule | None = None
    ood: _OodFacts | None = None
    provenance: dict[str, Any]
    members: tuple[MemberFacts, ...] | None = None


class _FormatOnly(BaseModel):
    format: int
    linnaeus: str


def describe_bundle(bundle: Bundle) -> dict[str, Any]:
    """What bundle.json says of it, as JSON values."""
    classifier = bundle.classifier
    facts: dict[str, Any] = Facts(
        model=_model_facts(classifier),
        num_parameters=count_parameters(classifier)[0],
        classes=bundle.classes,
        image_spec=bundle.image_spec,
        tta=bundle.tta,
        temperature=bundle.temperature,
        thresholds=bundle.thresholds,
        operating_point=bundle.operating_point,
        sets=bundle.sets,
        ood=None
        if bundle.ood is None
        else _OodFacts(threshold=bundle.ood.threshold, in_distribution_fraction=bundle.ood.in_distribution_fraction),
        provenance=dict(bundle.provenance),
        members=tuple(_member_facts(member) for member in bundle.members) or None,
    ).model_dump(mode="json", exclude_none=False)
    if not bundle.members:
        del facts["members"]
    return facts


def _model_facts(classifier: Classifier) -> _ModelFacts:
    return _ModelFacts(
        name=classifier.name,
        options=classifier.options,
        head=classifier.head_options,
        features=classifier.feature_kind,
    )


def _member_facts(member: Bundle) -> MemberFacts:
    return MemberFacts(
        model=_model_facts(member.classifier),
        classes=member.classes,
        image_spec=member.image_spec,
        tta=member.tta,
        temperature=member.temperature,
        weight=member.weight,
    )


def read_facts(path: Path) -> Facts:
    """Those in the file `path`. Raises BundleError if they describe no model, or are of another format."""
    text = path.read_bytes()
    try:
        header = _FormatOnly.model_validate_json(text)
        if header.format > FORMAT:
            raise BundleError(
                f"{path} is of format {header.format}, written by Linnaeus {header.linnaeus}; Linnaeus {__version__} "
                f"reads format {FORMAT}. Update it: pip install --upgrade linnaeus"
            )
        if header.format < FORMAT:
            raise BundleError(
                f"{path} is of format {header.format}, from before the first release; Linnaeus {__version__} reads "
                f"format {FORMAT}. Train the model again: linnaeus train DATA"
            )
        return Facts.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path} does not describe a model: {where}: {first['msg']}. {COPY_AGAIN}") from error
