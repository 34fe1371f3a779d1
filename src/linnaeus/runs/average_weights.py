"""The weights of several finished runs averaged into one network, which costs no more than one of them (model soups).

Wortsman et al., arXiv 2203.05482, section 3 (greedy soup): runs are taken in the order of their validation score, and
one stays in the average where the average's own score on the validation images does not fall. Makes sense only for runs
that began with the same weights. Beside `ensemble`, which has what comes of it judged and written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.optim.swa_utils import update_bn

from linnaeus.bundle import Bundle
from linnaeus.data.cache.images import open_cache
from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import TEST, TRAIN, VALIDATION, Manifest
from linnaeus.data.splits.sampling import epoch_order
from linnaeus.errors import DataError, ModelError
from linnaeus.judging.judge import SubmittedFeatures
from linnaeus.judging.ood import draw_reference
from linnaeus.judging.selection import quality
from linnaeus.models import Classifier
from linnaeus.predictions import Predictions, predict, rows_of
from linnaeus.progress import Progress
from linnaeus.run.preparation import read_preparation
from linnaeus.run_folder import RunDir
from linnaeus.runs.members import Member
from linnaeus.training.runtime import Runtime, start_runtime

State = dict[str, torch.Tensor]
STATISTICS_IMAGES = 2048
"""Training images that batch norm measures its statistics on anew where the runs' own differ."""
_BATCH_SIZE = 64
_SHOWN = 3


@dataclass(frozen=True)
class Averaged:
    """What was averaged.

    Attributes:
        bundle: the network with the averaged weights, nothing settled yet.
        taken: of each member, whether it is in the average.
        predictions: of validation and test images, in the order of the first run's; logits at temperature 1.
        features: of these images and of a sample of the training images.
    """

    bundle: Bundle
    taken: list[bool]
    predictions: Predictions
    features: SubmittedFeatures


@dataclass(frozen=True)
class _Trial:
    """One network, and the images on which averages are tried."""

    classifier: Classifier
    bundle: Bundle
    manifest: Manifest
    store: ImageStore
    runtime: Runtime


def average_weights(states: Sequence[Mapping[str, torch.Tensor]]) -> State:
    """The mean of every floating tensor over the networks (in float64); others, such as counters, from the first."""
    first = states[0]
    return {
        key: torch.stack([state[key].double() for state in states]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for key, value in first.items()
    }


def check_members(members: Sequence[Member]) -> None:
    """Raise ModelError, with the reason, for the first run whose weights cannot be averaged with those of the first."""
    first = members[0]
    start = _initialisation(first)
    for member in members[1:]:
        reason = _why_not(first, member) or _other_start(start, _initialisation(member))
        if reason:
            raise ModelError(
                f"The weights of {first.path} and {member.path} cannot be averaged: {reason}. Their probabilities can: "
                "leave out --average-weights."
            )


def _why_not(first: Member, other: Member) -> str:
    a, b = first.bundle, other.bundle
    facts = [
        ("network", a.classifier.name, b.classifier.name),
        ("options", a.classifier.options, b.classifier.options),
        ("head", a.classifier.head_options, b.classifier.head_options),
        ("kind of features", a.classifier.feature_kind, b.classifier.feature_kind),
        ("order of classes", a.classes, b.classes),
        ("image preprocessing", a.image_spec, b.image_spec),
        ("test-time augmentation", a.tta, b.tta),
    ]
    for what, one, two in facts:
        if one != two:
            return f"their {what} differs ({one} and {two})"
    own, theirs = a.classifier.state_dict(), b.classifier.state_dict()
    strange = sorted(own.keys() ^ theirs.keys())
    if strange:
        return f"only one of them has {', '.join(strange[:_SHOWN])}"
    shapes = [key for key in own if own[key].shape != theirs[key].shape]
    if shapes:
        key = shapes[0]
        return f"{key} is {tuple(own[key].shape)} in one and {tuple(theirs[key].shape)} in the other"
    return ""


def _initialisation(member: Member) -> tuple[str, str]:
    """(kind, value) of the weights that a run began with."""
    digest = read_preparation(RunDir(member.path).settled).weights_sha256
    if digest is not None:
        return "pretrained weights", str(digest)
    return "random weights of seed", str(member.config.seed)


def _other_start(first: tuple[str, str], other: tuple[str, str]) -> str:
    if first == other:
        return ""
    return f"they began with different weights ({' '.join(first)} and {' '.join(other)})"


def average_greedily(members: Sequence[Member], *, progress: Progress) -> Averaged:
    """Take runs into the average in the order of their validation score, each where the average's own does not fall.

    Raises ModelError for runs that do not belong together, DataError if the images have changed since.
    """
    check_members(members)
    trial = _start_trial(members[0], progress)
    held_out = [member.predictions.of_split(VALIDATION) for member in members]
    scores = [quality(predictions.probabilities, predictions.targets) for predictions in held_out]
    order = sorted(range(len(members)), key=scores.__getitem__, reverse=True)
    states = [member.bundle.classifier.state_dict() for member in members]
    states = [{key: value.clone() for key, value in state.items()} for state in states]
    rows = rows_of(members[0].predictions, trial.manifest)
    validation = rows[members[0].predictions.splits == VALIDATION]
    taken, best = [order[0]], scores[order[0]][0]
    kept = states[order[0]]
    for k in order[1:]:
        tried = _load_average(trial, average_weights([states[j] for j in [*taken, k]]), states)
        found = _predict(trial, validation)
        score = quality(found.probabilities, found.targets)[0]
        progress.say(f"With {members[k].path}: {score:.2%} in validation, {best:.2%} without.")
        if score >= best:
            taken, best, kept = [*taken, k], score, tried
    trial.classifier.load_state_dict(kept)
    predictions = _predict(trial, rows)
    reference = trial.manifest.rows(TRAIN)
    reference = reference[draw_reference(trial.manifest.targets[reference], seed=members[0].config.seed)]
    bundle = replace(
        trial.bundle,
        classifier=trial.classifier.eval(),
        temperature=1.0,
        operating_point=None,
        sets=None,
        ood=None,
    )
    return Averaged(
        bundle=bundle,
        taken=[k in taken for k in range(len(members))],
        predictions=replace(predictions, features=None),
        features=SubmittedFeatures(
            _features(_predict(trial, reference)),
            _features(predictions.of_split(VALIDATION)),
            _features(predictions.of_split(TEST)),
        ),
    )


def _start_trial(first: Member, progress: Progress) -> _Trial:
    runtime = start_runtime(first.config.runtime)
    manifest = first.manifest
    cache = open_cache(manifest, first.bundle.image_spec, threads=first.config.runtime.threads, progress=progress)
    if cache.path.name != read_preparation(RunDir(first.path).settled).cache:
        raise DataError(f"The images have changed since {first.path} was trained, so averages cannot be tried on them.")
    store = ImageStore(cache, manifest, runtime.device)
    return _Trial(first.bundle.classifier.to(runtime.device), first.bundle, manifest, store, runtime)


def _load_average(trial: _Trial, state: State, states: Sequence[State]) -> State:
    """Put averaged weights into the network; batch norm measures anew where the runs' statistics differ."""
    trial.classifier.load_state_dict(state)
    names = [key for key in state if key.endswith(("running_mean", "running_var"))]
    if any(not torch.equal(states[0][key], other[key]) for other in states[1:] for key in names):
        update_bn(_training_images(trial), trial.classifier)
        trial.classifier.eval()
    return {key: value.clone() for key, value in trial.classifier.state_dict().items()}


def _training_images(trial: _Trial) -> Iterator[torch.Tensor]:
    rows = trial.manifest.rows(TRAIN)
    order = epoch_order(len(rows), seed=0, epoch=0)[:STATISTICS_IMAGES]
    for batch in trial.store.batches(rows[order], batch_size=_BATCH_SIZE):
        if len(batch) > 1:  # a single image has no variance
            yield trial.bundle.image_spec.normalize(batch.images).contiguous(memory_format=torch.channels_last)


def _predict(trial: _Trial, rows: npt.NDArray[np.int64]) -> Predictions:
    """Predictions of rows of the manifest, in the bundle's views, with features."""
    batches = trial.store.batches(rows, batch_size=_BATCH_SIZE)
    with trial.runtime.fabric.autocast():
        return predict(
            trial.classifier,
            batches,
            trial.manifest,
            spec=trial.bundle.image_spec,
            tta=trial.bundle.tta,
            keep_features=True,
        )


def _features(predictions: Predictions) -> npt.NDArray[np.float16]:
    assert predictions.features is not None, "they were asked for"
    return predictions.features
