"""Run by test_resume.py in a process of its own: a training that kills itself with SIGKILL at a chosen moment.

Usage: python killed_run.py RUN_DIR MOMENT [WEIGHTS|folds], where MOMENT is

    batch PHASE EPOCH BATCH [TIME]   before that batch of that epoch of the phase (the TIME-th time that it comes)
    save PHASE EPOCH BATCH           half of the checkpoint that says so many batches are done has been written
    rename PHASE EPOCH BATCH         that checkpoint has been written, but is not yet in its place
    rename FILE                      the same of any file by this name
    judge                            after training, before the report

as one argument. Phases have names; epochs and batches count from 1, and a checkpoint may be of batch 0.
With WEIGHTS, a file for resnet10t, it trains in phases on that backbone; with `folds`, three times without a third.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from linnaeus.run import fit, write
from linnaeus.training import checkpoint, loop, run

SETTINGS: dict[str, Any] = {
    "data": {"source": "digits", "test_fraction": 0.6},
    "image": {"size": 8},
    "augment": {"rotate_degrees": 10, "noise": 0.05, "mixup": 0.2},
    "model": {"name": "mish_cnn"},
    "phases": [{"name": "one", "optimizer": "adam", "batch_size": 32, "epochs": 2, "schedule": "cosine"}],
    "runtime": {"threads": 1, "checkpoint_seconds": 1e-6, "device": "cpu"},
}


PATCH = pytest.MonkeyPatch()
"""Never undone: the process ends."""


def transfer(weights: Path) -> dict[str, Any]:
    """A head on features, then the last stage, then everything with a moving average."""
    shared = {"batch_size": 32, "optimizer": "adamw", "lr": 1e-3}
    return {
        **SETTINGS,
        "image": {"size": 32, "normalize": "backbone"},
        "model": {"name": "resnet10t", "weights": str(weights), "head": {"hidden": [16], "dropout": 0.2}},
        "phases": [
            {**shared, "name": "head", "train": "head", "epochs": 3, "feature_views": 2},
            {**shared, "name": "top", "last_stages": 1, "layer_decay": 0.5, "epochs": 1},
            {**shared, "name": "all", "optimizer": "sgd", "ema_decay": 0.9, "batch_norm": "frozen", "epochs": 1.5},
        ],
    }


FOLDS: dict[str, Any] = {
    **SETTINGS,
    "data": {**SETTINGS["data"], "folds": 3, "fold_training": "finetune"},
    "phases": [{**SETTINGS["phases"][0], "epochs": 1}],
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before_batch(phase_name: str, epoch: int, batch: int, time: int) -> None:
    train_batch, times = loop.train_batch, 0

    def watched(state: Any, job: Any, phase: Any, *others: Any) -> None:
        nonlocal times
        position = state.position
        if (phase.name, position.epoch + 1, position.batch + 1) == (phase_name, epoch, batch):
            times += 1
            if times == time:
                die()
        train_batch(state, job, phase, *others)

    PATCH.setattr(loop, "train_batch", watched)


def is_checkpoint_of(header: dict[str, str], names: list[str], where: tuple[str, int, int]) -> bool:
    position = json.loads(header["linnaeus"])["position"]
    if position["finished"]:
        return False
    return (names[position["phase"]], position["epoch"] + 1, position["batch"]) == where


def half_saved(names: list[str], where: tuple[str, int, int]) -> None:
    def watched(tensors: Any, path: Path, metadata: dict[str, str] | None = None) -> None:
        if metadata is not None and is_checkpoint_of(metadata, names, where):
            Path(path).write_bytes(b"half of a checkpoint")
            die()
        save_file(tensors, path, metadata=metadata)

    PATCH.setattr(checkpoint, "save_file", watched)


def before_rename(is_meant: Callable[[Path, Path], bool]) -> None:
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        if is_meant(self, Path(target)):
            die()
        return replace(self, target)

    PATCH.setattr(Path, "replace", watched)


def main(path: Path, moment: str, settings: dict[str, Any]) -> None:
    kind, *words = moment.split()
    names = [phase["name"] for phase in settings["phases"]]
    where = (words[0], int(words[1]), int(words[2])) if len(words) >= 3 else ("", 0, 0)

    def is_file(source: Path, target: Path) -> bool:
        if len(words) == 1:
            return target.name == words[0]
        if target.name != checkpoint.LAST:
            return False
        with safe_open(source, framework="pt") as file:
            return is_checkpoint_of(file.metadata(), names, where)

    if kind == "batch":
        before_batch(*where, time=int(words[3]) if len(words) == 4 else 1)
    elif kind == "save":
        half_saved(names, where)
    elif kind == "rename":
        before_rename(is_file)
    elif kind == "judge":
        PATCH.setattr(write, "save_bundle", lambda *_, **named: die())
    else:
        raise SystemExit(f"no moment {moment}")
    assert vars(run)["train_epoch"] is loop.train_epoch
    fit.fit(settings, out=path)


if __name__ == "__main__":
    kinds = {"": SETTINGS, "folds": FOLDS}
    given = "".join(sys.argv[3:])
    main(Path(sys.argv[1]), sys.argv[2], kinds[given] if given in kinds else transfer(Path(given)))
