"""What features answer without any training: nearest class mean, and votes of the nearest training images.

Free where features were computed once, and honest: a head, or fine-tuning, that does not beat them learned nothing.
Knows nothing of files, nor of how answers are scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnaeus.data.manifest import TEST, TRAIN, VALIDATION
from linnaeus.metrics.classification import accuracy_score
from linnaeus.metrics.multilabel import mean_average_precision
from linnaeus.metrics.neighbours import nearest_rows, unit_rows
from linnaeus.models.classifier import Classifier
from linnaeus.predictions import Predictions, predictions_of
from linnaeus.training.features import compute_features
from linnaeus.training.head_phase import feature_store
from linnaeus.training.job import Job

Floats = npt.NDArray[np.float32]
Targets = npt.NDArray[np.int64] | npt.NDArray[np.uint8]

NEIGHBOURS = (1, 3, 5, 10, 20, 50)
"""Numbers of neighbours that are tried on the validation images."""
_CENTROID_SCALE = 16.0
"""Cosines lie too close together for a softmax; multiplied by this they make a tenable one. Ranks stay as they are."""


@dataclass(frozen=True)
class Neighbours:
    """Votes of the nearest training images.

    Attributes:
        k: how many vote, chosen on the validation images.
        logits: float32 [M, K] of every query.
    """

    k: int
    logits: Floats


def nearest_centroid(features: Floats, targets: npt.NDArray[np.int64], queries: Floats, *, num_classes: int) -> Floats:
    """Logits float32 [M, K]: scaled cosines of each query with the mean direction of each class's training images.

    Args:
        features: float32 [N, D], rows of length 1.
        targets: int64 [N]. A class without an image gets the least logit there can be.
        queries: float32 [M, D], rows of length 1.
    """
    members = np.zeros((num_classes, len(features)), np.float32)
    members[targets, np.arange(len(features))] = 1.0
    logits = _CENTROID_SCALE * (queries @ unit_rows(members @ features).T)
    return np.asarray(np.where(members.any(axis=1), logits, -_CENTROID_SCALE), np.float32)


def nearest_neighbours(
    features: Floats,
    targets: Targets,
    queries: Floats,
    *,
    validation: npt.NDArray[np.int64],
    validation_targets: Targets,
    num_classes: int,
) -> Neighbours:
    """The votes of the k training images that are nearest by cosine, k being the best of NEIGHBOURS in validation.

    Best is the highest accuracy or, for several labels, mean average precision; the fewest neighbours on ties. Logits
    are of the fraction of votes; where classes have equally many, the one whose voters are nearer is ahead by a hair.

    Args:
        features: float32 [N, D], rows of length 1.
        targets: int64 [N], or uint8 [N, K] of several labels: a neighbour then votes for each of its labels.
        queries: float32 [M, D], rows of length 1; those of the validation and of the test images.
        validation: int64 [V], which queries are validation images.
        validation_targets: theirs.
        num_classes: K.
    """
    tried = [k for k in NEIGHBOURS if k <= len(features)] or [len(features)]
    multi = targets.ndim == 2
    labels = targets.astype(np.float32) if multi else np.eye(num_classes, dtype=np.float32)[targets]
    votes = {k: np.zeros((len(queries), num_classes), np.float32) for k in tried}
    for rows, nearest, _ in nearest_rows(queries, features, num=max(tried)):
        given = labels[nearest]  # [rows, k, K]
        hair = np.linspace(1e-3, 0.0, given.shape[1], dtype=np.float32)[:, None]
        for k in tried:
            votes[k][rows] = (given[:, :k] * (1.0 + hair[:k])).sum(axis=1) / k

    def quality(k: int) -> float:
        held_out = votes[k][validation]
        if multi:
            return mean_average_precision(validation_targets.astype(np.uint8), held_out)
        return accuracy_score(validation_targets.astype(np.int64), held_out.argmax(axis=1), num_classes)

    best = max(tried, key=quality)  # the first of equals
    return Neighbours(best, _logits(votes[best], best, multi=multi))


def _logits(votes: Floats, k: int, *, multi: bool) -> Floats:
    """Of fractions 0-1, with half a vote for and against every class, so that no answer is certain."""
    fraction = (k * votes + 0.5) / (k + 1.0)
    fraction = np.clip(fraction, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(fraction / (1 - fraction)) if multi else np.log(fraction), np.float32)


def answer_baselines(
    classifier: Classifier, job: Job, *, of_test: npt.NDArray[np.floating] | None
) -> tuple[dict[str, Predictions], int]:
    """Answers on the validation and test images by the features of a backbone that nothing was trained on.

    Args:
        classifier: its backbone as it was before the first phase; the head is not asked.
        job: on images. Features of training and validation images are reopened from the cache where they are there.
        of_test: float [T, D], features of the test images by this very backbone, where they are known; None to
            compute them.

    Returns predictions by "nearest_centroid" (not for several labels per image) and "nearest_neighbours", and the
    number of neighbours, which validation chose.
    """
    manifest = job.manifest
    train, validation, test = (manifest.rows(split) for split in (TRAIN, VALIDATION, TEST))
    known = feature_store(classifier, job, views=job.config.phases[0].feature_views).features[0]
    if of_test is None:
        of_test = compute_features(
            classifier,
            job.images,
            test,
            spec=job.spec,
            autocast=job.runtime.fabric.autocast,
            batch_size=job.config.evaluate.batch_size,
            progress=job.progress,
        )
    mean = np.asarray(known[train].mean(axis=0, dtype=np.float64), np.float32)
    features = unit_rows(known[train], mean=mean)
    queries = unit_rows(np.concatenate([known[validation], of_test]), mean=mean)
    rows, targets = np.concatenate([validation, test]), manifest.targets[train]
    num_classes = manifest.num_classes
    answers = {}
    if manifest.task == "single":
        logits = nearest_centroid(features, targets.astype(np.int64), queries, num_classes=num_classes)
        answers["nearest_centroid"] = predictions_of(manifest, rows, logits)
    found = nearest_neighbours(
        features,
        targets,
        queries,
        validation=np.arange(len(validation)),
        validation_targets=manifest.targets[validation],
        num_classes=num_classes,
    )
    answers["nearest_neighbours"] = predictions_of(manifest, rows, found.logits)
    return answers, found.k
