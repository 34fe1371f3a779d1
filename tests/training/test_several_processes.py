"""Two processes on a processor train, validate, die, and go on as one process does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.training.several_processes import SETTINGS

from linnaeus.predictions import Predictions
from linnaeus.run import fit
from linnaeus.run_folder import RunDir
from linnaeus.training.runtime import Runtime

SCRIPT = Path(__file__).with_name("several_processes.py")


def start(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Long enough for a busy machine; a training that hangs is an error all the same."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=500)


def test_two_processes_agree_with_one_though_one_of_them_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a time limit, for which the main process measures alone. Together they see the batches of the one, so only
    the order of sums differs: logits by less than a thousandth.
    """
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    alone = RunDir(fit.fit(SETTINGS, out=tmp_path / "alone").path)
    killed = start(tmp_path / "two", 2, "kill")
    two = RunDir(tmp_path / "two")
    assert killed.returncode != 0 and not two.report.exists(), killed.stderr
    assert len(pd.read_csv(two.history)) == 1, "it was in its second epoch"
    resumed = start(two.path, "resume")
    assert resumed.returncode == 0, resumed.stderr

    history, expected = pd.read_csv(two.history), pd.read_csv(alone.history)
    assert len(history) == 3 and history["epoch"].tolist() == [1, 2, 3]
    for column in ("lr", "train_loss", "validation_loss"):
        np.testing.assert_allclose(history[column], expected[column], rtol=1e-4)
    ours, theirs = Predictions.load(two.predictions), Predictions.load(alone.predictions)
    assert ours.ids.equals(theirs.ids)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-3)


@pytest.mark.parametrize(("num_rows", "world_size"), [(7, 2), (6, 3), (1, 4), (10, 1)])
def test_fractions_are_equally_long_and_join_in_the_order_of_the_rows(
    num_rows: int, world_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 10 * np.arange(num_rows)
    runtimes = [
        Runtime(
            SimpleNamespace(world_size=world_size, global_rank=rank, is_global_zero=rank == 0),  # type: ignore[arg-type]
            torch.device("cpu"),
            "32",
            "",
        )
        for rank in range(world_size)
    ]
    shards = [runtime.own_rows(rows) for runtime in runtimes]
    assert len({len(shard) for shard in shards}) == 1
    logits = [np.stack([shard, shard + 1], axis=1).astype(np.float32) for shard in shards]

    def all_gather(parts: list[torch.Tensor], own: torch.Tensor) -> None:
        for part, values in zip(parts, logits, strict=True):
            part.copy_(torch.from_numpy(values))

    monkeypatch.setattr(torch.distributed, "all_gather", all_gather)
    for runtime, values in zip(runtimes, logits, strict=True):
        joined = runtime.gather_rows(values, num_rows=num_rows)
        assert joined.tolist() == [[float(row), float(row + 1)] for row in rows]


Said = tuple[bool, Any]


class Fabric:
    """Of the main process of two, or of the other one; `broadcast` gives what the main process says."""

    world_size = 2

    def __init__(self, *, main: bool, said: Said | None = None) -> None:
        self.is_global_zero = main
        self.said = said
        self.told: list[Said] = []

    def broadcast(self, value: Said) -> Said:
        self.told.append(value)
        return value if self.said is None else self.said


def test_where_the_main_process_fails_the_others_end_without_a_word() -> None:
    def runtime(fabric: Fabric) -> Runtime:
        return Runtime(fabric, torch.device("cpu"), "32", "")  # type: ignore[arg-type]

    def fail() -> str:
        raise ValueError("no such folder")

    main = Fabric(main=True)
    with pytest.raises(ValueError, match="no such folder"):
        runtime(main).on_main(fail)
    assert main.told == [(False, None)]
    with pytest.raises(SystemExit) as ended:
        runtime(Fabric(main=False, said=(False, None))).on_main(fail)
    assert ended.value.code == 0, "another code would make the main process be killed before it has said why"
    assert runtime(Fabric(main=False, said=(True, "run"))).on_main(fail) == "run", "it does nothing itself"
    main = Fabric(main=True)
    assert runtime(main).on_main(lambda: "run") == "run" and main.told == [(True, "run")]


def test_processes_wait_for_each_other_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The main process may decode a million images, or judge, while the others stand at a barrier."""
    from linnaeus.config.settings import RuntimeConfig
    from linnaeus.training import runtime

    made: list[dict[str, Any]] = []

    def fabric(**settings: Any) -> SimpleNamespace:
        made.append(settings)
        return SimpleNamespace(launch=lambda: None, device=torch.device("cpu"))

    monkeypatch.setattr(runtime, "Fabric", fabric)
    runtime.start_runtime(RuntimeConfig(device="cpu", devices=2, threads=1))
    assert made[0]["strategy"]._timeout.total_seconds() >= 24 * 3600
