"""What the kept weights answer on validation and test images, and what they see in them.

Between training and the judge. This is where test rows are predicted, once; nothing here looks at their targets. Where
the kept weights are a head on a frozen backbone, the features that it was trained on lie in the cache: of training and
validation images only the head is asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from linnaeus.data.loader import FeatureStore
from linnaeus.data.manifest import TEST, TRAIN, VALIDATION
from linnaeus.judging.judge import SubmittedFeatures
from linnaeus.judging.ood import draw_reference
from linnaeus.models import Classifier
from linnaeus.models.folding import folded
from linnaeus.predictions import TTA, Predictions, concatenate_predictions, mean_predictions, predict
from linnaeus.training.checkpoint import Position
from linnaeus.training.head_phase import feature_store
from linnaeus.training.job import Job
from linnaeus.training.phases import on_features


@dataclass(frozen=True)
class Answers:
    """What is known of the kept weights before anybody looks at test targets.

    Attributes:
        classifiers: one, or one per fold, which answer together.
        predictions: of validation and test images, by the model as it ships; logits at temperature 1.
        features: of the first classifier, of a sample of the training images and of these images.
        reference_rows: int64 [R], the rows of that sample.
    """

    classifiers: Sequence[Classifier]
    predictions: Predictions
    features: SubmittedFeatures
    reference_rows: npt.NDArray[np.int64]


def answer(job: Job, classifiers: Sequence[Classifier], position: Position) -> Answers:
    """Predict validation and test images, and draw the training images whose features the model keeps."""
    cached = _cached_features(classifiers[0], job, position)
    members = [_answers(classifiers[0], job, cached), *(_answers(each, job, None) for each in classifiers[1:])]
    validation, test = (members[0].of_split(split).features for split in (VALIDATION, TEST))
    assert validation is not None and test is not None
    rows = job.manifest.rows(TRAIN)
    rows = rows[draw_reference(job.manifest.targets[rows], seed=job.config.seed)]
    if cached is None:
        reference = predict_rows(classifiers[0], job, rows, tta="none").features
        assert reference is not None
    else:
        reference = np.asarray(cached.features[0, rows], np.float16)
    predictions = members[0] if len(members) == 1 else mean_predictions(members, [1.0] * len(members))
    return Answers(classifiers, predictions, SubmittedFeatures(reference, validation, test), rows)


def _cached_features(classifier: Classifier, job: Job, position: Position) -> FeatureStore | None:
    """Features of the training and validation images, where the kept weights are a head that was trained on them."""
    single = all(phase.feature_views == 1 for phase in job.config.phases if on_features(job.config, phase))
    return feature_store(classifier, job, views=1) if position.best.get("backbone") and single else None


def _answers(classifier: Classifier, job: Job, cached: FeatureStore | None) -> Predictions:
    """Of the validation and test images, with their features."""
    if cached is None or job.tta != "none":
        return predict_rows(classifier, job, job.manifest.rows_of(VALIDATION, TEST), tta=job.tta)
    rows = job.manifest.rows(VALIDATION)
    batches = cached.batches(rows, batch_size=job.config.evaluate.batch_size)
    validation = predict(classifier.head, batches, job.manifest, spec=None, tta="none")
    validation = replace(validation, features=np.asarray(cached.features[0, rows], np.float16))
    test = predict_rows(classifier, job, job.manifest.rows(TEST), tta="none")
    return concatenate_predictions(validation, test)


def predict_rows(
    classifier: Classifier, job: Job, rows: npt.NDArray[np.int64], *, tta: TTA, mirrored: bool = False
) -> Predictions:
    """Answers to rows of the manifest, with their features.

    `mirrored`: the network sees the mirror image instead of each image.
    """
    batches = job.images.batches(rows, batch_size=job.config.evaluate.batch_size)
    if mirrored:
        batches = (replace(batch, images=batch.images.flip(-1)) for batch in batches)
    short = folded(classifier.eval(), height=job.spec.height, width=job.spec.width)
    with job.runtime.fabric.autocast():
        return predict(short, batches, job.manifest, spec=job.spec, tta=tta, keep_features=True)
