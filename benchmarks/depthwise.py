"""Claim: fine-tuning networks with depthwise convolutions on a processor, 1.3 times as fast as plain bfloat16 autocast.

    python benchmarks/depthwise.py

One step (forward, cross-entropy, backward) of timm's network with random weights and frozen batch norm on a batch of
224 px, channels-last, bfloat16 autocast; ours (`FastDepthwiseGradients`, as in the training loop) and plain torch in
alternation. Prints images per second of processor time, which other processes disturb less than the clock, as medians,
and the ratio round by round. No claim for networks without depthwise convolutions, whose steps are the same.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import nullcontext

import timm
import torch
from torch import nn

from linnaeus.machine import keep_freed_memory
from linnaeus.training.depthwise import FastDepthwiseGradients

NETWORKS = ("tf_efficientnet_lite0", "mobilenetv2_100", "convnext_atto")
SIZE_PX = 224


def build(name: str) -> nn.Module:
    model = timm.create_model(name, num_classes=10).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model.to(memory_format=torch.channels_last)


def images_per_second(model: nn.Module, images: torch.Tensor, targets: torch.Tensor, *, fast: bool) -> float:
    clock = time.process_time()
    with torch.autocast("cpu", torch.bfloat16), FastDepthwiseGradients() if fast else nullcontext():
        loss = nn.functional.cross_entropy(model(images), targets)
    loss.backward()
    return len(images) / (time.process_time() - clock)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    images = torch.randn(arguments.batch_size, 3, SIZE_PX, SIZE_PX).to(memory_format=torch.channels_last)
    targets = torch.randint(0, 10, (arguments.batch_size,))
    print(
        f"{torch.get_num_threads()} threads, {arguments.rounds} rounds after one to warm up, images/s of processor time"
    )
    for name in NETWORKS:
        model = build(name)
        rounds = [
            [images_per_second(model, images, targets, fast=fast) for fast in (True, False)]
            for _ in range(arguments.rounds + 1)
        ][1:]
        ours, plain = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratios = [ours_once / plain_once for ours_once, plain_once in rounds]
        print(
            f"{name:24} ours {ours:5.1f}  plain {plain:5.1f}  ratio {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f}-{max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
