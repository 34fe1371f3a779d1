"""Run by test_several_processes.py: a training by several processes, started, or gone on with.

Usage: python several_processes.py RUN_DIR PROCESSES [kill], or RUN_DIR resume. With `kill` the last process ends itself
by SIGKILL in the middle of the second epoch.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from linnaeus.run import fit
from linnaeus.training import loop

SETTINGS: dict[str, Any] = {
    "data": {"source": "digits", "test_fraction": 0.7},
    "image": {"size": 8},
    "augment": {"flip": "none", "alternate_flip": False, "pad_crop_px": 0},
    "model": {"name": "relu_cnn", "options": {"channels": [8, 16], "dropout": 0.0}},
    "phases": [{"name": "one", "optimizer": "sgd", "lr": 0.05, "batch_size": 32, "epochs": 3, "schedule": "cosine"}],
    "evaluate": {"bootstrap_samples": 100, "explained_errors": 0},
    "runtime": {"threads": 1, "device": "cpu", "precision": "32", "checkpoint_seconds": 1e-6, "log_every_steps": 3},
    "time_limit_seconds": 3600.0,
}


def kill_in_second_epoch() -> None:
    """Of the process with the highest rank; the others are left waiting for it."""
    train_batch = loop.train_batch

    def until(state: Any, job: Any, *others: Any) -> None:
        last = job.runtime.fabric.global_rank == job.runtime.num_processes - 1
        if last and state.position.epoch == 1 and state.position.batch == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        train_batch(state, job, *others)

    pytest.MonkeyPatch().setattr(loop, "train_batch", until)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    if sys.argv[2] == "resume":
        fit.resume(path)
    else:
        if sys.argv[3:] == ["kill"]:
            kill_in_second_epoch()
        runtime = {**SETTINGS["runtime"], "devices": int(sys.argv[2])}
        fit.fit({**SETTINGS, "runtime": runtime}, out=path)
