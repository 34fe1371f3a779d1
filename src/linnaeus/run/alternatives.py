"""What the run might have been instead: without training, without balancing, with mirror views.

After training, beside the scores of what was kept. Knows nothing of how these alternatives are shown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from linnaeus.data.manifest import TRAIN, VALIDATION
from linnaeus.errors import ModelError
from linnaeus.judging.balancing import balance_effect
from linnaeus.judging.baselines import evaluate_baselines
from linnaeus.judging.tta import offer_mirror_views
from linnaeus.models import Classifier
from linnaeus.planning.transfer import is_backbone
from linnaeus.predictions import rows_of
from linnaeus.run.answers import HeldOut, predict_rows
from linnaeus.run.network import build_untrained, load_pretrained_weights
from linnaeus.run.preparation import Preparation
from linnaeus.training.baselines import answer_baselines
from linnaeus.training.job import Job
from linnaeus.training.phases import on_features
from linnaeus.training.unbalanced import answer_with_and_without, balances

MOST_OFFERED = 5_000
"""On more validation images the pass that an offer takes would cost more than it is worth."""


def describe_alternatives(job: Job, held_out: HeldOut, preparation: Preparation) -> dict[str, Any]:
    """`baselines`, `balancing` and `offers` of evaluation.json, where this run has them.

    Args:
        preparation: what was settled before training.
    """
    told: dict[str, Any] = {}
    frozen = _frozen(job, preparation)
    if frozen is not None:
        told |= _baselines(job, held_out, frozen)
        if balances(job.config):
            counts = job.manifest.class_counts(job.manifest.rows(TRAIN))
            told["balancing"] = balance_effect(*answer_with_and_without(frozen, job), train_counts=counts)
    if not held_out.out_of_fold:  # else the shipped model has seen the validation images
        told |= _offers(job, held_out)
    return told


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


def _baselines(job: Job, held_out: HeldOut, frozen: Classifier) -> dict[str, Any]:
    """What the backbone's features answer without training. Where training did not move it, those of the test images
    are there already.
    """
    config = job.config
    of_test = held_out.test_features if _same(frozen, held_out.classifiers[0]) else None
    answers, num_neighbours = answer_baselines(frozen, job, of_test=of_test)
    found = evaluate_baselines(
        answers,
        held_out.predictions,
        thresholds=held_out.settled.thresholds,
        rule=config.evaluate.thresholds,
        confidence=config.evaluate.confidence,
        bootstrap_samples=config.evaluate.bootstrap_samples,
        seed=config.seed,
    )
    found["nearest_neighbours"]["num_neighbours"] = num_neighbours
    return {"baselines": found}


def _same(frozen: Classifier, kept: Classifier) -> bool:
    """Whether both have one backbone, weight by weight."""
    weights = kept.backbone.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in frozen.backbone.state_dict().items())


def _offers(job: Job, held_out: HeldOut) -> dict[str, Any]:
    """Whether mirror views would help a model that does without them for speed: one more pass over validation images,
    where training mirrored too and there are not too many; else nothing.
    """
    config, settled = job.config, held_out.settled
    validation = held_out.raw.of_split(VALIDATION)
    speaks = is_backbone(config.model) and job.views == "one" and config.augment.flip in ("horizontal", "both")
    if not speaks or not 0 < len(validation) <= MOST_OFFERED:
        return {}
    mirrored = predict_rows(held_out.classifiers[0], job, rows_of(validation, job.manifest), views="one", mirrored=True)
    logits: npt.NDArray[np.float32] = (validation.logits + mirrored.logits) / np.float32(2)
    both = replace(validation, logits=logits)
    found = offer_mirror_views(
        settled.applied(validation),
        settled.applied(both),
        thresholds=settled.thresholds,
        bootstrap_samples=config.evaluate.bootstrap_samples,
        seed=config.seed,
    )
    return {"offers": {"mirror_views": found}}
