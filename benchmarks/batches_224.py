"""Claim: augmented training batches at 224 pixels come at least 5 times as fast as from a torch DataLoader.

    LINNAEUS_DATA=... python benchmarks/batches_224.py

The same images, the same work (mirror, rotate by up to 15 degrees, zoom by up to a tenth, brightness, contrast and
saturation by up to a fifth, normalize; float32 channels-last batches), the same processor, turn by turn:

    ours      the cache of decoded pixels, whole batches augmented in this process
    files     DataLoader, 2 worker processes: decode the JPEG file, resize, torchvision v2 transforms
    arrays    the same DataLoader, but its images are decoded and resized already: the peer without its decoder

A pass goes over `--images` images once; workers and caches are warmed up before the clock starts. Printed: images per
second as the median of the rounds with the range, and ours over each peer as the median of the ratios within rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import InterpolationMode, v2

from linnaeus.augment import augment_batch
from linnaeus.config.resolved import ResolvedAugment
from linnaeus.data.cache.images import open_cache
from linnaeus.data.image_spec import IMAGENET_MEAN, IMAGENET_STD, ImageSpec
from linnaeus.data.loader import ImageStore
from linnaeus.data.sources import read_source
from linnaeus.machine import keep_freed_memory

SIZE, DEGREES, ZOOM, JITTER = 224, 15.0, 0.1, 0.2
NUM_WORKERS = 2

CONFIG = ResolvedAugment(
    flip="horizontal",
    pad_crop_px=0,
    rotate_degrees=DEGREES,
    zoom=ZOOM,
    fill="zeros",
    brightness=JITTER,
    contrast=JITTER,
    saturation=JITTER,
)
SPEC = ImageSpec(SIZE, SIZE, mean=IMAGENET_MEAN, std=IMAGENET_STD)
Batches = Callable[[], Iterator[torch.Tensor]]


def reference_transforms(*, resize: bool) -> v2.Compose:
    steps = [
        v2.RandomHorizontalFlip(),
        v2.RandomAffine(DEGREES, scale=(1 - ZOOM, 1 + ZOOM), interpolation=InterpolationMode.BILINEAR),
        v2.ColorJitter(JITTER, JITTER, JITTER),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
    return v2.Compose([v2.Resize((SIZE, SIZE), antialias=True), *steps] if resize else steps)


class FileImages(Dataset[torch.Tensor]):
    """Decodes a file for every image asked for."""

    def __init__(self, paths: list[str]) -> None:
        self.paths, self.transforms = paths, reference_transforms(resize=True)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        image: torch.Tensor = self.transforms(decode_image(self.paths[row], ImageReadMode.RGB))
        return image


class ArrayImages(Dataset[torch.Tensor]):
    """Reads decoded pixels, uint8 [N, H, W, 3]."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.transforms = torch.from_numpy(pixels), reference_transforms(resize=False)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, row: int) -> torch.Tensor:
        image: torch.Tensor = self.transforms(self.pixels[row].permute(2, 0, 1))
        return image


def peer(dataset: Dataset[torch.Tensor], batch_size: int) -> Batches:
    loader = DataLoader(dataset, batch_size=batch_size, shuffle=True, num_workers=NUM_WORKERS, persistent_workers=True)
    return lambda: (images.contiguous(memory_format=torch.channels_last) for images in loader)


def ours(store: ImageStore, num_images: int, num_classes: int, batch_size: int) -> Batches:
    generator = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)

    def batches() -> Iterator[torch.Tensor]:
        for batch in store.batches(rng.permutation(num_images), batch_size=batch_size):
            images, _ = augment_batch(
                batch.images,
                batch.targets,
                CONFIG,
                num_classes=num_classes,
                epoch=0,
                rows=batch.rows,
                seed=0,
                generator=generator,
            )
            yield SPEC.normalize(images).contiguous(memory_format=torch.channels_last)

    return batches


def images_per_second(batches: Batches, num_images: int) -> float:
    start, seen = time.perf_counter(), 0
    for images in batches():
        assert images.shape[1:] == (3, SIZE, SIZE) and images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
        seen += len(images)
    seconds = time.perf_counter() - start
    assert seen == num_images, f"{seen} images of {num_images} came"
    return num_images / seconds


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):8.1f}  ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of class folders; default $LINNAEUS_DATA/clothing/train")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.data is None and "LINNAEUS_DATA" not in os.environ:
        parser.error("set LINNAEUS_DATA, or name a folder of class folders with --data")
    if arguments.data is None and "LINNAEUS_DATA" not in os.environ:
        parser.error("set LINNAEUS_DATA, or name a folder of class folders with --data")
    data = arguments.data or Path(os.environ["LINNAEUS_DATA"]) / "clothing" / "train"

    keep_freed_memory()  # as every run on a processor does; the worker processes of the peers inherit it
    manifest = read_source(str(data))
    chosen = np.random.default_rng(0).permutation(len(manifest))[: arguments.images]
    manifest = manifest.take(np.sort(chosen))
    cache = open_cache(manifest, SPEC)
    assert cache.readable.all(), "take a folder whose images can all be read"
    store = ImageStore(cache, manifest, torch.device("cpu"))
    num_images = len(manifest)
    ways = {
        "ours": ours(store, num_images, manifest.num_classes, arguments.batch_size),
        "files": peer(FileImages(manifest.uris.to_pylist()), arguments.batch_size),
        "arrays": peer(ArrayImages(np.asarray(cache.pixels)), arguments.batch_size),
    }
    print(f"{num_images} images of {data.name}, batches of {arguments.batch_size}, {torch.get_num_threads()} threads")
    print(f"load average before: {os.getloadavg()[0]:.1f}")
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for batches in ways.values():
        images_per_second(batches, num_images)
    for round_number in range(arguments.rounds):
        for name, batches in ways.items():
            speeds[name].append(images_per_second(batches, num_images))
        line = "  ".join(f"{name} {values[-1]:.0f}/s" for name, values in speeds.items())
        print(f"round {round_number + 1}: {line}", flush=True)
    for name, values in speeds.items():
        print(f"{name:8s}{spread(values)} images/s")
    for name in ("files", "arrays"):
        ratios = [mine / theirs for mine, theirs in zip(speeds["ours"], speeds[name], strict=True)]
        print(f"ours is {spread(ratios).strip()} times as fast as the DataLoader over {name}")


if __name__ == "__main__":
    main()
