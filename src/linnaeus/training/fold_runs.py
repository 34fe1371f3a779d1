"""Folds that are trained whole: one training for each part that is left out, in a folder of its own.

Around `run`, for which each fold is a training like any other: a fold that was finished is only read again, one that
was stopped goes on from its own checkpoint. Knows nothing of how the classifiers will be judged or shipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from linnaeus.atomic import write_whole
from linnaeus.config.settings import RunConfig
from linnaeus.data.manifest import TRAIN, UNASSIGNED, VALIDATION
from linnaeus.models.classifier import Classifier
from linnaeus.predictions import Predictions, concatenate_predictions, mean_predictions, predictions_of
from linnaeus.run_folder import RunDir
from linnaeus.training.head_phase import fold_of_rows, fold_rows
from linnaeus.training.job import Job
from linnaeus.training.loop import answer
from linnaeus.training.run import train


@dataclass(frozen=True)
class TrainedFolds:
    """What the trainings gave.

    Attributes:
        classifiers: one per fold, with its kept weights.
        out_of_fold: predictions of the training images, each by the classifier that has not seen it, and of the
            validation images by all of them together.
        seconds: of all trainings.
        earlier_seconds: as of `Position`.
    """

    classifiers: tuple[Classifier, ...]
    out_of_fold: Predictions
    seconds: float
    earlier_seconds: dict[str, float]


def trains_folds_whole(config: RunConfig) -> bool:
    """Whether each fold is a training by itself, not a head on features."""
    return config.data.folds is not None and config.data.fold_training == "finetune"


def train_folds(
    build: Callable[[RunDir], Classifier], adjust: Callable[[Classifier], None], job: Job, run: RunDir
) -> TrainedFolds:
    """Train once without each fold, which chooses the weights to keep, or go on where that stopped.

    The validation images of the run are seen by none of the trainings.

    Args:
        build: the classifier that a training in this folder begins with.
        adjust: changes a trained classifier before it answers, as the finished model will be.
        job: on images, with `data.folds` parts; `time_limit_seconds` is divided between them.
        run: of all; each fold has `folds/1`, `folds/2` ... in it. Writes the histories of all as its own.

    Raises Interrupted after saving when the user stops it, and what `train` raises.
    """
    assert job.config.data.folds is not None
    num_folds, manifest = job.config.data.folds, job.manifest
    rows, fold = fold_rows(job.config, manifest), fold_of_rows(job.config, manifest)
    limit = job.config.time_limit_seconds
    data = job.config.data.model_copy(update={"folds": None, "out_of_fold": 0})
    alone = {"data": data, "time_limit_seconds": None if limit is None else limit / num_folds}
    config = job.config.model_copy(update=alone)
    logits = np.zeros((len(rows), manifest.num_classes), np.float32)
    classifiers, histories, seconds = [], [], 0.0
    earlier: dict[str, float] = {}
    for k in range(num_folds):
        splits = np.where(manifest.splits == VALIDATION, UNASSIGNED, manifest.splits)
        splits[rows] = np.where(fold == k, VALIDATION, TRAIN)
        own = RunDir(run.folds / str(k + 1))
        own_job = replace(job, config=config, manifest=manifest.with_splits(splits))
        job.progress.say(f"Fold {k + 1} of {num_folds}: {(fold == k).sum():,} of {len(rows):,} images are left out.")
        classifier = build(own)
        position = train(classifier, own_job, own)
        adjust(classifier)
        logits[fold == k] = answer(classifier, job, rows[fold == k]).logits
        histories.append(pd.read_csv(own.history).assign(fold=k + 1))
        classifiers.append(classifier)
        seconds += position.seconds
        earlier = {**position.earlier_seconds, **earlier}
    if job.runtime.fabric.is_global_zero:
        write_whole(run.history, lambda temporary: _one_history(histories).to_csv(temporary, index=False))
    held_out = manifest.rows(VALIDATION)
    together = mean_predictions([answer(each, job, held_out) for each in classifiers], [1.0] * num_folds)
    out_of_fold = concatenate_predictions(predictions_of(manifest, rows, logits), together)
    return TrainedFolds(tuple(classifiers), out_of_fold, seconds, earlier)


def _one_history(histories: list[pd.DataFrame]) -> pd.DataFrame:
    """One after another, with epochs and seconds counted on and phases named after their fold."""
    parts, epochs, seconds = [], 0, 0.0
    for history in histories:
        named = "fold " + history["fold"].astype(str) + ": " + history["phase"].astype(str)
        part = history.assign(epoch=history["epoch"] + epochs, seconds=history["seconds"] + seconds, phase=named)
        epochs, seconds = int(part["epoch"].max()), float(part["seconds"].max())
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
