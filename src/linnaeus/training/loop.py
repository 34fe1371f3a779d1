"""THE training loop: phases of epochs of batches, in plain sight.

Order, augmentation and dropout are functions of the seed, the epoch and the batch (and of random states that every
checkpoint holds), so that a run resumed from any checkpoint continues exactly as if it had never stopped. Knows
nothing of files beyond its checkpoints, nor of how the finished model will be judged.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from linnaeus.augment import augment_batch
from linnaeus.config.resolved import ResolvedPhase
from linnaeus.data.loader import Batch
from linnaeus.data.manifest import TRAIN, VALIDATION
from linnaeus.data.splits.sampling import draw_positions, epoch_order
from linnaeus.data.targets import soft_targets
from linnaeus.errors import Interrupted
from linnaeus.losses.multilabel import binary_cross_entropy
from linnaeus.losses.penalty import weight_penalty
from linnaeus.metrics.classification import accuracy_score, balanced_accuracy_score
from linnaeus.metrics.multilabel import label_counts, mean_average_precision, micro_f1
from linnaeus.models.classifier import Classifier
from linnaeus.predictions import NUM_TTA_VIEWS, Predictions, predict, predictions_of
from linnaeus.training.checkpoint import Position, TrainState, Unread
from linnaeus.training.depthwise import fast_depthwise_gradients
from linnaeus.training.epoch_sums import count_right, read_sums
from linnaeus.training.job import Job, num_batches_per_epoch, num_steps
from linnaeus.training.optim import normalize_filters, plateau_factor, schedule_factor, set_learning_rates
from linnaeus.training.phases import set_mode
from linnaeus.training.runtime import FabricModule

VALIDATION_COST = 0.4  # of one view of an image, against training on it: a forward pass instead of three, and some room
SaveState = Callable[[], None]


def train_epoch(state: TrainState, job: Job, phase: ResolvedPhase, *, save: SaveState) -> bool:
    """Train one epoch, or what the phase has left of it, from `state.position.batch` on.

    Returns False if the time limit, less what validation will take, cut it short.

    Raises Interrupted (after saving) when asked to stop, TrainingError if the loss is no longer a number.
    """
    position = state.position
    assert isinstance(phase.batch_size, int)
    batch_size = max(1, phase.batch_size // job.num_shards)
    total_steps = num_steps(job, phase)
    num_batches = min(num_batches_per_epoch(job, phase), position.batch + total_steps - position.step)
    num_epochs = math.ceil(total_steps / num_batches_per_epoch(job, phase))
    rows = _epoch_rows(job, position.epochs_done)[: num_batches * batch_size]
    description = f"{phase.name} {position.epoch + 1}/{num_epochs}"
    together = job.runtime if job.num_shards > 1 else None
    clock, saved = time.perf_counter(), time.perf_counter()
    set_mode(state.model, phase)
    with job.progress.task(description, total=len(rows) * job.num_shards, unit="images") as task:
        task.advance(min(position.batch * batch_size, len(rows)) * job.num_shards)
        status = ""
        for batch in _batches(job, position, rows, batch_size=batch_size):
            factor = schedule_factor(phase, step=position.step, total_steps=total_steps)
            set_learning_rates(state.optimizers, factor * plateau_factor(position.plateau))
            train_batch(state, job, phase, batch)
            last = position.batch == num_batches
            due = last or position.step % job.config.runtime.log_every_steps == 0
            if due:
                read_sums(state.unread, position, phase, together=together)
                status = _status(position, several=job.manifest.task == "multi")
            now = time.perf_counter()
            position.epoch_seconds += now - clock
            position.seconds += now - clock
            clock = now
            task.advance(len(batch.rows) * job.num_shards, status=status)
            if last:
                break
            if job.runtime.num_processes > 1 and not due:
                continue  # what all processes must agree on makes each of them wait for its device
            limit = job.config.time_limit_seconds
            stop, save_now, over = job.runtime.any_process(
                [
                    job.stop_requested(),
                    now - saved >= job.config.runtime.checkpoint_seconds,
                    limit is not None and position.seconds + _validation_seconds(state, job) >= limit,
                ]
            )
            if stop or save_now or over:
                read_sums(state.unread, position, phase, together=together)
            if stop or save_now:
                save()
                saved = time.perf_counter()
            if stop:
                raise Interrupted("Stopped; everything up to this batch is saved.")
            if over:
                return False
    return True


def _batches(job: Job, position: Position, rows: npt.NDArray[np.int64], *, batch_size: int) -> Iterator[Batch]:
    """What is left of the epoch's batches."""
    if job.features is None:
        return job.images.batches(rows, batch_size=batch_size, first_batch=position.batch)
    epoch = position.epochs_done
    return job.features.batches(rows, batch_size=batch_size, first_batch=position.batch, epoch=epoch)


def _validation_seconds(state: TrainState, job: Job) -> float:
    """What the validation at this epoch's end will take, going by its training so far."""
    images = len(job.manifest.rows(VALIDATION)) * NUM_TTA_VIEWS[job.tta]
    return VALIDATION_COST * images * state.position.epoch_seconds / max(1, state.position.num_seen)


def _epoch_rows(job: Job, epochs_done: int) -> npt.NDArray[np.int64]:
    train_rows, data = job.manifest.rows(TRAIN), job.config.data
    shown = draw_positions(
        job.manifest.targets[train_rows],
        balance=data.balance,
        oversample_factor=data.oversample_factor,
        seed=job.config.seed,
        epoch=epochs_done,
    )
    order = epoch_order(
        len(shown),
        seed=job.config.seed,
        epoch=epochs_done,
        rank=job.shard,
        world_size=job.num_shards,
    )
    return train_rows[shown[order]]


def train_batch(state: TrainState, job: Job, phase: ResolvedPhase, batch: Batch) -> None:
    """One optimizer step: augment, forward and backward in micro-batches, step.

    Asks the device nothing, so that a GPU always has its next work before it is done with the last: the loss and the
    hits are left there, in `state.unread`.
    """
    position, fabric = state.position, job.runtime.fabric
    images, targets, weights = _inputs(job, position, batch)
    chunks = list(_chunks(len(images), phase.micro_batch_size or len(images)))
    labels = 1 if batch.targets.ndim == 1 else batch.targets.shape[1]
    for number, chunk in enumerate(chunks):
        with _unsynced(state.model, job, enabled=number < len(chunks) - 1):
            with fast_depthwise_gradients(device=images.device, precision=job.runtime.precision):
                logits = state.model(images[chunk]).float()
            each = None if weights is None else weights[chunk]
            loss = job.criterion(logits, targets[chunk], each) * (chunk.stop - chunk.start) / len(images)
            if state.penalties:
                loss = loss + weight_penalty(state.penalties) / len(chunks)
            fabric.backward(loss)
        with torch.no_grad():
            num_right = count_right(logits, batch.targets[chunk])
        state.unread.append(Unread(position.batch + 1, loss.detach(), num_right, len(images), labels))
    if phase.grad_clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), phase.grad_clip_norm)
    normalize_filters(state.optimizers)
    for optimizer in state.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if state.average is not None:
        state.average.update(state.trained, first=position.step == 0)
    position.num_seen += len(images) * job.num_shards
    position.batch += 1
    position.step += 1


def _inputs(job: Job, position: Position, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """What the network sees of a batch: augmented, normalized images (or features as they are), and their targets with
    the weights of these.
    """
    if job.on_features:
        return batch.images, batch.targets, batch.weights
    config, targets = job.config, batch.targets
    blended = config.augment.mixup > 0 or config.augment.cutmix > 0
    if blended and batch.weights is not None:
        targets = with_weights(batch.targets, batch.weights, num_classes=job.manifest.num_classes)
    images, targets = augment_batch(
        batch.images,
        targets,
        config.augment,
        num_classes=job.manifest.num_classes,
        epoch=position.epochs_done,
        rows=batch.rows,
        seed=config.seed,
        generator=_batch_generator(job, position.epochs_done, position.batch),
    )
    images = job.spec.normalize(images).contiguous(memory_format=torch.channels_last)
    if blended and batch.weights is not None:
        return images, *without_weights(targets)
    return images, targets, batch.weights


def with_weights(targets: torch.Tensor, weights: torch.Tensor, *, num_classes: int) -> torch.Tensor:
    """float32 [B, K + 1]: each image's targets times its weight, and the weight.

    Losses are affine in the targets. So where mixup blends these, the blended targets over the blended weight give,
    times that weight, exactly the blend of both images' weighted losses.
    """
    soft = soft_targets(targets, num_classes)
    return torch.cat([soft, torch.ones_like(soft[:, :1])], dim=1) * weights[:, None]


def without_weights(weighted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets float32 [B, K] and weights float32 [B] of what `with_weights` joined, blended or not."""
    weights = weighted[:, -1]
    return weighted[:, :-1] / weights.clamp(min=torch.finfo(torch.float32).tiny)[:, None], weights


def _unsynced(model: nn.Module, job: Job, *, enabled: bool) -> AbstractContextManager[Any]:
    """Within the block of all micro-batches but the last, processes do not exchange gradients yet."""
    if not isinstance(model, FabricModule):
        return nullcontext()
    return job.runtime.fabric.no_backward_sync(model, enabled=enabled)


def _batch_generator(job: Job, epoch: int, batch: int) -> torch.Generator:
    """The augmentation's randomness for one batch of one process, a function of where it stands; on the processor."""
    parts = [job.config.seed, epoch, batch, job.shard]
    seed = int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator().manual_seed(seed)


def _chunks(length: int, size: int) -> Iterator[slice]:
    """Slices of nearly equal length, none longer than `size`."""
    count = -(-length // size)
    bounds = [length * k // count for k in range(count + 1)]
    return (slice(start, stop) for start, stop in itertools.pairwise(bounds))


def _status(position: Position, *, several: bool) -> str:
    seen = max(1, position.num_seen)
    best = f"  best {position.best['value']:.4f}" if position.best else ""
    right = f"{'Hamming accuracy' if several else 'accuracy'} {100 * position.num_correct / seen:.1f} %"
    return f"loss {position.loss_sum / seen:.3f}  {right}{best}"


def validate(state: TrainState, job: Job) -> dict[str, float]:
    """Loss, accuracy and balanced accuracy on the validation rows, in the columns of history.csv.

    Where images have several labels: the mean binary cross-entropy, micro F1 at a probability of 0.5, and mean average
    precision.
    """
    predictions = answer(state.kept, job, job.manifest.rows(VALIDATION))
    logits = torch.from_numpy(predictions.logits)
    if predictions.task == "multi":
        labels = predictions.targets.astype(np.uint8)
        return {
            "validation_loss": float(binary_cross_entropy(logits, torch.from_numpy(labels)).mean()),
            "validation_micro_f1": float(micro_f1(label_counts(labels, predictions.given_labels()))),
            "validation_mean_average_precision": mean_average_precision(labels, predictions.logits),
        }
    targets, predicted = predictions.targets.astype(np.int64), predictions.predicted
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets))
    return {
        "validation_loss": float(loss),
        "validation_accuracy": accuracy_score(targets, predicted, job.manifest.num_classes),
        "validation_balanced_accuracy": balanced_accuracy_score(targets, predicted, job.manifest.num_classes),
    }


def answer(trained: nn.Module, job: Job, rows: npt.NDArray[np.int64]) -> Predictions:
    """What a classifier, or a head on features, makes of these rows; each process predicts its own part of the
    images."""
    runtime, batch_size = job.runtime, job.config.evaluate.batch_size
    with runtime.fabric.autocast():
        if job.features is not None:
            on_features = job.features.batches(rows, batch_size=batch_size)
            return predict(trained, on_features, job.manifest, spec=None, tta="none")
        runtime.broadcast_statistics(trained)
        batches = job.images.batches(runtime.own_rows(rows), batch_size=batch_size)
        own = predict(trained, batches, job.manifest, spec=job.spec, tta=job.tta)
    return predictions_of(job.manifest, rows, runtime.gather_rows(own.logits, num_rows=len(rows)))


def prepare(classifier: Classifier, job: Job) -> None:
    """Let a backbone that asks for it see some training images before the first step (whitened first layers)."""
    hook = getattr(classifier.backbone, "prepare", None)
    if hook is None:
        return
    order = epoch_order(len(job.manifest.rows(TRAIN)), seed=job.config.seed, epoch=0)[:5000]
    images = job.images.sample(job.manifest.rows(TRAIN)[order])
    hook(job.spec.normalize(images))
