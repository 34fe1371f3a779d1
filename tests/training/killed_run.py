"""Run by test_resume.py in a process of its own: a training that kills itself with SIGKILL at a chosen moment.

Usage: python killed_run.py RUN_DIR MOMENT [WEIGHTS|folds], where MOMENT is `batch:N` (before the N-th batch), `save:N`
(half of the N-th checkpoint written), `rename:N` (written but not yet in its place) or `judge` (after training, before
the report).
With WEIGHTS, a file for resnet10t, it trains in phases on that backbone; with `folds`, three times without a third.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def die_at_call(number: int, function: Callable[..., Any], last_words: Callable[..., None] | None = None) -> Any:
    calls = 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            if last_words is not None:
                last_words(*arguments)
            die()
        return function(*arguments, **named)

    return counted


def half_a_file(tensors: Any, path: Path, *_: Any) -> None:
    Path(path).write_bytes(b"half of a checkpoint")


def main(path: Path, moment: str, settings: dict[str, Any]) -> None:
    kind, _, number = moment.partition(":")
    if kind == "batch":
        loop.train_batch = die_at_call(int(number), loop.train_batch)
    elif kind == "save":
        checkpoint.save_file = die_at_call(int(number), checkpoint.save_file, half_a_file)
    elif kind == "rename":
        Path.replace = die_at_call(int(number), Path.replace)  # type: ignore[method-assign]
    elif kind == "judge":
        write.save_bundle = die_at_call(1, write.save_bundle)
    else:
        raise SystemExit(f"no moment {moment}")
    assert run.train_epoch is loop.train_epoch
    fit.fit(settings, out=path)


if __name__ == "__main__":
    kinds = {"": SETTINGS, "folds": FOLDS}
    given = "".join(sys.argv[3:])
    main(Path(sys.argv[1]), sys.argv[2], kinds[given] if given in kinds else transfer(Path(given)))
