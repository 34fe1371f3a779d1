"""TrainState, and how it goes to disk and back bit for bit.

A checkpoint is one safetensors file (tensors, and JSON in its header), written whole or not at all: weights, optimizer
tensors, position in phase, epoch and batch, running sums, history, and every random state. Reading one runs no code.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim import Optimizer

from linnaeus.atomic import write_whole
from linnaeus.errors import CheckpointError
from linnaeus.losses.penalty import Penalty
from linnaeus.training.phases import MovingAverage
from linnaeus.training.runtime import FabricModule

LAST = "last.safetensors"
_FORMAT = 1
_ADVICE = "Start again with the same settings and --force."


@dataclass
class Position:
    """Where training stands: everything about it that is not a tensor.

    Attributes:
        phase: index in the config's phases.
        epoch: of this phase, 0-based; `batch` batches of it are done.
        step: optimizer steps done in this phase.
        epochs_done: over all phases.
        loss_sum, num_correct, num_seen: of the running epoch, on all processes; with several labels per image,
            `num_correct` adds up the fractions of labels that are right.
        epoch_seconds: spent in the running epoch; `seconds` in all.
        earlier_seconds: that others had spent on features before this run first opened them, by their key.
        best: {"metric", "value", "epoch", "file", "backbone"} of the kept weights, or empty; where "backbone" names a
            file too, "file" holds the head alone.
        stale_epochs: since the stop metric was last better than `stop_value`.
        plateau: what the schedule of that name remembers.
        history: one dict per finished epoch.
        finished: all phases are done.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    epochs_done: int = 0
    loss_sum: float = 0.0
    num_correct: float = 0
    num_seen: int = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    earlier_seconds: dict[str, float] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    stop_value: float | None = None
    stale_epochs: int = 0
    plateau: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False


@dataclass(frozen=True)
class Unread:
    """What one forward pass has left on the device.

    Attributes:
        batch: of the epoch, from 1.
        loss: float32 scalar, the fraction of this pass in the batch's mean loss.
        num_right: int64 scalar, of `count_right`.
        num_images: of the batch, by which the loss counts.
        labels: per image, by which `num_right` is divided; 1 for one class per image.
    """

    batch: int
    loss: torch.Tensor
    num_right: torch.Tensor
    num_images: int
    labels: int


@dataclass
class TrainState:
    """A training run in memory: what is trained (a classifier, or its head), its optimizers, and where it stands.

    `average` is the moving average of the weights, where the phase has one; `penalties` are those on their size;
    `unread` are losses that the position's sums lack as yet, which is none when the state is saved.
    """

    model: FabricModule | nn.Module
    optimizers: list[Optimizer]
    position: Position
    average: MovingAverage | None = None
    penalties: Sequence[Penalty] = ()
    unread: list[Unread] = field(default_factory=list)

    @property
    def trained(self) -> nn.Module:
        """The network itself, without what carries gradients between processes."""
        inner = self.model.module if isinstance(self.model, FabricModule) else self.model
        assert isinstance(inner, nn.Module)
        return inner

    @property
    def kept(self) -> nn.Module:
        """The weights that are validated and kept: the average where there is one."""
        return self.trained if self.average is None else self.average.module


def save_checkpoint(state: TrainState, folder: Path, *, config_fingerprint: str) -> None:
    """Write `last.safetensors`, whole or not at all. Raises OutputError if the disk is full."""
    assert not state.unread, "losses that nobody has read would be lost"
    tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    if state.average is not None:
        tensors |= {f"average.{name}": value for name, value in state.average.state_dict().items()}
    scalars: dict[str, dict[str, Any]] = {}
    for i, optimizer in enumerate(state.optimizers):
        for j, values in optimizer.state_dict()["state"].items():
            for name, value in values.items():
                if torch.is_tensor(value):
                    tensors[f"optimizer.{i}.{j}.{name}"] = value
                else:
                    scalars.setdefault(f"{i}.{j}", {})[name] = value
    tensors |= _random_tensors()
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    facts = {
        "format": _FORMAT,
        "config": config_fingerprint,
        "position": vars(state.position),
        "scalars": scalars,
        "random": _random_facts(),
    }
    text = json.dumps(facts)
    header = {"linnaeus": text, "digest": _digest(text, tensors)}
    write_whole(folder / LAST, lambda temporary: save_file(tensors, temporary, metadata=header))


def load_checkpoint(state: TrainState, folder: Path, *, config_fingerprint: str) -> None:
    """Put everything of `last.safetensors` into `state` (built from the same config) and the random generators.

    Raises CheckpointError if the file is damaged, or belongs to another config.
    """
    tensors, facts = read_checkpoint(folder, config_fingerprint=config_fingerprint)
    load_weights(state.model, tensors, folder)
    if state.average is not None:
        load_weights(state.average, tensors, folder, prefix="average.")
    for i, optimizer in enumerate(state.optimizers):
        optimizer.load_state_dict(_optimizer_state(optimizer, i, tensors, facts["scalars"]))
    state.position = Position(**facts["position"])
    _restore_random(tensors, facts["random"])


def load_weights(model: nn.Module, tensors: dict[str, torch.Tensor], folder: Path, *, prefix: str = "model.") -> None:
    """Put a checkpoint's weights into `model`; raises CheckpointError if they are another network's."""
    own = model.state_dict()
    weights = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    if own.keys() != weights.keys() or any(own[name].shape != weights[name].shape for name in own):
        raise CheckpointError(f"{folder / LAST} holds another network than the configuration describes. {_ADVICE}")
    model.load_state_dict(weights)


def read_checkpoint(folder: Path, *, config_fingerprint: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors, facts) of `last.safetensors`, verified."""
    path = folder / LAST
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text, digest = file.metadata()["linnaeus"], file.metadata()["digest"]
            facts = json.loads(text)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged and cannot be read ({error}). {_ADVICE}") from error
    if digest != _digest(text, tensors):
        raise CheckpointError(f"{path} is damaged: its content does not match its checksum. {_ADVICE}")
    if facts.get("format") != _FORMAT:
        raise CheckpointError(f"{path} was written by another version of Linnaeus. {_ADVICE}")
    if facts["config"] != config_fingerprint:
        raise CheckpointError(
            f"{path} belongs to another configuration than config.yaml beside it. Put that file back as it was, "
            f"or start again with --force."
        )
    return tensors, facts


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a network's weights alone, whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_whole(path, lambda temporary: save_file(tensors, temporary))


def _optimizer_state(
    optimizer: Optimizer, index: int, tensors: dict[str, torch.Tensor], scalars: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """A state dict for `optimizer`; tensors take their parameter's memory layout, so that sums run in one order."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind != "optimizer":
            continue
        i, j, key = rest.split(".", 2)
        if int(i) != index:
            continue
        parameter = parameters[int(j)]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(j), {})[key] = value
    for place, values in scalars.items():
        i, j = place.split(".")
        if int(i) == index:
            state.setdefault(int(j), {}).update(values)
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}


def _random_tensors() -> dict[str, torch.Tensor]:
    tensors = {"random.torch": torch.get_rng_state()}
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        tensors[f"random.cuda.{i}"] = torch.cuda.get_rng_state(i)
    return tensors


def _random_facts() -> dict[str, Any]:
    kind, keys, place, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 - libraries may draw from the global one
    return {"python": random.getstate(), "numpy": [kind, np.asarray(keys).tolist(), place, has_gauss, gauss]}


def _restore_random(tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    torch.set_rng_state(tensors["random.torch"])
    for name, value in tensors.items():
        if name.startswith("random.cuda.") and torch.cuda.is_available():
            torch.cuda.set_rng_state(value, int(name.rsplit(".", 1)[1]))
    version, internal, gauss_next = facts["python"]
    random.setstate((version, tuple(internal), gauss_next))
    kind, keys, place, has_gauss, gauss = facts["numpy"]
    np.random.set_state((kind, np.asarray(keys, np.uint32), place, has_gauss, gauss))  # noqa: NPY002


def _digest(text: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
