"""Whether all of it works on a GPU, in one command and under five minutes, for whoever has one.

    LINNAEUS_DATA=FOLDER python benchmarks/gpu_check.py                 on a CUDA device
    LINNAEUS_DATA=FOLDER python benchmarks/gpu_check.py --device cpu    the small part alone, to test this script

FOLDER holds cifar10/ and clothing/ (folders of class folders) and weights/tf_efficientnet_lite0.safetensors.

    small    digits, two epochs of every 20th image of CIFAR-10, and, of every 20th photo of clothing, a head on frozen
             features and an epoch of fine-tuning: on the processor, and on the device, with scores side by side
    full     the last two with all images, on the device only
    resume   digits stopped in the middle and gone on with: how far logits are from those of a run that was not stopped
    predict  the finished model on files, against what the run said of the same images

`images/s` is training by the last epoch's history; `waits` is how often a step made the host wait for the device, by
torch.cuda.set_sync_debug_mode, the most of any step after the first ten.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import linnaeus
from linnaeus.data.manifest import TEST, TRAIN
from linnaeus.data.sources import read_source
from linnaeus.errors import Interrupted
from linnaeus.run import fit
from linnaeus.run.finished import Run
from linnaeus.training import loop

STRIDE = 20
BACKBONE, FINETUNED = "tf_efficientnet_lite0", "clothing, fine-tuned"
_SETTLED_STEPS = 10
"""cuDNN tries its algorithms, and memory is laid out, in the first steps."""


@dataclass(frozen=True)
class Row:
    """One training; `waits` is None on a processor."""

    name: str
    device: str
    num_images: int
    accuracy: float
    images_per_second: float
    waits: int | None
    seconds: float


@contextmanager
def counted_waits(device: str) -> Iterator[list[int]]:
    """Within the block, how often each training step made the host wait for a CUDA device."""
    plain, waits = loop.train_batch, []

    def watched(*arguments: Any) -> None:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                plain(*arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits.append(sum("synchronizing" in str(warning.message) for warning in heard))

    if device == "cuda":
        loop.train_batch = watched  # type: ignore[assignment]
    try:
        yield waits
    finally:
        loop.train_batch = plain


def train(
    name: str, source: str, recipe: str, settings: dict[str, Any], *, out: Path, device: str, stride: int, epochs: float
) -> Row:
    """Train in a folder below `out`, on every `stride`-th image."""
    clock = time.perf_counter()
    manifest = read_source(source)
    manifest = manifest.take(np.arange(0, len(manifest), stride)) if stride > 1 else manifest
    shared = {"runtime": {"device": device}, "evaluate": {"explained_errors": 0, "bootstrap_samples": 100}}
    folder = run_folder(out, name, device, stride)
    with counted_waits(device) as waits:
        run = fit.fit({**settings, **shared}, recipe=recipe, epochs=epochs, manifest=manifest, out=folder)
    seconds = time.perf_counter() - clock
    test, speed = run.predictions.of_split(TEST), run.history["images_per_second"].iloc[-1]
    accuracy = float((test.predicted == test.targets).mean())
    settled = waits[_SETTLED_STEPS:]
    return Row(name, device, len(manifest), accuracy, float(speed), max(settled) if settled else None, seconds)


def run_folder(out: Path, name: str, device: str, stride: int) -> Path:
    """Where a training is kept."""
    return out / f"{name}-{device}-{stride}".replace(" ", "-").replace(",", "")


def trainings(data: Path, out: Path, device: str, *, small: bool) -> Iterator[Row]:
    """The rows of one device, of the small part or of the full one."""
    stride = STRIDE if small else 1
    where: dict[str, Any] = {"out": out, "device": device}
    cifar, clothing = str(data / "cifar10"), str(data / "clothing")
    frozen = {
        "model": {"name": BACKBONE, "weights": str(data / "weights")},
        "image": {"size": 96 if small else 224},
        "data": {"out_of_fold": 0},
    }
    if small:
        yield train("digits", "digits", "best-scratch-small", {}, stride=1, epochs=5, **where)
    yield train("CIFAR-10", cifar, "best-scratch-small", {}, stride=stride, epochs=2, **where)
    yield train("clothing, head", clothing, "best-frozen", frozen, stride=stride, epochs=1, **where)
    yield train(FINETUNED, clothing, "best-transfer", frozen, stride=stride, epochs=1, **where)


class StopAfter:
    """A Progress that asks for an end, as Ctrl-C does, after so many batches of training."""

    def __init__(self, num_batches: int) -> None:
        self.left = num_batches

    def say(self, message: str) -> None:
        """Nobody listens."""

    def log_to(self, path: Path) -> None:
        """Nothing is kept."""

    @contextmanager
    def task(self, description: str, *, total: int, unit: str) -> Iterator[StopAfter]:
        """Training's tasks are told by their names, which are those of its phases."""
        self.training = description.startswith("scratch")
        yield self

    def advance(self, count: int = 1, *, status: str = "") -> None:
        """Called once per batch, and once before the first."""
        if self.training and count:
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGINT)


def resumed_differently(out: Path, device: str) -> float:
    """The largest difference of a logit between a run that was stopped in its second epoch and one that was not."""
    settings: dict[str, Any] = {
        "augment": {"rotate_degrees": 10, "noise": 0.05, "mixup": 0.2},
        "runtime": {"device": device},
    }
    whole = fit.fit(settings, recipe="best-scratch-small", epochs=3, out=out / "whole")
    steps = round(len(whole.manifest.rows(TRAIN)) / int(whole.config.phases[0].batch_size))
    try:
        progress = StopAfter(steps + max(1, steps // 2))
        fit.fit(settings, recipe="best-scratch-small", epochs=3, out=out / "stopped", progress=progress)
    except Interrupted:
        gone_on: Run = fit.resume(out / "stopped")
    else:
        raise SystemExit("The run was over before it could be stopped.")
    return float(np.abs(gone_on.predictions.logits - whole.predictions.logits).max())


def predicted_differently(data: Path, out: Path, device: str, stride: int) -> tuple[int, int]:
    """(files of the test split that `load(...).predict` answers otherwise than the run did, of how many)."""
    folder = run_folder(out, FINETUNED, device, stride)
    run = Run(folder)
    test = run.predictions.of_split(TEST)
    rows = run.manifest.rows(TEST)
    files = [run.manifest.uris[int(row)].as_py() for row in rows]
    table = linnaeus.load(folder, device=device).predict(files)
    said = np.array(test.classes, dtype=object)[test.predicted]
    return int((table["label"].to_numpy() != said).sum()), len(files)


def main() -> None:
    """Run everything and print it as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--data", type=Path, default=os.environ.get("LINNAEUS_DATA"))
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    if arguments.data is None:
        raise SystemExit("Name the folder of data with --data or LINNAEUS_DATA.")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch finds no CUDA device here. Try --device cpu, which tests this script alone.")
    data, clock, rows = Path(arguments.data), time.perf_counter(), []
    gpu = arguments.device == "cuda"
    print(f"{torch.cuda.get_device_name() if gpu else 'processor only'}, torch {torch.__version__}")
    print(f"{'training':22}{'device':>7}{'images':>8}{'test':>8}{'images/s':>10}{'waits':>7}{'seconds':>9}")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        os.environ["LINNAEUS_CACHE"] = str(out / "cache")
        parts = [("cpu", True), ("cuda", True), ("cuda", False)] if gpu else [("cpu", True)]
        for device, small in parts:
            for row in trainings(data, out, device, small=small):
                waits = "-" if row.waits is None else str(row.waits)
                print(
                    f"{row.name:22}{row.device:>7}{row.num_images:>8,}{row.accuracy:>8.1%}"
                    f"{row.images_per_second:>10,.0f}{waits:>7}{row.seconds:>9.1f}",
                    flush=True,
                )
                rows.append(row)
        difference = resumed_differently(out, arguments.device)
        print(f"resumed: logits differ by {difference:g} at most")
        wrong, of = predicted_differently(data, out, arguments.device, 1 if gpu else STRIDE)
        print(f"predicted from files: {wrong} of {of} test images otherwise than in the run")
    seconds = time.perf_counter() - clock
    print(f"{seconds:.0f} seconds in all")
    if arguments.out is not None:
        facts = {
            "rows": [asdict(row) for row in rows],
            "resumed_logits_differ_by": difference,
            "predicted_differently": wrong,
            "predicted": of,
            "seconds": seconds,
        }
        arguments.out.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
