"""Two heads on the same features, with and without what a run does about rare classes: what balancing itself does.

Beside `baselines`, after training. One run cannot tell what it would have been without balancing; two heads on features
can, in seconds. Knows nothing of files, nor of how answers are scored.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from linnaeus.config.resolved import ResolvedConfig
from linnaeus.data.loader import FeatureStore
from linnaeus.data.manifest import VALIDATION
from linnaeus.losses import log_fractions
from linnaeus.models.classifier import Classifier
from linnaeus.predictions import Predictions, predictions_of
from linnaeus.training.head_phase import feature_store, solve_head
from linnaeus.training.job import Job, class_count_tensor


def balances(config: ResolvedConfig) -> bool:
    """Whether anything is done about rare classes."""
    return config != _unbalanced(config)


def answer_with_and_without(classifier: Classifier, job: Job) -> tuple[Predictions, Predictions]:
    """What linear heads answer on the validation images: one that balances as the run does, one that does not.

    Both are solved for by L-BFGS, each under the penalty that is best for it on those images, whatever the optimizer of
    the run; weights of single images hold for both.

    Args:
        classifier: its backbone as it was before the first phase; the head is not asked.
        job: on images, its first phase being one on features, which are reopened from the cache.
    """
    features = feature_store(classifier, job, views=job.config.phases[0].feature_views)
    return _answer(job, features, job.config), _answer(job, features, _unbalanced(job.config))


def _answer(job: Job, store: FeatureStore, config: ResolvedConfig) -> Predictions:
    config = config.model_copy(update={"data": config.data.model_copy(update={"folds": None, "out_of_fold": 0})})
    rows, features = job.manifest.rows(VALIDATION), store.features[0]
    head = nn.Linear(features.shape[1], job.manifest.num_classes)
    solve_head(head, replace(job, config=config), store)
    with torch.no_grad():
        logits = head(torch.from_numpy(features[rows].astype(np.float32)))
        if config.evaluate.logit_adjustment:
            counts = class_count_tensor(config, job.manifest)
            logits -= config.evaluate.logit_adjustment * log_fractions(counts)
    return predictions_of(job.manifest, rows, logits.numpy())


def _unbalanced(config: ResolvedConfig) -> ResolvedConfig:
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"balance": "none"}),
            "loss": config.loss.model_copy(update={"class_weights": "none", "logit_adjustment": 0.0}),
            "evaluate": config.evaluate.model_copy(update={"logit_adjustment": 0.0}),
        }
    )
