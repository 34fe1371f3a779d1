"""Features once: a frozen backbone sees every image (and every augmented view) a single time; the result stays on disk.

After the loader, before heads, in the life of an image. Lives in the user's cache folder beside the pixels, keyed by
everything that shapes it: weights, preprocessing, pixels, augmentation, precision and kind of device. Resumable in
blocks. Knows nothing of heads.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from linnaeus.atomic import locked, write_json
from linnaeus.augment import augment_batch
from linnaeus.config.resolved import ResolvedAugment
from linnaeus.data.cache.build import format_bytes
from linnaeus.data.cache.folder import INFO, cache_folder
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.loader import Batch, ImageStore
from linnaeus.errors import Interrupted, OutputError, TrainingError
from linnaeus.models.classifier import Classifier
from linnaeus.models.folding import folded
from linnaeus.progress import SILENT, Progress

Rows = npt.NDArray[np.int64]
_BLOCK_SECONDS = 10.0
_VALUES = "features.npy"
_NO_MEMORY = ("allocate memory", "out of memory", "ALLOC_FAILED")
"""What torch, CUDA, and its libraries say; only the first has an error class of its own, and not on a processor."""


Autocast = Callable[[], AbstractContextManager[Any]]
"""Opens the block in which a network runs at the chosen precision."""


@dataclass(frozen=True)
class KeptFeatures:
    """Features on disk, and what they had cost before.

    Attributes:
        values: float16 [V, N, D], memory-mapped; rows that were not asked for are zero.
        key: of everything that shapes them.
        earlier_seconds: that were spent on them before this call, by this run or another; 0 where it computed all.
    """

    values: npt.NDArray[np.float16]
    key: str
    earlier_seconds: float


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
    augment: ResolvedAugment | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
    stop_requested: Callable[[], bool] = lambda: False,
) -> KeptFeatures:
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
        stop_requested: asked after every batch.

    Raises Interrupted after saving, OutputError if the cache folder cannot be written or the disk is full,
    TrainingError if memory does not suffice for a single image.
    """
    if views == 1:  # the images themselves: the same features however they are divided, so folds and review share them
        train_rows, other_rows = np.sort(np.concatenate([train_rows, other_rows])), other_rows[:0]
    facts = {
        "format": 3,
        "holds": f"{views:,} x {store.num_rows:,} features by {classifier.name}",
        "backbone": [classifier.name, classifier.options, classifier.feature_kind, weights_digest(classifier.backbone)],
        "spec": spec.to_dict(),
        "computed": [store.device.type, _precision(autocast, store.device)],
        "pixels": store.key,
        "rows": hashlib.sha256(train_rows.tobytes() + b"|" + other_rows.tobytes()).hexdigest()[:16],
        "augment": None if views == 1 or augment is None else [augment.model_dump(mode="json"), seed],
        "views": views,
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
    folder = cache_folder() / f"features-{key}"
    tasks = [(0, np.concatenate([train_rows, other_rows]))] + [(view, train_rows) for view in range(1, views)]
    shape = (views, store.num_rows, classifier.num_features)
    total = sum(len(rows) for _, rows in tasks)
    compute = partial(_features, store=store, spec=spec, augment=augment, seed=seed, autocast=autocast)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Without the lock a second run, or another process of this one, would begin the same file anew.
        with locked(folder, progress, work="computing these features"):
            array, done, earlier = _open(folder, facts, shape=shape)
            if done == total:
                with suppress(OSError):  # somebody else's may be used but not touched
                    os.utime(folder / INFO)
                progress.say(f"Features of {total:,} views reopened: {folder.name}")
                return KeptFeatures(array, key, earlier)
            with _answering(classifier, spec) as short, progress.task("features", total=total, unit="images") as task:
                task.advance(done)
                begun = saved = time.perf_counter()
                remaining = _remaining(tasks, done)
                for view, rows, features in _batches(partial(compute, short), remaining, batch_size, progress):
                    array[view, rows] = features
                    done += len(rows)
                    task.advance(len(rows))
                    stop = done < total and stop_requested()
                    if stop or done == total or time.perf_counter() - saved > _BLOCK_SECONDS:
                        array.flush()
                        saved = time.perf_counter()
                        write_json(folder / INFO, {**facts, "done": done, "seconds": earlier + saved - begun})
                    if stop:
                        raise Interrupted("Stopped; the features computed so far are saved.")
            return KeptFeatures(array, key, earlier)
    except OSError as error:
        raise OutputError(_explain(error, folder.parent, num_bytes=2 * math.prod(shape))) from error


def _precision(autocast: Autocast, device: torch.device) -> str:
    """The type in which a network computes in the block: autocast's, or float32 and how exactly it is multiplied."""
    with autocast():
        if torch.is_autocast_enabled(device.type):
            return str(torch.get_autocast_dtype(device.type))
        return f"{torch.get_default_dtype()}, {torch.get_float32_matmul_precision()}"


def compute_features(
    classifier: Classifier,
    store: ImageStore,
    rows: Rows,
    *,
    spec: ImageSpec,
    autocast: Autocast,
    batch_size: int,
    progress: Progress = SILENT,
) -> npt.NDArray[np.float16]:
    """Features float16 [M, D] of M rows, as `extract_features` has them, kept in memory only."""
    compute = partial(_features, store=store, spec=spec, augment=None, seed=0, autocast=autocast)
    found = np.zeros((len(rows), classifier.num_features), np.float16)
    done = 0
    with _answering(classifier, spec) as short, progress.task("features", total=len(rows), unit="images") as task:
        for _, batch, features in _batches(partial(compute, short), [(0, rows)], batch_size, progress):
            found[done : done + len(batch)] = features
            done += len(batch)
            task.advance(len(batch))
    return found


def _batches(
    compute: Callable[..., npt.NDArray[np.float16]],
    tasks: Iterable[tuple[int, Rows]],
    batch_size: int,
    progress: Progress,
) -> Iterator[tuple[int, Rows, npt.NDArray[np.float16]]]:
    """(view, rows, their features) of every batch; batches become smaller when memory runs out."""
    for view, rows in tasks:
        start = 0
        while start < len(rows):
            batch = rows[start : start + batch_size]
            try:
                features = compute(batch, view=view)
            except RuntimeError as error:
                batch_size = _smaller(batch_size, error, progress)
                continue
            yield view, batch, features
            start += len(batch)


@contextmanager
def _answering(classifier: Classifier, spec: ImageSpec) -> Iterator[Classifier]:
    """Yield a classifier in evaluation mode that computes the same features, faster where that is possible."""
    was_training = classifier.training
    classifier.eval()
    try:
        yield folded(classifier, height=spec.height, width=spec.width)
    finally:
        classifier.train(was_training)


def _remaining(tasks: list[tuple[int, Rows]], done: int) -> Iterator[tuple[int, Rows]]:
    for view, rows in tasks:
        if done < len(rows):
            yield view, rows[done:]
        done = max(0, done - len(rows))


def _open(
    folder: Path, facts: dict[str, Any], *, shape: tuple[int, int, int]
) -> tuple[np.memmap[Any, np.dtype[np.float16]], int, float]:
    """The array on disk, how many of its rows are done and in how many seconds; begun anew unless it belongs to exactly
    these facts.
    """
    try:
        stored = json.loads((folder / INFO).read_text(encoding="utf-8"))
        done, seconds = stored.pop("done"), stored.pop("seconds")
        array = np.load(folder / _VALUES, mmap_mode="r+", allow_pickle=False)
        if stored == json.loads(json.dumps(facts)) and array.shape == shape:
            return array, done, seconds
    except (OSError, ValueError, KeyError, EOFError):
        pass  # nothing there, or cut off before its first block
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        return _create(folder / _VALUES, shape), 0, 0.0
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _create(path: Path, shape: tuple[int, int, int]) -> np.memmap[Any, np.dtype[np.float16]]:
    """An array of zeros; all space is taken now, since a memory map over a full disk would kill the process."""
    if shutil.disk_usage(path.parent).free < 2 * math.prod(shape):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


@torch.inference_mode()
def _features(
    classifier: Classifier,
    rows: Rows,
    *,
    store: ImageStore,
    view: int,
    spec: ImageSpec,
    augment: ResolvedAugment | None,
    seed: int,
    autocast: Autocast,
) -> npt.NDArray[np.float16]:
    batch: Batch = next(iter(store.batches(rows, batch_size=len(rows))))
    images = batch.images
    if view and augment is not None:
        state = np.random.SeedSequence([seed, view, int(rows[0])]).generate_state(1, np.uint64)[0] >> np.uint64(1)
        generator = torch.Generator().manual_seed(int(state))
        plain = augment.model_copy(update={"mixup": 0.0, "cutmix": 0.0})
        images, _ = augment_batch(
            images, batch.targets, plain, num_classes=1, epoch=view, rows=batch.rows, seed=seed, generator=generator
        )
    images = spec.normalize(images).contiguous(memory_format=torch.channels_last)
    with autocast():
        features = classifier.features(images)
    return features.float().clamp(-65504.0, 65504.0).half().cpu().numpy()


def _smaller(size: int, error: RuntimeError, progress: Progress) -> int:
    """Half the batch if memory ran out; any other error, or no room for a single image, is the end."""
    if not isinstance(error, torch.OutOfMemoryError) and not any(words in str(error) for words in _NO_MEMORY):
        raise error
    if size == 1:
        raise TrainingError("There is not enough memory for a single image. Try a smaller --image-size.") from error
    progress.say(f"Not enough memory for {size} images at once; going on with {size // 2}.")
    return size // 2


def _explain(error: OSError, root: Path, *, num_bytes: int) -> str:
    advice = "Name another folder with the environment variable LINNAEUS_CACHE."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: the features need {format_bytes(num_bytes)} in {root}. Free some space (linnaeus cache "
            f"clear deletes all caches). {advice}"
        )
    return f"Cannot write the features in {root}: {error.strerror or error}. {advice}"
