"""What the kept weights answer on images held out of training, and what is settled by the validation images among them.

Between training and the scores. This is where test rows are predicted, once; nothing here looks at their targets. Where
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
from linnaeus.judging.ood import draw_bank
from linnaeus.judging.selection import mean_logits
from linnaeus.judging.settle import Settled, settle
from linnaeus.judging.trust import Trust, learn_trust
from linnaeus.models import Classifier
from linnaeus.models.folding import folded
from linnaeus.predictions import Predictions, Views, concatenate_predictions, predict
from linnaeus.run_folder import RunDir
from linnaeus.training.checkpoint import Position
from linnaeus.training.head_phase import feature_store
from linnaeus.training.job import Job
from linnaeus.training.phases import on_features


@dataclass(frozen=True)
class HeldOut:
    """What is known of the kept weights before anybody looks at test targets.

    Attributes:
        classifiers: one, or one per fold, which answer together.
        raw: predictions of validation and test images, as the networks gave them; out of fold where there are folds.
        out_of_fold: whether they are.
        settled: temperature, operating point and thresholds.
        predictions: `raw` with these.
        trust: prediction sets, and what is familiar.
        test_features: float [N, D] of the test images, by the first classifier.
        known_rows, known: int64 [R] and float [R, D], a sample of training images and their features.
    """

    classifiers: Sequence[Classifier]
    raw: Predictions
    out_of_fold: bool
    settled: Settled
    predictions: Predictions
    trust: Trust
    test_features: npt.NDArray[np.floating]
    known_rows: npt.NDArray[np.int64]
    known: npt.NDArray[np.floating]

    @property
    def test(self) -> Predictions:
        """Those of the test images."""
        return self.predictions.of_split(TEST)


def predict_held_out(run: RunDir, job: Job, classifiers: Sequence[Classifier], position: Position) -> HeldOut:
    """Predict validation and test images, and settle by those that no head has seen what is left to choose."""
    config = job.config
    at_hand = _features_at_hand(classifiers[0], job, position)
    answers = raw = _answers(classifiers, job, at_hand)
    out_of_fold = bool(position.best.get("out_of_fold"))
    unseen = Predictions.load(run.out_of_fold) if out_of_fold else raw.of_split(VALIDATION)
    if out_of_fold:
        raw = concatenate_predictions(unseen.of_split(VALIDATION), raw.of_split(TEST))
    settled = settle(unseen, config.evaluate)
    known_rows, known = _known(classifiers[0], job, at_hand)
    validation, test = (answers.of_split(split).features for split in (VALIDATION, TEST))
    assert validation is not None and test is not None
    trust = learn_trust(
        settled.applied(unseen), bank=known, validation=validation, config=config.evaluate, seed=config.seed
    )
    if len(classifiers) > 1:  # each has features of its own, and has seen most of the validation images
        trust = replace(trust, familiarity=None)
    return HeldOut(classifiers, raw, out_of_fold, settled, settled.applied(raw), trust, test, known_rows, known)


def _features_at_hand(classifier: Classifier, job: Job, position: Position) -> FeatureStore | None:
    """Features of the training and validation images, where the kept weights are a head that was trained on them."""
    single = all(phase.feature_views == 1 for phase in job.config.phases if on_features(job.config, phase))
    return feature_store(classifier, job, views=1) if position.best.get("backbone") and single else None


def _answers(classifiers: Sequence[Classifier], job: Job, at_hand: FeatureStore | None) -> Predictions:
    """Of the validation and test images; of several classifiers the mean of their probabilities."""
    if at_hand is not None and job.views == "one":
        assert job.config.evaluate.batch_size != "auto"
        rows = job.manifest.rows(VALIDATION)
        batches = at_hand.batches(rows, batch_size=job.config.evaluate.batch_size)
        validation = predict(classifiers[0].head, batches, job.manifest, spec=None, views="one")
        validation = replace(validation, features=np.asarray(at_hand.features[0, rows], np.float16))
        test = predict_rows(classifiers[0], job, job.manifest.rows(TEST), views="one")
        return concatenate_predictions(validation, test)
    rows = job.manifest.rows_of(VALIDATION, TEST)
    found = [predict_rows(classifier, job, rows, views=job.views) for classifier in classifiers]
    if len(found) == 1:
        return found[0]
    probabilities = [predictions.probabilities for predictions in found]
    logits = mean_logits(probabilities, [1.0] * len(found), multi=job.manifest.task == "multi")
    return replace(found[0], logits=logits)


def predict_rows(
    classifier: Classifier, job: Job, rows: npt.NDArray[np.int64], *, views: Views, mirrored: bool = False
) -> Predictions:
    """Answers to rows of the manifest, with their features.

    `mirrored`: the network sees the mirror image instead of each image.
    """
    assert job.config.evaluate.batch_size != "auto"
    batches = job.images.batches(rows, batch_size=job.config.evaluate.batch_size)
    if mirrored:
        batches = (replace(batch, images=batch.images.flip(-1)) for batch in batches)
    short = folded(classifier.eval(), height=job.spec.height, width=job.spec.width)
    with job.runtime.fabric.autocast():
        return predict(short, batches, job.manifest, spec=job.spec, views=views, keep_features=True)


def _known(
    classifier: Classifier, job: Job, at_hand: FeatureStore | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    """Rows int64 [R] and features float [R, D] of a sample of training images: what is familiar, and the neighbours of
    mistakes.
    """
    rows = job.manifest.rows(TRAIN)
    rows = rows[draw_bank(job.manifest.targets[rows], seed=job.config.seed)]
    if at_hand is not None:
        return rows, np.asarray(at_hand.features[0, rows])
    features = predict_rows(classifier, job, rows, views="one").features
    assert features is not None
    return rows, features
