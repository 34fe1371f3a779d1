"""The Bundle: the thing you ship. A classifier with everything needed to use it, as a folder that runs no code.

    model.safetensors     the weights, float32
    bundle.json           architecture, classes, preprocessing, calibration, where it comes from
    README.md             the model card, for people
    familiar.safetensors  features of some training images, to tell what is unlike them; not in every bundle
    SHA256SUMS            of all of these; `sha256sum -c SHA256SUMS` checks it too

Near the end of the life of an image: ... report -> BUNDLE -> predict. Every byte is covered by a checksum, so a damaged
copy is noticed and named instead of giving slightly wrong answers. Knows nothing of data or training.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, PositiveFloat, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from linnaeus.config import Option
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.manifest import Task
from linnaeus.errors import BundleError, DeviceError, ModelError, OutputError
from linnaeus.metrics.conformal import SetRule
from linnaeus.metrics.familiarity import Familiarity
from linnaeus.metrics.operating_point import OperatingPoint
from linnaeus.model_card import model_card
from linnaeus.models import Classifier, build_classifier, count_parameters
from linnaeus.models.ensemble import EnsembleClassifier
from linnaeus.rundir import RunDir, write_json, write_text
from linnaeus.version import __version__

FORMAT = 2
_PLAIN_FORMAT = 1
"""Of a single classifier that answers with its likeliest class and has one temperature; only an ensemble, an operating
point, or a temperature per label needs a reader of format 2."""
WEIGHTS, FACTS, CARD, SUMS = "model.safetensors", "bundle.json", "README.md", "SHA256SUMS"
FAMILIAR = "familiar.safetensors"
_COVERED = (WEIGHTS, FACTS, CARD)
_SUM_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._-]*)")
_AGAIN = "Copy the model folder again from where it came from."
_FORBIDDEN_OPTIONS = ("pretrained", "checkpoint", "cache_dir")
"""How options of an architecture begin that would read other files or the network. No bundle needs them."""

Views = Literal["one", "mirror", "mirror_shift"]


@dataclass(frozen=True)
class Bundle:
    """A trained classifier, ready to use.

    Attributes:
        classifier: in evaluation mode after loading.
        image_spec: how an image becomes its input.
        classes: K names, in the order of the logits.
        views: the views of each image whose logits are averaged (`linnaeus.predictions.view_logits`).
        temperature: logits are divided by it before the softmax, or before the sigmoids of several labels; then it is
            one number, or one per label.
        operating_point: how probabilities become one answer; None for the likeliest class, and for several labels.
        thresholds: K probabilities from which a label is given, for several labels per image; None for one label.
        sets: which classes stand in an image's prediction set; None where images have several labels.
        familiarity: which images look unlike those of training.
        provenance: JSON values that say where it comes from; see `linnaeus.model_card` for those the card shows.
        members: of an ensemble, the models that answer together, each with its own preprocessing, views and order of
            classes; `classifier` is then theirs together. Made by `ensemble_bundle`.
        weight: of this model in an ensemble that it is a member of.
    """

    classifier: Classifier
    image_spec: ImageSpec
    classes: tuple[str, ...]
    views: Views
    temperature: float | tuple[float, ...] = 1.0
    thresholds: tuple[float, ...] | None = None
    operating_point: OperatingPoint | None = None
    sets: SetRule | None = None
    familiarity: Familiarity | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    members: tuple[Bundle, ...] = ()
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.image_spec.height != self.image_spec.width:
            raise ValueError("networks are built for square images")
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise ValueError("class names must be there and differ")
        if self.thresholds is not None and len(self.thresholds) != len(self.classes):
            raise ValueError("there must be one threshold per class")
        if self.thresholds is not None and not all(0 <= threshold <= 1 for threshold in self.thresholds):
            raise ValueError("thresholds must be probabilities")
        if isinstance(self.temperature, tuple) and len(self.temperature) != len(self.classes):
            raise ValueError("there must be one temperature, or one per class")
        if self.operating_point is not None and self.operating_point.num_classes != len(self.classes):
            raise ValueError("the operating point must be of these classes")

    @property
    def task(self) -> Task:
        """ "multi" where an image may have several labels, each from its threshold on; else "single"."""
        return "single" if self.thresholds is None else "multi"


class _ModelFacts(BaseModel):
    name: str
    options: dict[str, Option]
    head: dict[str, Option] = {}
    features: Literal["last", "maps", "stages"] = "last"


class _MemberFacts(BaseModel):
    model: _ModelFacts
    classes: tuple[str, ...]
    image_spec: ImageSpec
    views: Views
    temperature: PositiveFloat | tuple[PositiveFloat, ...]
    weight: PositiveFloat


class _FamiliarityFacts(BaseModel):
    threshold: float
    share: float


class _Facts(BaseModel):
    """What bundle.json holds: everything but the weights."""

    format: int = _PLAIN_FORMAT
    linnaeus: str = __version__
    model: _ModelFacts
    num_parameters: int
    classes: tuple[str, ...]
    image_spec: ImageSpec
    views: Views
    temperature: PositiveFloat | tuple[PositiveFloat, ...]
    thresholds: tuple[float, ...] | None
    operating_point: OperatingPoint | None = None
    sets: SetRule | None = None
    familiarity: _FamiliarityFacts | None = None
    provenance: dict[str, Any]
    members: tuple[_MemberFacts, ...] | None = None


class _FormatOnly(BaseModel):
    format: int
    linnaeus: str


def bundle_folder(path: Path) -> Path:
    """The bundle that a person means: `path` itself, or its `model/` if it is a run.

    Raises BundleError if there is neither.
    """
    for folder in (path, RunDir(path).model):
        if (folder / FACTS).exists() or (folder / SUMS).exists():
            return folder
    if not path.exists():
        raise BundleError(f"There is no folder {path}. Give a run folder or the model folder in it.")
    if RunDir(path).config.is_file():
        raise BundleError(f"The run {path} has no model yet. Finish it with: linnaeus resume {path}")
    raise BundleError(f"There is no model in {path} (no {FACTS} there). Give a run folder or the model folder in it.")


def save_bundle(bundle: Bundle, path: Path) -> None:
    """Write the folder `path`, whole or not at all; a bundle that is there already is replaced.

    Raises BundleError if `path` holds something that is not a bundle, OutputError if it cannot be written.
    """
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / FACTS).is_file()):
        raise BundleError(f"{path} is there already and is no model folder, so it is left alone. Name another one.")
    temporary, old = (path.with_name(f".{path.name}.{word}") for word in ("part", "old"))
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # of a save that was killed
        temporary.mkdir(parents=True)
        _write_files(bundle, temporary)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        temporary.rename(path)
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error)
        reason = "the disk is full" if full else getattr(error, "strerror", None) or error
        raise OutputError(f"The model cannot be written to {path}: {reason}.") from error
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _is_plain(bundle: Bundle) -> bool:
    return not bundle.members and bundle.operating_point is None and not isinstance(bundle.temperature, tuple)


def _write_files(bundle: Bundle, folder: Path) -> None:
    classifier = bundle.classifier
    weights = {
        name: (tensor.float() if tensor.is_floating_point() else tensor)
        .detach()
        .cpu()
        .clone(memory_format=torch.contiguous_format)
        for name, tensor in classifier.state_dict().items()
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    with (folder / WEIGHTS).open("rb") as file:
        os.fsync(file.fileno())
    facts = _Facts(
        format=_PLAIN_FORMAT if _is_plain(bundle) else FORMAT,
        model=_model_facts(classifier),
        num_parameters=count_parameters(classifier)[0],
        classes=bundle.classes,
        image_spec=bundle.image_spec,
        views=bundle.views,
        temperature=bundle.temperature,
        thresholds=bundle.thresholds,
        operating_point=bundle.operating_point,
        sets=bundle.sets,
        familiarity=None
        if bundle.familiarity is None
        else _FamiliarityFacts(threshold=bundle.familiarity.threshold, share=bundle.familiarity.share),
        provenance=dict(bundle.provenance),
        members=tuple(_member_facts(member) for member in bundle.members) or None,
    ).model_dump(mode="json", exclude_none=False)
    if not bundle.members:
        del facts["members"]
    write_json(folder / FACTS, facts)
    write_text(folder / CARD, model_card(facts))
    covered: tuple[str, ...] = _COVERED
    if bundle.familiarity is not None:
        known = {"bank": bundle.familiarity.bank, "centre": bundle.familiarity.centre}
        save_file({name: torch.from_numpy(values) for name, values in known.items()}, folder / FAMILIAR)
        with (folder / FAMILIAR).open("rb") as file:
            os.fsync(file.fileno())
        shutil.copymode(folder / FACTS, folder / FAMILIAR)
        covered = (*_COVERED, FAMILIAR)
    write_text(folder / SUMS, "".join(f"{_sha256(folder / name)}  {name}\n" for name in covered))
    shutil.copymode(folder / FACTS, folder / WEIGHTS)  # safetensors lets only the owner read


def _model_facts(classifier: Classifier) -> _ModelFacts:
    return _ModelFacts(
        name=classifier.name,
        options=classifier.options,
        head=classifier.head_options,
        features=classifier.feature_kind,
    )


def _member_facts(member: Bundle) -> _MemberFacts:
    return _MemberFacts(
        model=_model_facts(member.classifier),
        classes=member.classes,
        image_spec=member.image_spec,
        views=member.views,
        temperature=member.temperature,
        weight=member.weight,
    )


def ensemble_bundle(
    members: Sequence[Bundle],
    *,
    weights: Sequence[float],
    classes: tuple[str, ...],
    thresholds: tuple[float, ...] | None,
    provenance: Mapping[str, Any],
) -> Bundle:
    """One bundle whose answer is the weighted mean of its members' probabilities.

    Args:
        members: of the same classes, each in its own order; themselves no ensembles.
        weights: of each, above 0.
        classes: in the order of the answer.
        thresholds: of the mean, in that order, for several labels per image; None for one label.
        provenance: as of a Bundle.

    Raises ValueError if they are not of the same classes, or one is an ensemble itself.
    """
    if any(set(member.classes) != set(classes) for member in members) or any(member.members for member in members):
        raise ValueError("members of an ensemble must be plain models of the same classes")
    weighted = tuple(replace(member, weight=float(w)) for member, w in zip(members, weights, strict=True))
    specs = [member.image_spec for member in weighted]
    shapes = {(spec.height, spec.resize, spec.interpolation) for spec in specs}
    classifier = EnsembleClassifier(
        [member.classifier for member in weighted],
        orders=[[member.classes.index(name) for name in classes] for member in weighted],
        normalizations=[(spec.mean, spec.std) for spec in specs],
        temperatures=[member.temperature for member in weighted],
        weights=[member.weight for member in weighted],
        same_image=len(shapes) == 1,
        task="single" if thresholds is None else "multi",
    )
    plain = replace(specs[0], mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))  # each member normalizes for itself
    return Bundle(
        classifier.eval(), plain, classes, "one", thresholds=thresholds, provenance=provenance, members=weighted
    )


def load_bundle(path: Path, *, device: str | torch.device = "cpu") -> Bundle:
    """Read and check a bundle; the classifier is on `device`, in evaluation mode, with channels-last weights.

    Raises BundleError, naming the file, if one is missing or differs from its checksum by a single bit, if the folder
    was written by a newer Linnaeus, or if weights and description do not belong together; DeviceError if there is no
    such device.
    """
    _verify(path)
    facts = _read_facts(path / FACTS)
    try:
        if facts.members:
            bundle = _build_ensemble(facts, path / FACTS)
        else:
            bundle = Bundle(
                classifier=_build(facts, path / FACTS, linnaeus=facts.linnaeus),
                image_spec=facts.image_spec,
                classes=facts.classes,
                views=facts.views,
                temperature=facts.temperature,
                thresholds=facts.thresholds,
                operating_point=facts.operating_point,
                sets=facts.sets,
                familiarity=_load_familiarity(facts, path),
                provenance=facts.provenance,
            )
    except ValueError as error:
        raise BundleError(f"{path / FACTS} contradicts itself: {error}. {_AGAIN}") from error
    classifier = bundle.classifier
    _load_weights(classifier, path / WEIGHTS)
    try:
        classifier.to(device).to(memory_format=torch.channels_last)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"The device '{device}' cannot be used: {error}") from error
    classifier.eval()
    return bundle


def _verify(path: Path) -> None:
    """Check every listed file against its checksum, and the list itself for damage."""
    if not path.is_dir():
        raise BundleError(f"There is no model folder {path}.")
    try:
        text = (path / SUMS).read_bytes().decode("ascii")
    except OSError as error:
        raise BundleError(f"{path / SUMS} cannot be read: {error.strerror}. {_AGAIN}") from error
    except UnicodeDecodeError as error:
        raise BundleError(f"{path / SUMS} is damaged. {_AGAIN}") from error
    *lines, rest = text.split("\n")  # not splitlines, which takes several other characters for line ends
    matches = [_SUM_LINE.fullmatch(line) for line in lines]
    if rest or None in matches:
        raise BundleError(f"{path / SUMS} is damaged. {_AGAIN}")
    expected = {match[2]: match[1] for match in matches if match}
    for name, digest in expected.items():
        try:
            found = _sha256(path / name)
        except OSError as error:
            raise BundleError(
                f"{path / name}, which {SUMS} lists, cannot be read: {error.strerror}. {_AGAIN}"
            ) from error
        if found != digest:
            raise BundleError(f"{path / name} does not match its checksum in {SUMS}: it is damaged. {_AGAIN}")
    for name in _COVERED:
        if name not in expected:
            raise BundleError(f"{path / SUMS} is damaged: it does not list {name}. {_AGAIN}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_facts(path: Path) -> _Facts:
    text = path.read_bytes()
    try:
        header = _FormatOnly.model_validate_json(text)
        if header.format > FORMAT:
            raise BundleError(
                f"{path} is of format {header.format}, written by Linnaeus {header.linnaeus}; Linnaeus {__version__} "
                f"reads formats up to {FORMAT}. Update it: pip install --upgrade linnaeus"
            )
        return _Facts.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path} does not describe a model: {where}: {first['msg']}. {_AGAIN}") from error


def _build_ensemble(facts: _Facts, path: Path) -> Bundle:
    assert facts.members
    members = [
        Bundle(
            classifier=_build(member, path, linnaeus=facts.linnaeus),
            image_spec=member.image_spec,
            classes=member.classes,
            views=member.views,
            temperature=member.temperature,
        )
        for member in facts.members
    ]
    bundle = ensemble_bundle(
        members,
        weights=[member.weight for member in facts.members],
        classes=facts.classes,
        thresholds=facts.thresholds,
        provenance=facts.provenance,
    )
    return replace(bundle, temperature=facts.temperature, operating_point=facts.operating_point, sets=facts.sets)


def _build(facts: _Facts | _MemberFacts, path: Path, *, linnaeus: str) -> Classifier:
    for option in facts.model.options:
        if option.startswith(_FORBIDDEN_OPTIONS):
            raise BundleError(f"{path} asks for the option '{option}', which would read files from elsewhere.")
    try:
        with torch.random.fork_rng(devices=[]):  # the random first weights must not move the caller's generator
            return build_classifier(
                facts.model.name,
                num_classes=len(facts.classes),
                image_size=facts.image_spec.height,
                options=dict(facts.model.options),
                head=facts.model.head,
                features=facts.model.features,
            )
    except ModelError as error:
        raise BundleError(
            f"{path} describes a network that this Linnaeus ({__version__}; it was saved by {linnaeus}) cannot "
            f"build: {error} Update Linnaeus."
        ) from error


def _load_familiarity(facts: _Facts, folder: Path) -> Familiarity | None:
    if facts.familiarity is None:
        return None
    try:
        known = load_file(folder / FAMILIAR)
        bank, centre = known["bank"].numpy(), known["centre"].numpy()
    except (SafetensorError, OSError, KeyError) as error:
        raise BundleError(f"{folder / FAMILIAR} cannot be read: {error}. {_AGAIN}") from error
    if bank.ndim != 2 or centre.shape != bank.shape[1:] or not len(bank):
        raise BundleError(f"{folder / FAMILIAR} does not hold features. {_AGAIN}")
    return Familiarity(bank, centre, facts.familiarity.threshold, facts.familiarity.share)


def _load_weights(classifier: Classifier, path: Path) -> None:
    try:
        classifier.load_state_dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} cannot be read: {error}. {_AGAIN}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{path} does not fit the network '{classifier.name}' in {FACTS}: {reason}") from error
