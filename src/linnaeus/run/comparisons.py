"""The run beside what it might have been: untrained baselines, without balancing, with test-time augmentation.

After the judge, on the same images and by paired tests. Knows nothing of how any of it is shown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch

from linnaeus.data.manifest import TRAIN, VALIDATION
from linnaeus.errors import ModelError
from linnaeus.judging.balancing import balance_effect
from linnaeus.judging.baselines import evaluate_baselines
from linnaeus.judging.evaluation import Balancing, Baseline, PairedDifference
from linnaeus.judging.judge import Judgement
from linnaeus.judging.tta import compare_views
from linnaeus.models import Classifier
from linnaeus.planning.transfer import is_backbone
from linnaeus.predictions import groups_of, rows_of
from linnaeus.run.answers import Answers, predict_rows
from linnaeus.run.network import build_untrained, load_pretrained_weights
from linnaeus.run.preparation import Preparation
from linnaeus.training.baselines import answer_baselines
from linnaeus.training.job import Job
from linnaeus.training.phases import on_features
from linnaeus.training.unbalanced import answer_with_and_without, balances

MOST_IMAGES_FOR_TTA = 5_000
"""On more validation images the pass that test-time augmentation takes would cost more than it is worth."""


class Alternatives(TypedDict, total=False):
    """Sections of an Evaluation."""

    baselines: dict[str, Baseline]
    balancing: Balancing
    tta: PairedDifference


def compare_with_alternatives(
    job: Job, answers: Answers, judgement: Judgement, preparation: Preparation
) -> Alternatives:
    """`baselines`, `balancing` and `tta` of the evaluation, where this run has them.

    Args:
        preparation: what was settled before training.
    """
    found = Alternatives()
    frozen = _frozen(job, preparation)
    if frozen is not None:
        found["baselines"] = _baselines(job, answers, judgement, frozen)
        if balances(job.config):
            found["balancing"] = _balancing(job, frozen)
    tta = _tta(job, answers, judgement)
    if tta is not None:
        found["tta"] = tta
    return found


def _frozen(job: Job, preparation: Preparation) -> Classifier | None:
    """The backbone as it was before training, where the first phase had features computed by it; else None."""
    config = job.config
    if not on_features(config, config.phases[0]):
        return None
    frozen = build_untrained(config, job.manifest)
    if preparation.weights_sha256 is not None:
        try:
            loaded = load_pretrained_weights(frozen, config)
        except ModelError:
            loaded = None
        if loaded is None or loaded.sha256 != preparation.weights_sha256:
            job.progress.say("The pretrained weights are no longer where they were: baselines are left out.")
            return None
    return frozen.to(job.runtime.device)


def _baselines(job: Job, answers: Answers, judgement: Judgement, frozen: Classifier) -> dict[str, Baseline]:
    """What the backbone's features answer without training. Where training did not move it, those of the test images
    are there already.
    """
    config, model = job.config, judgement.predictions
    assert model is not None
    of_test = answers.features.test if _same_backbone(frozen, answers.classifiers[0]) else None
    found, num_neighbours = answer_baselines(frozen, job, of_test=of_test)
    baselines = evaluate_baselines(
        found,
        model,
        groups=groups_of(model, job.manifest),
        thresholds=judgement.settled.thresholds,
        rule=config.evaluate.thresholds,
        confidence=config.evaluate.confidence,
        bootstrap_samples=config.evaluate.bootstrap_samples,
        seed=config.seed,
    )
    voting = baselines["nearest_neighbours"].model_copy(update={"num_neighbours": num_neighbours})
    return {**baselines, "nearest_neighbours": voting}


def _same_backbone(frozen: Classifier, kept: Classifier) -> bool:
    """Whether both have one backbone, weight by weight."""
    weights = kept.backbone.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in frozen.backbone.state_dict().items())


def _balancing(job: Job, frozen: Classifier) -> Balancing:
    balanced, plain = answer_with_and_without(frozen, job)
    return balance_effect(
        balanced,
        plain,
        train_counts=job.manifest.class_counts(job.manifest.rows(TRAIN)),
        groups=groups_of(balanced, job.manifest),
        seed=job.config.seed,
    )


def _tta(job: Job, answers: Answers, judgement: Judgement) -> PairedDifference | None:
    """Whether averaging with the mirror image would help a model that does without it for speed: one more pass over
    validation images, where training mirrored too and there are not too many; else None.
    """
    config, settled = job.config, judgement.settled
    plain = answers.predictions.of_split(VALIDATION)
    mirrors = is_backbone(config.model) and job.tta == "none" and config.augment.flip in ("horizontal", "both")
    if not mirrors or not 0 < len(plain) <= MOST_IMAGES_FOR_TTA or len(answers.classifiers) > 1:
        return None
    rows = rows_of(plain, job.manifest)
    mirrored = predict_rows(answers.classifiers[0], job, rows, tta="none", mirrored=True)
    logits: npt.NDArray[np.float32] = (plain.logits + mirrored.logits) / np.float32(2)
    return compare_views(
        settled.applied(plain),
        settled.applied(replace(plain, logits=logits)),
        groups=groups_of(plain, job.manifest),
        thresholds=settled.thresholds,
        confidence=config.evaluate.confidence,
        bootstrap_samples=config.evaluate.bootstrap_samples,
        seed=config.seed,
    )
