"""Claim: computing features costs no more than a tenth over a bare loop of `model(x)` on batches that lie ready.

    python benchmarks/extraction.py

The same tf_efficientnet_lite0 (random weights, which does not change the time), the same batches, the same autocast and
memory layout, the same processor, one after the other in turn, in one process:

    ours    `extract_features`: pixels from the memory-mapped cache, normalized on the way, features written to disk
    bare    `model(x)` on float batches that were normalized beforehand and are in memory, their results thrown away

Both are repeated `--rounds` times, alternating which goes first; the ratios are those of the medians, of time on the
clock and of processor time. The second is what a machine that does other work too can be asked; the first is the claim.
docs/benchmarks.md has what was measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from linnaeus.config.resolved import ResolvedImage
from linnaeus.data.cache.images import open_cache
from linnaeus.data.image_spec import spec_from_config
from linnaeus.data.loader import ImageStore
from linnaeus.data.sources import read_source
from linnaeus.machine import choose_precision, keep_freed_memory
from linnaeus.models import build_classifier
from linnaeus.progress import SILENT
from linnaeus.training.features import extract_features

GOAL = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LINNAEUS_CACHE"] = folder
        ours, bare = prepare(arguments)
        ours(-1)
        bare(-1)
        clocks = {"wall": time.perf_counter, "processor": time.process_time}
        seconds: dict[tuple[str, str], list[float]] = {(c, name): [] for c in clocks for name in ("ours", "bare")}
        for number in range(arguments.rounds):
            for name in ("ours", "bare") if number % 2 else ("bare", "ours"):
                start = {kind: clock() for kind, clock in clocks.items()}
                (ours if name == "ours" else bare)(number)
                for kind, clock in clocks.items():
                    seconds[kind, name].append(clock() - start[kind])
    rates = {key: arguments.images / statistics.median(values) for key, values in seconds.items()}
    for (kind, name), values in seconds.items():
        spread = f"{arguments.images / max(values):.1f}-{arguments.images / min(values):.1f}"
        rate = f"{rates[kind, name]:7.1f} images/s"
        print(f"{kind:9}  {name}  {rate}, median of {arguments.rounds} rounds ({spread})")
    for kind in clocks:
        ratio = rates[kind, "ours"] / rates[kind, "bare"]
        met = "MET" if ratio >= GOAL else "NOT MET"
        print(f"{met} by {kind} time: {ratio:.1%} of the bare loop; at least {GOAL:.0%} asked")


def prepare(arguments: argparse.Namespace) -> tuple[Callable[[int], object], Callable[[int], object]]:
    """Ours and the bare loop, each taking the number of the round (ours must not find the last round's features)."""
    manifest = read_source("digits")
    manifest = manifest.take(np.arange(arguments.images))
    spec = spec_from_config(
        ResolvedImage(size=arguments.size, normalize="half"), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )
    cache = open_cache(manifest, spec, threads=0, progress=SILENT)
    store = ImageStore(cache, manifest, torch.device("cpu"))
    classifier = build_classifier(arguments.backbone, num_classes=10, image_size=arguments.size, options={})
    classifier.eval().to(memory_format=torch.channels_last)
    in_bfloat16 = choose_precision("auto", "cpu")[0] == "bf16"
    rows = np.arange(arguments.images)
    batches = [
        spec.normalize(batch.images).contiguous(memory_format=torch.channels_last)
        for batch in store.batches(rows, batch_size=arguments.batch_size)
    ]

    def autocast() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16)

    def ours(number: int) -> None:
        extract_features(
            classifier,
            store,
            train_rows=rows,
            other_rows=rows[:0],
            spec=spec,
            autocast=autocast,
            batch_size=arguments.batch_size,
            views=1,
            seed=number,
        )
        for folder in Path(os.environ["LINNAEUS_CACHE"]).glob("features-*/"):
            shutil.rmtree(folder)

    def bare(number: int) -> None:
        with torch.inference_mode(), autocast():
            for batch in batches:
                classifier.backbone(batch)

    return ours, bare


if __name__ == "__main__":
    main()
