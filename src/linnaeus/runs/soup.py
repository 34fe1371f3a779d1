"""Weight soups: the weights of several finished runs averaged into one network, which costs no more than one of them.

Wortsman et al., arXiv 2203.05482, section 3 (greedy soup): runs are taken in the order of their validation score, and
one stays in the average where the average's own score on the validation images does not fall. Makes sense only for runs
that began with the same weights. Beside `ensembling`, which chooses nothing here and writes what comes of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch.optim.swa_utils import update_bn

from linnaeus.config.resolved import ResolvedConfig, read_resolved
from linnaeus.data.cache.images import open_cache
from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import TEST, TRAIN, VALIDATION, Manifest
from linnaeus.data.splits.sampling import epoch_order
from linnaeus.errors import DataError, ModelError
from linnaeus.judging.selection import quality
from linnaeus.predictions import Predictions, predict
from linnaeus.progress import Progress
from linnaeus.run_folder import RunDir
from linnaeus.runs.members import Member
from linnaeus.training.runtime import Runtime, start_runtime

State = dict[str, torch.Tensor]
STATISTICS_IMAGES = 2048
"""Training images that batch norm measures its statistics on anew where the runs' own differ."""
_BATCH_SIZE = 64
_SHOWN = 3


def average_weights(states: Sequence[Mapping[str, torch.Tensor]]) -> State:
    """The mean of every floating tensor over the networks (in float64); others, such as counters, from the first."""
    first = states[0]
    return {
        key: torch.stack([state[key].double() for state in states]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for key, value in first.items()
    }


def check_soup(members: Sequence[Member]) -> None:
    """Raise ModelError, with the reason, for the first run whose weights cannot be averaged with those of the first."""
    first = members[0]
    start = _initialisation(first.path)
    for member in members[1:]:
        reason = _why_not(first, member) or _other_start(start, _initialisation(member.path))
        if reason:
            raise ModelError(
                f"The weights of {first.path} and {member.path} cannot be averaged: {reason}. Their probabilities can: "
                "leave out --soup."
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
        ("views", a.views, b.views),
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


def _initialisation(path: Path) -> tuple[str, str]:
    """(kind, value) of the weights that a run began with."""
    run = RunDir(path)
    digest = json.loads(run.settled.read_text(encoding="utf-8")).get("weights_sha256")
    if digest is not None:
        return "pretrained weights", str(digest)
    return "random weights of seed", str(_config(path).seed)


def _other_start(first: tuple[str, str], other: tuple[str, str]) -> str:
    if first == other:
        return ""
    return f"they began with different weights ({' '.join(first)} and {' '.join(other)})"


def _config(path: Path) -> ResolvedConfig:
    page = RunDir(path).config
    return read_resolved(page)


def cook(members: Sequence[Member], *, progress: Progress) -> tuple[list[int], State, Predictions]:
    """Average greedily; returns which members are in it (0 or 1 each), the weights, and its predictions.

    Predictions are of the validation images and, once the choice is made, of the test images, in the first run's order.
    Raises ModelError for runs that do not belong together, DataError if the images have changed since.
    """
    check_soup(members)
    kitchen = _Kitchen(members, progress)
    held_out = [member.predictions.of_split(VALIDATION) for member in members]
    scores = [quality(predictions.probabilities, predictions.targets) for predictions in held_out]
    order = sorted(range(len(members)), key=scores.__getitem__, reverse=True)
    states = [member.bundle.classifier.state_dict() for member in members]
    states = [{key: value.clone() for key, value in state.items()} for state in states]
    taken, best = [order[0]], scores[order[0]][0]
    soup = states[order[0]]
    for k in order[1:]:
        tried = kitchen.settle(average_weights([states[j] for j in [*taken, k]]), states)
        found = kitchen.predict(VALIDATION)
        score = quality(found.probabilities, found.targets)[0]
        progress.say(f"With {members[k].path}: {score:.2%} in validation, {best:.2%} without.")
        if score >= best:
            taken, best, soup = [*taken, k], score, tried
    kitchen.classifier.load_state_dict(soup)
    predictions = kitchen.predict(VALIDATION, TEST)
    return [int(k in taken) for k in range(len(members))], soup, predictions


class _Kitchen:
    """One network, and the images on which averages are tried."""

    def __init__(self, members: Sequence[Member], progress: Progress) -> None:
        path, self.bundle = members[0].path, members[0].bundle
        config = _config(path)
        self.runtime: Runtime = start_runtime(config.runtime)
        self.manifest = Manifest.load(RunDir(path).manifest)
        cache = open_cache(self.manifest, self.bundle.image_spec, threads=config.runtime.threads, progress=progress)
        if cache.path.name != json.loads(RunDir(path).settled.read_text(encoding="utf-8"))["cache"]:
            raise DataError(f"The images have changed since {path} was trained, so averages cannot be tried on them.")
        self.store = ImageStore(cache, self.manifest, self.runtime.device)
        self.classifier = self.bundle.classifier.to(self.runtime.device)

    def settle(self, state: State, states: Sequence[State]) -> State:
        """Put averaged weights into the network; batch norm measures anew where the runs' statistics differ."""
        self.classifier.load_state_dict(state)
        names = [key for key in state if key.endswith(("running_mean", "running_var"))]
        if any(not torch.equal(states[0][key], other[key]) for other in states[1:] for key in names):
            update_bn(self._training_images(), self.classifier)
            self.classifier.eval()
        return {key: value.clone() for key, value in self.classifier.state_dict().items()}

    def _training_images(self) -> Iterator[torch.Tensor]:
        rows = self.manifest.rows(TRAIN)
        order = epoch_order(len(rows), seed=0, epoch=0)[:STATISTICS_IMAGES]
        for batch in self.store.batches(rows[order], batch_size=_BATCH_SIZE):
            if len(batch) > 1:  # a single image has no variance
                yield self.bundle.image_spec.normalize(batch.images).contiguous(memory_format=torch.channels_last)

    def predict(self, *splits: int) -> Predictions:
        """Predictions of some splits, in the bundle's views."""
        batches = self.store.batches(self.manifest.rows_of(*splits), batch_size=_BATCH_SIZE)
        with self.runtime.fabric.autocast():
            return predict(
                self.classifier, batches, self.manifest, spec=self.bundle.image_spec, views=self.bundle.views
            )
