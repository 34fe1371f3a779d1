"""A bundle on disk: a folder that runs no code.

    model.safetensors     the weights, float32
    bundle.json           architecture, classes, preprocessing, calibration, where it comes from
    README.md             the model card, for people
    ood.safetensors  features of some training images, to tell what is unlike them; not in every bundle
    SHA256SUMS            of all of these; `sha256sum -c SHA256SUMS` checks it too

Every byte is covered by a checksum, so a damaged copy is noticed and named instead of giving slightly wrong answers.
Knows nothing of how a bundle came about, or of what is done with it.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from linnaeus.atomic import locked, unique_beside, write_json, write_text
from linnaeus.bundle import Bundle, ensemble_bundle
from linnaeus.bundle.card import model_card
from linnaeus.bundle.facts import COPY_AGAIN, Facts, MemberFacts, describe_bundle, read_facts
from linnaeus.errors import BundleError, DeviceError, ModelError, OutputError
from linnaeus.metrics.ood import OodDetector
from linnaeus.models import Classifier, build_classifier
from linnaeus.progress import SILENT
from linnaeus.run_folder import RunDir
from linnaeus.version import __version__

WEIGHTS, FACTS, CARD, SUMS = "model.safetensors", "bundle.json", "README.md", "SHA256SUMS"
OOD_FEATURES = "ood.safetensors"
_COVERED = (WEIGHTS, FACTS, CARD)
_SUM_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._-]*)")
_FORBIDDEN_OPTIONS = ("pretrained", "checkpoint", "cache_dir")
"""How options of an architecture begin that would read other files or the network. No bundle needs them."""


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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path, SILENT) as alone:  # of several saves each has its turn; the last one stays
            if alone:
                _remove_leftovers(path)
            _replace_folder(bundle, path)
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error)
        reason = "the disk is full" if full else getattr(error, "strerror", None) or error
        raise OutputError(f"The model cannot be written to {path}: {reason}.") from error


def _replace_folder(bundle: Bundle, path: Path) -> None:
    """Write the files beside `path` and rename their folder to it; what is there stays if anything fails."""
    temporary, old = unique_beside(path), unique_beside(path, word="old")
    try:
        temporary.mkdir()
        _write_files(bundle, temporary)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _remove_leftovers(path: Path) -> None:
    """Delete what killed saves of this bundle left behind; whoever calls holds the lock."""
    for folder in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if folder.suffix in (".part", ".old"):
            shutil.rmtree(folder, ignore_errors=True)


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
    facts = describe_bundle(bundle)
    write_json(folder / FACTS, facts)
    write_text(folder / CARD, model_card(facts))
    covered: tuple[str, ...] = _COVERED
    if bundle.ood is not None:
        known = {"reference": bundle.ood.reference, "centre": bundle.ood.centre}
        save_file({name: torch.from_numpy(values) for name, values in known.items()}, folder / OOD_FEATURES)
        with (folder / OOD_FEATURES).open("rb") as file:
            os.fsync(file.fileno())
        shutil.copymode(folder / FACTS, folder / OOD_FEATURES)
        covered = (*_COVERED, OOD_FEATURES)
    write_text(folder / SUMS, "".join(f"{_sha256(folder / name)}  {name}\n" for name in covered))
    shutil.copymode(folder / FACTS, folder / WEIGHTS)  # safetensors lets only the owner read


def load_bundle(path: Path, *, device: str | torch.device = "cpu") -> Bundle:
    """Read and check a bundle; the classifier is on `device`, in evaluation mode, with channels-last weights.

    Raises BundleError, naming the file, if one is missing or differs from its checksum by a single bit, if the folder
    was written by a newer Linnaeus, or if weights and description do not belong together; DeviceError if there is no
    such device.
    """
    _verify(path)
    facts = read_facts(path / FACTS)
    try:
        if facts.members:
            bundle = replace(_build_ensemble(facts, path / FACTS), ood=load_ood_detector(facts, path))
        else:
            bundle = Bundle(
                classifier=_build(facts, path / FACTS, linnaeus=facts.linnaeus),
                image_spec=facts.image_spec,
                classes=facts.classes,
                tta=facts.tta,
                temperature=facts.temperature,
                thresholds=facts.thresholds,
                operating_point=facts.operating_point,
                sets=facts.sets,
                ood=load_ood_detector(facts, path),
                provenance=facts.provenance,
            )
    except ValueError as error:
        raise BundleError(f"{path / FACTS} contradicts itself: {error}. {COPY_AGAIN}") from error
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
        raise BundleError(f"{path / SUMS} cannot be read: {error.strerror}. {COPY_AGAIN}") from error
    except UnicodeDecodeError as error:
        raise BundleError(f"{path / SUMS} is damaged. {COPY_AGAIN}") from error
    *lines, rest = text.split("\n")  # not splitlines, which takes several other characters for line ends
    matches = [_SUM_LINE.fullmatch(line) for line in lines]
    if rest or None in matches:
        raise BundleError(f"{path / SUMS} is damaged. {COPY_AGAIN}")
    expected = {match[2]: match[1] for match in matches if match}
    for name, digest in expected.items():
        try:
            found = _sha256(path / name)
        except OSError as error:
            raise BundleError(
                f"{path / name}, which {SUMS} lists, cannot be read: {error.strerror}. {COPY_AGAIN}"
            ) from error
        if found != digest:
            raise BundleError(f"{path / name} does not match its checksum in {SUMS}: it is damaged. {COPY_AGAIN}")
    for name in _COVERED:
        if name not in expected:
            raise BundleError(f"{path / SUMS} is damaged: it does not list {name}. {COPY_AGAIN}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _build_ensemble(facts: Facts, path: Path) -> Bundle:
    assert facts.members
    members = [
        Bundle(
            classifier=_build(member, path, linnaeus=facts.linnaeus),
            image_spec=member.image_spec,
            classes=member.classes,
            tta=member.tta,
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


def _build(facts: Facts | MemberFacts, path: Path, *, linnaeus: str) -> Classifier:
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


def load_ood_detector(facts: Facts, folder: Path) -> OodDetector | None:
    """What tells images out of distribution, from the folder of a bundle; None where it has nothing.

    Raises BundleError if it is damaged.
    """
    if facts.ood is None:
        return None
    try:
        known = load_file(folder / OOD_FEATURES)
        reference, centre = known["reference"].numpy(), known["centre"].numpy()
    except (SafetensorError, OSError, KeyError) as error:
        raise BundleError(f"{folder / OOD_FEATURES} cannot be read: {error}. {COPY_AGAIN}") from error
    if reference.ndim != 2 or centre.shape != reference.shape[1:] or not len(reference):
        raise BundleError(f"{folder / OOD_FEATURES} does not hold features. {COPY_AGAIN}")
    return OodDetector(reference, centre, facts.ood.threshold, facts.ood.in_distribution_fraction)


def _load_weights(classifier: Classifier, path: Path) -> None:
    try:
        classifier.load_state_dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} cannot be read: {error}. {COPY_AGAIN}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{path} does not fit the network '{classifier.name}' in {FACTS}: {reason}") from error
