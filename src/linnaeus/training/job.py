"""What a training works on: configuration, data and machine, and how long an epoch of it is.

Beside the loop, for everything that trains or judges with the same parts. Nothing here changes while it runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from linnaeus.config.resolved import ResolvedConfig, ResolvedPhase
from linnaeus.config.settings import RunConfig
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.loader import FeatureStore, ImageStore
from linnaeus.data.manifest import TRAIN, Manifest
from linnaeus.data.splits.sampling import epoch_length, shown_counts
from linnaeus.losses import Loss, build_loss
from linnaeus.predictions import TTA
from linnaeus.progress import SILENT, Progress
from linnaeus.training.runtime import Runtime


@dataclass(frozen=True)
class Job:
    """What the loop works on; nothing in it changes while it runs.

    Attributes:
        config: with nothing left to choose.
        manifest: every row readable, splits assigned.
        images: pixels of the manifest's rows.
        spec: preprocessing, mean and deviation settled.
        runtime: device, precision, processes.
        tta: how validation looks at an image, as the finished model will.
        progress: hears of every batch.
        stop_requested: asked after every batch; True saves the state and raises Interrupted.
        features: of the manifest's rows, where the phase trains the head alone.
    """

    config: ResolvedConfig
    manifest: Manifest
    images: ImageStore
    spec: ImageSpec
    runtime: Runtime
    tta: TTA
    progress: Progress = SILENT
    stop_requested: Callable[[], bool] = lambda: False
    features: FeatureStore | None = None

    @property
    def on_features(self) -> bool:
        """Whether batches hold features. Then every process trains the whole (small) head, on all rows."""
        return self.features is not None

    @functools.cached_property
    def criterion(self) -> Loss:
        """The loss, which may know how many images of each class an epoch shows."""
        counts = class_count_tensor(self.config, self.manifest)
        return build_loss(self.config.loss, class_counts=counts.to(self.runtime.device))

    @property
    def num_shards(self) -> int:
        """Processes that share each batch."""
        return 1 if self.on_features else self.runtime.num_processes

    @property
    def shard(self) -> int:
        """The number of this process's shard."""
        return 0 if self.on_features else self.runtime.fabric.global_rank


def class_counts(config: RunConfig, manifest: Manifest) -> npt.NDArray[np.float64]:
    """float64 [K]: images of each class that an epoch of training shows."""
    return shown_counts(
        manifest.targets[manifest.rows(TRAIN)],
        num_classes=manifest.num_classes,
        balance=config.data.balance,
        oversample_factor=config.data.oversample_factor,
        seed=config.seed,
    )


def class_count_tensor(config: RunConfig, manifest: Manifest) -> torch.Tensor:
    """float32 [K] on the processor: `class_counts` for losses."""
    return torch.from_numpy(class_counts(config, manifest).astype(np.float32))


def num_shown(config: RunConfig, manifest: Manifest) -> int:
    """Images that an epoch of training shows, on all processes."""
    data = config.data
    return epoch_length(len(manifest.rows(TRAIN)), balance=data.balance, oversample_factor=data.oversample_factor)


def num_batches_per_epoch(job: Job, phase: ResolvedPhase) -> int:
    """Batches of one epoch on one process; a rest smaller than half a batch is left for another epoch's shuffle."""
    num_rows = -(-num_shown(job.config, job.manifest) // job.num_shards)
    return max(1, int(num_rows / (phase.batch_size / job.num_shards) + 0.5))


def num_steps(job: Job, phase: ResolvedPhase) -> int:
    """Steps of the optimizer in a whole phase, at least one."""
    return max(1, round(phase.epochs * num_batches_per_epoch(job, phase)))
