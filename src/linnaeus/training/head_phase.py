"""A phase that trains the head alone: on features that the backbone computes once.

Between the phases and the features. Knows nothing of files beyond the cache of features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from linnaeus.config.settings import RunConfig
from linnaeus.data.loader import FeatureStore
from linnaeus.data.manifest import TRAIN, VALIDATION, Manifest
from linnaeus.data.splits.folds import stratified_folds
from linnaeus.data.splits.multilabel import multilabel_folds
from linnaeus.data.splits.sampling import row_weights
from linnaeus.errors import ConfigError
from linnaeus.losses import build_class_weights, log_fractions
from linnaeus.models.classifier import Classifier
from linnaeus.predictions import Predictions, concatenate_predictions, predictions_of
from linnaeus.training.epoch_sums import count_right
from linnaeus.training.features import extract_features
from linnaeus.training.head_path import PENALTIES, FoldSolution, solve_folds, solve_path
from linnaeus.training.job import Job, class_count_tensor

_TRIED_BY_FOLDS = 3
"""Penalties under which heads that leave a fold out are solved for, where validation has chosen one already."""


def feature_store(classifier: Classifier, job: Job, *, views: int) -> FeatureStore:
    """The features of the training images (in `views` augmented views) and of the validation images."""
    features = extract_features(
        classifier,
        job.images,
        train_rows=job.manifest.rows(TRAIN),
        other_rows=job.manifest.rows(VALIDATION),
        spec=job.spec,
        autocast=job.runtime.fabric.autocast,
        batch_size=job.config.evaluate.batch_size,
        views=views,
        augment=job.config.augment,
        seed=job.config.seed,
        progress=job.progress,
        stop_requested=job.stop_requested,
    )
    earlier = {features.key: features.earlier_seconds}
    return FeatureStore(
        features.values, job.manifest, job.runtime.device, seed=job.config.seed, earlier_seconds=earlier
    )


def check_heads(config: RunConfig, manifest: Manifest) -> None:
    """Notice before training what heads cannot do.

    Raises ConfigError where `lbfgs` is to find anything but a linear head on features, or folds are asked for without
    it; SplitError or ClassesError where the images cannot be divided into the folds.
    """
    solved = [phase for phase in config.phases if phase.optimizer == "lbfgs"]
    head = config.model.head
    if solved and (head.hidden or head.cosine or head.feature_dropout or head.map_dropout):
        raise ConfigError(
            "The optimizer lbfgs finds linear heads only, without dropout. Take adam for that phase, or leave "
            "model.head as it is."
        )
    if any(phase.train != "head" for phase in solved):
        raise ConfigError("The optimizer lbfgs is for phases with train: head.")
    if _num_folds(config):
        if not solved and config.data.fold_training == "head":
            raise ConfigError(
                "Folds are for heads on features: give a --backbone, or a phase with the optimizer lbfgs. To train the "
                "whole network once for each fold: --set data.fold_training=finetune."
            )
        fold_of_rows(config, manifest)


@dataclass(frozen=True)
class SolvedHead:
    """What became of a head that was solved for.

    Attributes:
        train_loss: mean over the training rows.
        num_correct: of the training rows, with several labels per image the fraction of them that is right.
        said: a sentence on the penalty that was chosen.
        out_of_fold: predictions of training and validation rows by heads that have not seen them; None without folds.
    """

    train_loss: float
    num_correct: float
    said: str
    out_of_fold: Predictions | None = None


def solve_head(head: nn.Module, job: Job, features: FeatureStore) -> SolvedHead:
    """Put the best linear head that L-BFGS finds under a path of penalties into `head`, given the job's features.

    With folds of the training images it is the average of heads that each left out one of them. The penalty is then
    chosen by all out-of-fold predictions, and no head sees the validation images, by which the average is judged.
    """
    assert isinstance(head, nn.Linear), "check_heads has seen to it"
    smoothing, num_classes = job.config.loss.label_smoothing, job.manifest.num_classes
    train_rows, held_out = job.manifest.rows(TRAIN), job.manifest.rows(VALIDATION)
    out_of_fold = None
    if job.config.data.folds is None:
        views = range(len(features.features))
        weights = _sample_weights(job, train_rows)
        solution = solve_path(
            np.concatenate([_plain(features, train_rows, view=view) for view in views]),
            np.concatenate([job.manifest.targets[train_rows] for _ in views]),
            validation=(_plain(features, held_out), job.manifest.targets[held_out]),
            num_classes=num_classes,
            label_smoothing=smoothing,
            sample_weights=None if weights is None else np.tile(weights, len(views)),
            adjustment=_adjustment(job),
        )
        weight, bias = solution.head.weight, solution.head.bias
        path, penalty = solution.path, solution.penalty
        said = f"penalty {penalty:g} of {len(path)} tried has the lowest validation loss."
        if _num_folds(job.config):
            # The chosen penalty and the next stronger ones: each solution is where the next one begins.
            tried = [step.penalty for step in path if step.penalty >= penalty]
            found, out_of_fold = _solve_without_each_fold(job, features, penalties=tried[-_TRIED_BY_FOLDS:])
            said += f" {_describe(found, out_of_fold)}"
    else:
        found, out_of_fold = _solve_without_each_fold(job, features, penalties=PENALTIES)
        weight, bias = (np.mean([getattr(each, part) for each in found.heads], axis=0) for part in ("weight", "bias"))
        path, penalty = found.path, found.penalty
        said = _describe(found, out_of_fold)
        rows = job.manifest.rows(VALIDATION)
        logits = _plain(features, rows) @ weight.T + bias  # no head has seen these, so their average can answer
        out_of_fold = concatenate_predictions(out_of_fold, predictions_of(job.manifest, rows, logits))
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))
    chosen = next(step for step in path if step.penalty == penalty)
    answers = torch.from_numpy(_plain(features, train_rows) @ weight.T + bias)
    num_correct = _images_right(answers, torch.from_numpy(job.manifest.targets[train_rows]))
    # The path adds up the losses of several labels; the history holds their mean, as for every other phase.
    train_loss = chosen.train_loss / (num_classes if job.manifest.task == "multi" else 1)
    return SolvedHead(train_loss, num_correct, said, out_of_fold)


def _solve_without_each_fold(
    job: Job, features: FeatureStore, *, penalties: Sequence[float]
) -> tuple[FoldSolution, Predictions]:
    """Heads that each left out one fold, and what they say of it."""
    rows = fold_rows(job.config, job.manifest)
    found = solve_folds(
        _plain(features, rows),
        job.manifest.targets[rows],
        fold_of_rows(job.config, job.manifest),
        num_classes=job.manifest.num_classes,
        label_smoothing=job.config.loss.label_smoothing,
        sample_weights=_sample_weights(job, rows),
        adjustment=_adjustment(job),
        penalties=penalties,
    )
    return found, predictions_of(job.manifest, rows, found.logits)


def _describe(found: FoldSolution, out_of_fold: Predictions) -> str:
    logits, targets = torch.from_numpy(out_of_fold.logits), torch.from_numpy(out_of_fold.targets)
    right = _images_right(logits, targets) / len(out_of_fold)
    what = "images" if out_of_fold.task == "single" else f"images times {len(out_of_fold.classes)} labels"
    return (
        f"{len(found.heads)} folds; penalty {found.penalty:g} has the lowest out-of-fold loss, where {right:.1%} "
        f"of {len(out_of_fold):,} {what} are right."
    )


def _images_right(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """How many are; with several labels an image counts as the fraction of its labels."""
    return int(count_right(logits, targets)) / (1 if targets.ndim == 1 else targets.shape[1])


def _sample_weights(job: Job, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32] | None:
    """float32 [M] in units of their mean: each row's own weight, how often balancing shows it, and its class's weight,
    multiplied; None where all are 1.
    """
    config, data, targets = job.config, job.config.data, job.manifest.targets[rows]
    factors: list[npt.NDArray[np.floating[Any]]] = []
    own = job.manifest.loss_weights()
    if own is not None:
        factors.append(own[rows])
    if data.balance != "none":
        factors.append(
            row_weights(targets, balance=data.balance, oversample_factor=data.oversample_factor, seed=config.seed)
        )
    per_class = build_class_weights(config.loss, class_count_tensor(config, job.manifest))
    if per_class is not None:
        factors.append(per_class.numpy()[targets])
    return np.prod(factors, axis=0).astype(np.float32) if factors else None


def _adjustment(job: Job) -> npt.NDArray[np.float32] | None:
    """float32 [K]: what logit adjustment adds to the logits in training."""
    tau = job.config.loss.logit_adjustment
    if not tau:
        return None
    fractions = log_fractions(class_count_tensor(job.config, job.manifest))
    adjustment: npt.NDArray[np.float32] = (tau * fractions).numpy()
    return adjustment


def _plain(store: FeatureStore, rows: npt.NDArray[np.int64], *, view: int = 0) -> npt.NDArray[np.float32]:
    features: npt.NDArray[np.float32] = store.features[view, rows].astype(np.float32)
    return features


def _num_folds(config: RunConfig) -> int:
    """Of heads that are averaged, or that only find wrong labels; 0 for none."""
    asked = config.data.folds or config.data.out_of_fold
    return asked if isinstance(asked, int) else 0


def fold_rows(config: RunConfig, manifest: Manifest) -> npt.NDArray[np.int64]:
    """int64: the rows that are divided into folds.

    Where the folds' models ship together, the training rows: validation images stay unseen by all of them, so that
    temperature, thresholds and prediction sets are settled by what ships. Where the folds only look for wrong labels,
    training and validation rows.
    """
    return manifest.rows(TRAIN) if config.data.folds else manifest.rows_of(TRAIN, VALIDATION)


def fold_of_rows(config: RunConfig, manifest: Manifest) -> npt.NDArray[np.int64]:
    """int64: the fold, from 0, of each row of `fold_rows`."""
    num_folds = _num_folds(config)
    rows = fold_rows(config, manifest)
    groups = None if manifest.groups is None else manifest.groups[rows]
    if manifest.task == "multi":
        labels = manifest.targets[rows].astype(np.uint8)
        return multilabel_folds(labels, num_folds=num_folds, seed=config.seed, groups=groups)
    return stratified_folds(
        manifest.targets[rows].astype(np.int64),
        num_folds=num_folds,
        seed=config.seed,
        classes=manifest.classes,
        groups=groups,
    )
