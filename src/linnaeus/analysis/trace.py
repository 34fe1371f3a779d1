"""Trace: one image through every step of its life, with what each step makes of it.

Runs the real code (decode, fit, cache, loader, augmentation, normalisation) on one image, in a temporary folder; the
user's own cache is not touched.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from linnaeus.analysis.health import examine
from linnaeus.augment import augment_batch
from linnaeus.config.resolved import ResolvedConfig
from linnaeus.data.cache.images import open_cache
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.images.decode import read_image
from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import Manifest
from linnaeus.errors import UnreadableImageError

NUM_AUGMENTED = 12


@dataclass(frozen=True)
class Step:
    """One step: its name, what happens there, and what comes out of it.

    `picture`: uint8 RGB [h, w, 3] to show, or None where the step has nothing new to see.
    """

    name: str
    what: str
    shape: str
    dtype: str
    range: str
    picture: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Trace:
    """An image's steps, and uint8 [n, H, W, 3] of what augmentation makes of it in as many epochs."""

    id: str
    labels: list[str]
    steps: list[Step]
    augmented: npt.NDArray[np.uint8]


def trace_image(manifest: Manifest, row: int, *, config: ResolvedConfig, spec: ImageSpec, labels: list[str]) -> Trace:
    """Take row `row` through every step.

    Args:
        manifest: the data the image belongs to.
        config: with nothing left to choose; augmentation and seed count.
        spec: with the mean and deviation that training would use.
        labels: names of its classes, for the heading.

    Raises UnreadableImageError if it cannot be decoded.
    """
    one = manifest.take(np.array([row]))
    uri = one.uris[0].as_py()
    box = None if one.boxes is None else one.boxes[0].tolist()
    image = read_image(uri, box)
    health = examine(one, threads=1)
    place = "" if box is None else f", box {', '.join(map(str, box))}"
    steps = [
        Step(
            "file",
            f"{uri}{place}",
            f"{int(health.sizes[0, 0])} x {int(health.sizes[0, 1])} px",
            f"{health.formats[0] or 'array'} {health.modes[0]}".strip(),
            f"{int(health.num_bytes[0]):,} bytes" if health.num_bytes[0] else "no file of its own",
        ),
        _step("decoded", "upright, on white, RGB", image, picture=image),
    ]
    fitted = spec.fit(image)
    how = {"squash": "stretched", "crop": "centre cut out", "pad": "padded with grey", "letterbox": "set on grey"}[
        spec.resize
    ]
    steps.append(_step("fitted", f"{how}, {spec.interpolation}", fitted, picture=fitted))
    with tempfile.TemporaryDirectory(prefix="linnaeus-trace-") as folder:
        cache = open_cache(one, spec, folder=Path(folder), threads=1)
        if not cache.readable[0]:
            raise UnreadableImageError(f"{uri}: {cache.problems.get(0, 'it cannot be decoded')}")
        steps.append(_step("cached", "the same bytes, kept in a memory map", cache.pixels[0]))
        loaded = ImageStore(cache, one, torch.device("cpu")).sample(np.array([0])).clone()
    steps.append(_step("batch", "of one, channels last in memory", loaded.numpy()))
    views = _augment(loaded.repeat(NUM_AUGMENTED, 1, 1, 1), config, num_classes=manifest.num_classes)
    seen = any(phase.train == "all" or phase.feature_views > 1 for phase in config.phases)
    words = "changed at random, anew in every epoch; training only"
    if not seen:
        words = "what training on images would see; a head alone, as planned here, sees them as they are"
    steps.append(_step("augmented", words, views[:1].numpy()))
    normalised = spec.normalize(loaded)
    words = f"less mean {_triple(spec.mean)}, over deviation {_triple(spec.std)}"
    steps.append(_step("normalised", words, normalised.numpy()))
    pictures = (views.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    return Trace(one.ids[0].as_py(), labels, steps, pictures)


def _augment(images: torch.Tensor, config: ResolvedConfig, *, num_classes: int) -> torch.Tensor:
    """float32 [n, 3, H, W], 0-1. Mixing needs other images, so it is not shown."""
    alone = config.augment.model_copy(update={"mixup": 0.0, "cutmix": 0.0})
    generator = torch.Generator().manual_seed(config.seed)
    rows = torch.arange(len(images))  # alternating flips differ between rows as between epochs
    result, _ = augment_batch(
        images.contiguous(memory_format=torch.channels_last),
        torch.zeros(len(images), dtype=torch.int64),
        alone,
        num_classes=num_classes,
        epoch=0,
        rows=rows,
        seed=config.seed,
        generator=generator,
    )
    return result


def _step(name: str, what: str, values: npt.NDArray[np.generic], picture: npt.NDArray[np.uint8] | None = None) -> Step:
    low, high = values.min(), values.max()
    words = f"{low} - {high}" if values.dtype == np.uint8 else f"{float(low):.3f} - {float(high):.3f}"
    return Step(name, what, " x ".join(map(str, values.shape)), str(values.dtype), words, picture)


def _triple(values: tuple[float, float, float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
