"""What only the beginning of a run needs: the preprocessing, what the time allows, and the files it is resumed from.

Beside `fit`, before training. Decides nothing that `planning` can decide from numbers alone; here are a network
and a clock. Knows nothing of scores.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from linnaeus import atomic
from linnaeus.config.pages import to_yaml
from linnaeus.config.settings import RunConfig
from linnaeus.data.cache.images import CachedImages
from linnaeus.data.image_spec import ImageSpec, spec_from_config
from linnaeus.data.manifest import TRAIN, VALIDATION, Manifest
from linnaeus.errors import ConfigError
from linnaeus.models import Classifier
from linnaeus.planning.decision import Decision
from linnaeus.planning.plan import epochs_within, plan_page
from linnaeus.planning.transfer import is_backbone, phases_within
from linnaeus.predictions import NUM_VIEWS
from linnaeus.run_folder import RunDir
from linnaeus.training.fold_runs import trains_folds_whole
from linnaeus.training.job import Job, num_shown
from linnaeus.training.loop import VALIDATION_COST
from linnaeus.training.phases import on_features
from linnaeus.training.run import measure_throughput


def image_spec(config: RunConfig) -> ImageSpec:
    """Preprocessing; mean and deviation of the data itself are not known yet where those are asked for."""
    if config.image.normalize != "backbone":
        return spec_from_config(config.image)
    if not is_backbone(config.model):
        raise ConfigError(
            f"image.normalize=backbone needs a backbone, and {config.model.name} is none. Take dataset instead."
        )
    from linnaeus.models.backbones import backbone_spec  # takes seconds: timm

    backbone = backbone_spec(config.model.name)
    return spec_from_config(config.image, mean=backbone.mean, std=backbone.std)


def fit_time_limit(config: RunConfig, job: Job, classifier: Classifier) -> tuple[RunConfig, Decision]:
    """Cut the phases to what the time allows, at the speed this machine shows."""
    assert config.time_limit_seconds is not None
    phase = config.phases[-1]
    assert phase.epochs != "auto"
    speed = measure_throughput(classifier, job, phase) * job.runtime.fabric.world_size
    num_train, num_validation = num_shown(config, job.manifest), len(job.manifest.rows(VALIDATION))
    validation = VALIDATION_COST * NUM_VIEWS[job.views] * num_validation
    limit = config.time_limit_seconds
    if trains_folds_whole(config):
        assert config.data.folds is not None
        seen = (1 + num_validation / len(job.manifest.rows(TRAIN))) * (1 - 1 / config.data.folds)
        num_train = round(num_train * seen)
        limit /= config.data.folds
    if len(config.phases) > 1:
        once = [VALIDATION_COST * (p.feature_views * num_train + num_validation) for p in config.phases]
        costs = [
            (once[k], 0.0) if on_features(config, p) else (0.0, num_train + validation)
            for k, p in enumerate(config.phases)
        ]
        phases, decision = phases_within(config.phases, seconds=limit, costs=costs, images_per_second=speed)
        return config.model_copy(update={"phases": phases}), decision
    epochs, decision = epochs_within(
        limit, num_train=num_train, num_validation=validation, images_per_second=speed, wanted=phase.epochs
    )
    return config.model_copy(update={"phases": [phase.model_copy(update={"epochs": epochs})]}), decision


def write_beginning(
    run: RunDir,
    config: RunConfig,
    manifest: Manifest,
    spec: ImageSpec,
    cache: CachedImages,
    decisions: list[Decision],
    leaked: list[str],
    *,
    weights_sha256: str | None,
) -> None:
    """Write everything that `finish` needs; config.yaml last, so that a folder which has one is complete."""
    manifest.save(run.manifest)
    atomic.write_text(run.plan, plan_page(decisions))
    facts = {
        "image_spec": spec.to_dict(),
        "cache": cache.path.name,
        "decisions": [asdict(decision) for decision in decisions],
        "leaked_test_ids": leaked,
        "weights_sha256": weights_sha256,
        "seconds": 0.0,
    }
    atomic.write_json(run.settled, facts)
    atomic.write_text(run.config, to_yaml(config))


def note_seconds(run: RunDir, seconds: float) -> None:
    """Write down how long the beginning took."""
    facts = json.loads(run.settled.read_text(encoding="utf-8"))
    atomic.write_json(run.settled, {**facts, "seconds": seconds})
