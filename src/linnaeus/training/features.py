"""Features once: a frozen backbone sees every image (and every augmented view) a single time; the result stays on disk.

After the loader, before heads, in the life of an image. Lives in the user's cache folder beside the pixels, keyed by
everything that shapes it: weights, preprocessing, pixels, augmentation. Resumable in blocks. Knows nothing of heads.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from linnaeus.augment import augment_batch
from linnaeus.config import AugmentConfig
from linnaeus.data.cache import cache_folder
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.loader import Batch, ImageStore
from linnaeus.errors import TrainingError
from linnaeus.models.classifier import Classifier
from linnaeus.progress import SILENT, Progress
from linnaeus.rundir import write_json

Rows = npt.NDArray[np.int64]
_BLOCK_SECONDS = 10.0
_FACTS, _PIXELS = "features.json", "features.npy"


Autocast = Callable[[], AbstractContextManager[Any]]
"""Opens the block in which a network runs at the chosen precision."""


def weights_digest(model: nn.Module) -> str:
    """16 hex digits over the names and values of a network's parameters and statistics."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def extract_features(
    classifier: Classifier,
    store: ImageStore,
    *,
    train_rows: Rows,
    other_rows: Rows,
    spec: ImageSpec,
    autocast: Autocast,
    batch_size: int,
    views: int = 1,
    augment: AugmentConfig | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> npt.NDArray[np.float16]:
    """Features of some rows, computed in evaluation mode or reopened from the cache.

    Args:
        classifier: its backbone, on the store's device.
        store: pixels of N rows.
        train_rows: rows of which all views are wanted; every one readable.
        other_rows: rows of which only the image itself is wanted.
        spec: preprocessing, settled.
        autocast: as of the runtime.
        batch_size: images per forward pass; halved, with a word, when memory runs out.
        views: V. View 0 is the image itself, the others are augmented as `augment` says.
        seed: of the augmentation.

    Returns float16 [V, N, D], memory-mapped; rows that were not asked for are zero.
    """
    facts = {
        "format": 1,
        "backbone": [classifier.name, classifier.options, classifier.feature_kind, weights_digest(classifier.backbone)],
        "spec": spec.to_dict(),
        "pixels": store.key,
        "rows": hashlib.sha256(train_rows.tobytes() + b"|" + other_rows.tobytes()).hexdigest()[:16],
        "augment": None if views == 1 or augment is None else [augment.model_dump(mode="json"), seed],
        "views": views,
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
    folder = cache_folder() / f"features-{key}"
    tasks = [(0, np.concatenate([train_rows, other_rows]))] + [(view, train_rows) for view in range(1, views)]
    shape = (views, store.num_rows, classifier.num_features)
    array, done = _open(folder, facts, shape=shape)
    total = sum(len(rows) for _, rows in tasks)
    if done == total:
        progress.say(f"Features of {total:,} views reopened: {folder.name}")
        return array
    with progress.task("features", total=total, unit="images") as task:
        task.advance(done)
        saved, size = time.perf_counter(), batch_size
        was_training = classifier.training
        classifier.eval()
        for view, rows in _remaining(tasks, done):
            start = 0
            while start < len(rows):
                chunk = rows[start : start + size]
                try:
                    features = _features(
                        classifier, store, chunk, view=view, spec=spec, augment=augment, seed=seed, autocast=autocast
                    )
                except (torch.OutOfMemoryError, RuntimeError) as error:
                    size = _smaller(size, error, progress)
                    continue
                array[view, chunk] = features
                start += len(chunk)
                done += len(chunk)
                task.advance(len(chunk))
                if time.perf_counter() - saved > _BLOCK_SECONDS:
                    array.flush()
                    write_json(folder / _FACTS, {**facts, "done": done})
                    saved = time.perf_counter()
        classifier.train(was_training)
    array.flush()
    write_json(folder / _FACTS, {**facts, "done": done})
    return array


def _remaining(tasks: list[tuple[int, Rows]], done: int) -> Iterator[tuple[int, Rows]]:
    for view, rows in tasks:
        if done < len(rows):
            yield view, rows[done:]
        done = max(0, done - len(rows))


def _open(
    folder: Path, facts: dict[str, Any], *, shape: tuple[int, int, int]
) -> tuple[np.memmap[Any, np.dtype[np.float16]], int]:
    """The array on disk, and how many of its rows are done; begun anew unless it belongs to exactly these facts."""
    try:
        stored = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        done = stored.pop("done")
        array = np.load(folder / _PIXELS, mmap_mode="r+", allow_pickle=False)
        if stored == json.loads(json.dumps(facts)) and array.shape == shape:
            return array, done
    except (OSError, ValueError, KeyError, EOFError):
        pass  # nothing there, or cut off before its first block
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FACTS).unlink(missing_ok=True)
    array = np.lib.format.open_memmap(folder / _PIXELS, mode="w+", dtype=np.float16, shape=shape)
    return array, 0


@torch.inference_mode()
def _features(
    classifier: Classifier,
    store: ImageStore,
    rows: Rows,
    *,
    view: int,
    spec: ImageSpec,
    augment: AugmentConfig | None,
    seed: int,
    autocast: Autocast,
) -> npt.NDArray[np.float16]:
    batch: Batch = next(iter(store.batches(rows, batch_size=len(rows))))
    images = batch.images
    if view and augment is not None:
        state = np.random.SeedSequence([seed, view, int(rows[0])]).generate_state(1, np.uint64)[0] >> np.uint64(1)
        generator = torch.Generator(device=store.device).manual_seed(int(state))
        plain = augment.model_copy(update={"mixup": 0.0, "cutmix": 0.0})
        images, _ = augment_batch(
            images, batch.targets, plain, num_classes=1, epoch=view, rows=batch.rows, seed=seed, generator=generator
        )
    images = spec.normalize(images).contiguous(memory_format=torch.channels_last)
    with autocast():
        features = classifier.features(images)
    return features.float().clamp(-65504.0, 65504.0).half().cpu().numpy()


def _smaller(size: int, error: BaseException, progress: Progress) -> int:
    """Half the batch if memory ran out; any other error, or no room for a single image, is the end."""
    if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
        raise error
    if size == 1:
        raise TrainingError("There is not enough memory for a single image. Try a smaller --image-size.") from error
    progress.say(f"Not enough memory for {size} images at once; going on with {size // 2}.")
    return size // 2
