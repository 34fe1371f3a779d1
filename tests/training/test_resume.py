"""A run that was stopped, in whatever way, ends with the weights it would have had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.training.killed_run import SETTINGS, transfer

from linnaeus.config.pages import overlay
from linnaeus.data.loader import ImageStore
from linnaeus.errors import CheckpointError, DataError, Interrupted, OutputError
from linnaeus.run import fit
from linnaeus.run.finished import Run
from linnaeus.run_folder import RunDir
from linnaeus.training import loop, run

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def cache_for_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(cache_for_all: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(cache_for_all))


def weights(path: Path) -> bytes:
    return (RunDir(path).model / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, cache_for_all: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINNAEUS_CACHE", str(cache_for_all))
        return fit.fit(SETTINGS, out=tmp_path_factory.mktemp("runs") / "whole").path


@pytest.mark.parametrize(
    "moment",
    [
        "batch one 1 5",
        "batch one 2 1",
        "save one 1 4",
        "rename one 1 7",
        "rename one 2 0",
        "rename best-1.safetensors",
        "rename history.csv",
        "judge",
    ],
)
def test_kill_9_at_any_moment_costs_nothing_but_time(moment: str, uninterrupted: Path, tmp_path: Path) -> None:
    path = tmp_path / "killed"
    command = [sys.executable, str(HERE / "killed_run.py"), str(path), moment]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not RunDir(path).report.exists()
    fit.resume(path)
    assert weights(path) == weights(uninterrupted)
    deterministic = ["epoch", "lr", "train_loss", "train_accuracy", "validation_loss", "kept"]
    ours, theirs = Run(path).history, Run(uninterrupted).history
    assert ours[deterministic].equals(theirs[deterministic])
    assert Run(path).evaluation.test == Run(uninterrupted).evaluation.test


@pytest.fixture(scope="module")
def backbone_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "resnet10t.safetensors"
    save_file(timm.create_model("resnet10t", num_classes=0).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def uninterrupted_phases(
    tmp_path_factory: pytest.TempPathFactory, backbone_weights: Path, cache_for_all: Path
) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINNAEUS_CACHE", str(cache_for_all))
        yield fit.fit(transfer(backbone_weights), out=tmp_path_factory.mktemp("runs") / "phases").path


@pytest.mark.parametrize(
    "moment",
    [
        "batch head 1 4",
        "batch head 3 1",
        "batch top 1 1",
        "batch all 2 3",
        "rename top 1 0",
        "rename all 1 5",
        "judge",
    ],
)
def test_kill_9_in_any_phase_costs_nothing_but_time(
    moment: str, uninterrupted_phases: Path, backbone_weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "killed"
    command = [sys.executable, str(HERE / "killed_run.py"), str(path), moment, str(backbone_weights)]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    fit.resume(path)
    assert weights(path) == weights(uninterrupted_phases)
    deterministic = ["epoch", "phase", "lr", "train_loss", "validation_loss", "kept"]
    ours, theirs = Run(path).history, Run(uninterrupted_phases).history
    assert ours[deterministic].equals(theirs[deterministic])
    assert ours["phase"].tolist() == ["head"] * 3 + ["top"] + ["all"] * 2


def test_another_seed_gives_other_weights(uninterrupted: Path, tmp_path: Path) -> None:
    other = fit.fit(overlay(SETTINGS, {"seed": 1}), out=tmp_path / "other")
    assert weights(other.path) != weights(uninterrupted)


def stop_after(batches: int, monkeypatch: pytest.MonkeyPatch, number: signal.Signals = signal.SIGINT) -> None:
    """The signal arrives during the given batch."""
    train_batch, calls = loop.train_batch, iter(range(1, 10**6))

    def counted(*arguments: object) -> None:
        train_batch(*arguments)  # type: ignore[arg-type]
        if next(calls) == batches:
            signal.raise_signal(number)

    monkeypatch.setattr(loop, "train_batch", counted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_save_and_say_how_to_go_on(
    number: signal.Signals, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        stop_after(7, patch, number)
        with pytest.raises(Interrupted, match=rf"linnaeus resume {path}"):
            fit.fit(SETTINGS, out=path)
    resumed_batches = []
    batches = ImageStore.batches

    def watched(self: ImageStore, rows: object, **named: object) -> object:
        resumed_batches.append(named.get("first_batch"))
        return batches(self, rows, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageStore, "batches", watched)
    fit.resume(path)
    assert resumed_batches[0] == 7, "it went on in the middle of the epoch"
    assert weights(path) == weights(uninterrupted)


def test_muon_and_micro_batches_resume_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = overlay(SETTINGS, {"model": {"name": "speed_cnn", "options": {"widths": [8, 16, 16]}}})
    settings["phases"] = [
        {"name": "one", "optimizer": "muon", "lr": 0.2, "batch_size": 64, "micro_batch_size": 20, "epochs": 2},
        {"name": "two", "optimizer": "sgd", "lr": 0.01, "batch_size": 64, "epochs": 1},
    ]
    whole = fit.fit(settings, out=tmp_path / "whole")
    for number, batches in enumerate((3, 12, 17)):
        path = tmp_path / f"stopped{number}"
        with monkeypatch.context() as patch:
            stop_after(batches, patch)
            with pytest.raises(Interrupted):
                fit.fit(settings, out=path)
        fit.resume(path)
        assert weights(path) == weights(whole.path)


def test_plateaus_balancing_and_rmsprop_resume_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far too high a rate, so that the validation loss rises and the plateau has something to remember."""
    settings = overlay(SETTINGS, {"data": {"balance": "oversample", "oversample_factor": 1.5}})
    shared = {"batch_size": 128, "monitor": "last", "schedule": "plateau", "lr_decay_epochs": 1}
    settings["phases"] = [
        {"name": "one", "optimizer": "rmsprop", "lr": 0.03, "epochs": 1, **shared},
        {"name": "two", "optimizer": "sgd", "lr": 0.5, "epochs": 4, **shared},
    ]
    whole = fit.fit(settings, out=tmp_path / "whole")
    rates = Run(whole.path).history["lr"]
    assert rates[0] == 0.03 and rates[1] == 0.5, "the second phase begins anew"
    assert rates.iloc[-1] < 0.1
    for number, batches in enumerate((2, 8, 17, 23)):
        path = tmp_path / f"stopped{number}"
        with monkeypatch.context() as patch:
            stop_after(batches, patch)
            with pytest.raises(Interrupted):
                fit.fit(settings, out=path)
        fit.resume(path)
        assert weights(path) == weights(whole.path)
        assert Run(path).history["lr"].equals(rates)


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        with pytest.raises(Interrupted):
            fit.fit(SETTINGS, out=tmp_path / "stopped")
    return RunDir(tmp_path / "stopped")


def test_a_checkpoint_of_another_config_is_refused(stopped: RunDir) -> None:
    stopped.config.write_text(stopped.config.read_text().replace("batch_size: 32", "batch_size: 16"))
    with pytest.raises(CheckpointError, match="another configuration"):
        fit.resume(stopped.path)


@pytest.mark.parametrize("position", [3, 5000, -1])
def test_a_flipped_byte_in_a_checkpoint_is_noticed(stopped: RunDir, position: int) -> None:
    file = stopped.checkpoints / "last.safetensors"
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.safetensors"):
        fit.resume(stopped.path)


def test_changed_images_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image of a folder is painted over between the stop and going on; the others can go on."""
    generator, photos = np.random.default_rng(0), tmp_path / "photos"
    for k in range(120):
        (photos / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        image.save(photos / "ab"[k % 2] / f"{k}.png")
    settings = overlay(SETTINGS, {"data": {"source": str(photos), "test_fraction": 0.2}})
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(Interrupted):
            fit.fit(settings, out=tmp_path / "run")
    kept = (photos / "a" / "4.png").read_bytes()
    times = (photos / "a" / "4.png").stat()
    Image.new("RGB", (9, 8), "red").save(photos / "a" / "4.png")
    with pytest.raises(DataError, match="have changed"):
        fit.resume(tmp_path / "run")
    (photos / "a" / "4.png").write_bytes(kept)
    os.utime(photos / "a" / "4.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fit.resume(tmp_path / "run").report.exists()


def test_a_full_disk_leaves_the_last_checkpoint_intact(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from safetensors.torch import save_file

    from linnaeus.training import checkpoint

    calls = iter(range(1, 10**6))

    def full(tensors: Any, path: Path, metadata: Any = None) -> None:
        if next(calls) == 5:
            path.write_bytes(b"as much as there was room for")
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path, metadata=metadata)

    path = tmp_path / "full"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(OutputError, match="disk is full"):
            fit.fit(SETTINGS, out=path)
    assert not list(path.rglob("*.part"))
    fit.resume(path)
    assert weights(path) == weights(uninterrupted)


def test_a_finished_run_is_not_trained_again(uninterrupted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "train_epoch", lambda *_: pytest.fail("trained again"))
    assert fit.resume(uninterrupted).path == uninterrupted
