"""A phase that trains the head alone: on features that the backbone computes once.

Between the phases and the features. Knows nothing of files beyond the cache of features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from linnaeus.data.loader import FeatureStore, ImageStore
from linnaeus.data.manifest import TRAIN, VALIDATION
from linnaeus.errors import ConfigError
from linnaeus.models.classifier import Classifier
from linnaeus.training.features import extract_features
from linnaeus.training.head_path import solve_path
from linnaeus.training.loop import Job


def feature_store(classifier: Classifier, job: Job, *, views: int) -> FeatureStore:
    """The features of the training images (in `views` augmented views) and of the validation images."""
    assert isinstance(job.store, ImageStore)
    features = extract_features(
        classifier,
        job.store,
        train_rows=job.manifest.rows(TRAIN),
        other_rows=job.manifest.rows(VALIDATION),
        spec=job.spec,
        autocast=job.runtime.fabric.autocast,
        batch_size=job.config.evaluate.batch_size,
        views=views,
        augment=job.config.augment,
        seed=job.config.seed,
        progress=job.progress,
    )
    return FeatureStore(features, job.manifest.targets, job.runtime.device, seed=job.config.seed)


def solve_head(head: nn.Module, job: Job) -> tuple[float, int, int, str]:
    """Put the best linear head that L-BFGS finds under a path of penalties into `head`.

    Returns the sum of its losses over the training rows, how many of those it gets right, their number, and a sentence
    on the penalty that validation chose. Raises ConfigError if the head is not linear.
    """
    if not isinstance(head, nn.Linear):
        raise ConfigError(
            "The optimizer lbfgs solves for linear heads only. Take adam, or leave model.head.hidden empty."
        )
    assert isinstance(job.store, FeatureStore)
    train_rows, validation_rows = job.manifest.rows(TRAIN), job.manifest.rows(VALIDATION)
    views = len(job.store.features)
    features = np.concatenate([job.store.features[k, train_rows] for k in range(views)]).astype(np.float32)
    targets = np.concatenate([job.manifest.targets[train_rows]] * views)
    solution = solve_path(
        features,
        targets,
        validation=(job.store.features[0, validation_rows].astype(np.float32), job.manifest.targets[validation_rows]),
        num_classes=job.manifest.num_classes,
        label_smoothing=job.config.loss.label_smoothing,
    )
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(solution.weight))
        head.bias.copy_(torch.from_numpy(solution.bias))
    chosen = next(step for step in solution.path if step.penalty == solution.penalty)
    right = solution.logits(job.store.features[0, train_rows]).argmax(1) == job.manifest.targets[train_rows]
    said = f"penalty {solution.penalty:g} of {len(solution.path)} tried has the lowest validation loss"
    return chosen.train_loss * len(train_rows), int(right.sum()), len(train_rows), said
