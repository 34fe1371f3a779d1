"""Claim: from a folder to an evaluated classifier on a frozen backbone, 8 times as fast as running it in every epoch.

    LINNAEUS_DATA=... python benchmarks/frozen_backbone.py

The same photos (clothing), the same tf_efficientnet_lite0 with the same weights, stretched to the same size, the same
processor, one after the other in one go:

    ours      `linnaeus train DATA --recipe best-frozen --backbone tf_efficientnet_lite0`: the folder is
              read, looked through and decoded, features computed once, a linear head found, tested, a report written
    peer      plain torch: ImageFolder and a DataLoader with 2 worker processes, the frozen backbone run on every image
              in every one of 10 epochs (evaluation mode, no gradients, the same autocast), a linear layer trained on
              its output by Adam 1e-3 with batches of 64, validated after every epoch, the best epoch tested

Nothing is cached before: ours begins with an empty cache folder. Both clocks start at the folder and stop at the test
accuracy; importing Python's packages is outside both. The peer's epochs are equally long, so `--peer-epochs 2` measures
some and multiplies; the accuracy is then that of fewer epochs, and the page says so.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from linnaeus.machine import choose_precision, keep_freed_memory
from linnaeus.run.fit import fit

BACKBONE, EPOCHS, BATCH_SIZE, NUM_WORKERS, GOAL = "tf_efficientnet_lite0", 10, 64, 2, 8.0


def ours(data: Path, weights: Path, size: int) -> tuple[float, float]:
    """(seconds, test accuracy)."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LINNAEUS_CACHE"] = f"{folder}/cache"
        clock = time.perf_counter()
        settings = {
            "data": {"source": str(data)},
            "image": {"size": size},
            "model": {"name": BACKBONE, "weights": str(weights)},
        }
        run = fit(settings, recipe="best-frozen", out=Path(folder) / "run")
        seconds = time.perf_counter() - clock
        return seconds, run.evaluation.test.score("accuracy").value


def peer(data: Path, weights: Path, size: int, epochs: int) -> tuple[float, float, float]:
    """(seconds but for the epochs, seconds per epoch, test accuracy)."""
    start = time.perf_counter()
    mean = std = [0.5, 0.5, 0.5]
    transforms = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize((size, size), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )
    sets = {name: ImageFolder(str(data / name), transforms) for name in ("train", "validation", "test")}
    loaders = {
        name: DataLoader(images, BATCH_SIZE, shuffle=name == "train", num_workers=NUM_WORKERS)
        for name, images in sets.items()
    }
    backbone: Any = timm.create_model(BACKBONE, num_classes=0)
    backbone.load_state_dict(
        {k: v.float() for k, v in load_file(weights / f"{BACKBONE}.safetensors").items()}, strict=False
    )
    backbone.eval().to(memory_format=torch.channels_last)
    torch.manual_seed(0)
    head = nn.Linear(backbone.num_features, len(sets["train"].classes))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=choose_precision("auto", "cpu")[0] == "bf16")

    def features(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), autocast:
            found: torch.Tensor = backbone(images.contiguous(memory_format=torch.channels_last)).float()
        return found

    def accuracy(name: str) -> float:
        right = sum(int((head(features(images)).argmax(1) == targets).sum()) for images, targets in loaders[name])
        return right / len(sets[name])

    spent, best = [], (-1.0, head.state_dict())
    for _ in range(epochs):
        clock = time.perf_counter()
        for images, targets in loaders["train"]:
            loss = nn.functional.cross_entropy(head(features(images)), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        score = accuracy("validation")
        if score > best[0]:
            best = (score, {key: value.clone() for key, value in head.state_dict().items()})
        spent.append(time.perf_counter() - clock)
    head.load_state_dict(best[1])
    tested = accuracy("test")
    return time.perf_counter() - start - sum(spent), sum(spent) / len(spent), tested


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="train/, validation/ and test/; default $LINNAEUS_DATA/clothing")
    parser.add_argument("--weights", type=Path, help="default $LINNAEUS_DATA/weights")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--peer-epochs", type=int, default=EPOCHS)
    arguments = parser.parse_args()
    root = Path(os.environ.get("LINNAEUS_DATA", "."))
    data, weights = (arguments.data or root / "clothing").resolve(), (arguments.weights or root / "weights").resolve()
    keep_freed_memory()
    own_seconds, own_accuracy = ours(data, weights, arguments.size)
    print(f"ours  {own_seconds:7.1f} s, test accuracy {own_accuracy:.2%}", flush=True)
    rest, per_epoch, accuracy = peer(data, weights, arguments.size, arguments.peer_epochs)
    seconds = rest + EPOCHS * per_epoch
    how = "" if arguments.peer_epochs == EPOCHS else f", from {arguments.peer_epochs} epochs of {per_epoch:.1f} s"
    print(
        f"peer  {seconds:7.1f} s for {EPOCHS} epochs{how}, test accuracy {accuracy:.2%} after {arguments.peer_epochs}"
    )
    ratio = seconds / own_seconds
    met = ratio >= GOAL and own_accuracy >= accuracy
    print(f"{'MET' if met else 'NOT MET'}: {ratio:.1f} times as fast; at least {GOAL:.0f} and no lower accuracy asked")


if __name__ == "__main__":
    main()
