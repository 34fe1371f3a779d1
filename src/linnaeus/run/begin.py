"""The steps of `begin`: images that can be trained on, a first network, what the time allows, and the files.

Beside `fit`, before training. Decides nothing that `planning` can decide from numbers alone; here are images, a network
and a clock. Knows nothing of scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import torch

from linnaeus import atomic
from linnaeus.analysis.copies import describe_copies, find_copies
from linnaeus.config.pages import to_yaml
from linnaeus.config.resolved import resolve_image
from linnaeus.config.settings import RunConfig
from linnaeus.data import intake
from linnaeus.data.cache.images import CachedImages, open_cache
from linnaeus.data.image_spec import ImageSpec, spec_from_config
from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import TRAIN, VALIDATION, Manifest
from linnaeus.data.statistics import channel_statistics, is_grey
from linnaeus.errors import ConfigError
from linnaeus.judging.operating_point import check_score_targets
from linnaeus.losses.penalty import choose_penalties
from linnaeus.models import Classifier
from linnaeus.models.heads import shift_logits
from linnaeus.planning.balance import plan_balance
from linnaeus.planning.fingerprint import Fingerprint, take_fingerprint
from linnaeus.planning.head_loss import check_head_loss
from linnaeus.planning.idle_settings import plan_idle_settings
from linnaeus.planning.image import plan_image
from linnaeus.planning.labels import plan_folds, plan_labels
from linnaeus.planning.plan import Plan, plan_page
from linnaeus.planning.recipe import choose_recipe
from linnaeus.planning.time_limit import plan_epochs_within, plan_phases_within
from linnaeus.planning.training import plan_training
from linnaeus.planning.transfer import is_backbone, plan_backbone
from linnaeus.predictions import NUM_TTA_VIEWS
from linnaeus.progress import Progress
from linnaeus.run.network import build_untrained, load_pretrained_weights
from linnaeus.run.preparation import Preparation, write_preparation
from linnaeus.run_folder import RunDir
from linnaeus.training.fold_runs import trains_folds_whole
from linnaeus.training.head_phase import check_heads
from linnaeus.training.job import Job, class_counts, num_shown
from linnaeus.training.loop import VALIDATION_COST
from linnaeus.training.phases import on_features
from linnaeus.training.run import measure_throughput
from linnaeus.training.runtime import Runtime

if TYPE_CHECKING:
    from linnaeus.models.weights import WeightsReport


@dataclass(frozen=True)
class Images:
    """What training can be done on.

    Attributes:
        manifest: divided, with unreadable images in no split.
        cache: their pixels.
        spec: the preprocessing, mean and deviation settled.
        leaked: ids of test images that have a copy among those of training or validation.
    """

    manifest: Manifest
    cache: CachedImages
    spec: ImageSpec
    leaked: tuple[str, ...]


def plan_before_pixels(
    plan: Plan,
    fingerprint: Fingerprint,
    *,
    recipe: str | None,
    configure: Callable[[str | None], RunConfig],
    runtime: Runtime,
) -> Plan:
    """Settle all that the cache of decoded images depends on, and refuse what cannot be before they are decoded."""
    if recipe is None:
        plan = choose_recipe(plan, fingerprint, configure)
    plan = plan_backbone(plan)
    plan = plan_labels(plan, task=fingerprint.task)
    check_head_loss(plan.config)
    plan = plan_image(plan, fingerprint)
    return plan.note("device", runtime.device.type, runtime.reason)


def plan_with_pixels(plan: Plan, images: Images) -> Plan:
    """Settle the rest, but for what a network has to be built for."""
    manifest = images.manifest
    grey = is_grey(images.cache.pixels, manifest.rows(TRAIN))
    plan = plan_training(plan, take_fingerprint(manifest), grey=grey)
    plan = plan_folds(plan, manifest)
    plan = plan_balance(plan, manifest, shown=class_counts(plan.config, manifest))
    return plan_idle_settings(plan, task=manifest.task)


def prepare_images(
    run: RunDir, plan: Plan, found: Manifest, *, brought: Manifest, fingerprint: Fingerprint, progress: Progress
) -> Images:
    """Decode all images, set aside those that cannot be, keep copies in one split, and measure the training images.

    Args:
        run: where those that are set aside are listed.
        plan: in which the preprocessing is settled.
        found: the rows, divided.
        brought: the rows with only the splits that the data brought.
        fingerprint: of the training images.
        progress: hears of what was found.
    """
    config = plan.config
    spec = image_spec(config)
    cache = open_cache(found, spec, threads=config.runtime.threads, progress=progress)
    found = intake.set_aside_unreadable(found, cache, config.data, seed=config.seed, original=brought)
    if cache.problems:
        intake.write_quarantine(run.quarantine, found, cache)
        progress.say(f"{len(cache.problems):,} images cannot be read and are left out.")
    copies = find_copies(cache, source_px=min(fingerprint.width, fingerprint.height))
    told = len(found.notes)
    found = intake.keep_together(found, copies, cache, config.data, seed=config.seed, original=brought)
    for line in (*found.notes[told:], *describe_copies(copies, found)):
        progress.say(line)
    if config.image.normalize == "dataset":
        mean, std = channel_statistics(cache.pixels, found.rows(TRAIN))
        spec = spec_from_config(resolve_image(config.image), mean=mean, std=std)
    return Images(found, cache, spec, tuple(found.ids.take(pa.array(copies.leaked(found))).to_pylist()))


def image_spec(config: RunConfig) -> ImageSpec:
    """Preprocessing; mean and deviation of the data itself are not known yet where those are asked for."""
    image = resolve_image(config.image)
    if image.normalize != "backbone":
        return spec_from_config(image)
    if not is_backbone(config.model):
        raise ConfigError(
            f"image.normalize=backbone needs a backbone, and {config.model.name} is none. Take dataset instead."
        )
    from linnaeus.models.backbones import backbone_spec  # takes seconds: timm

    backbone = backbone_spec(config.model.name)
    return spec_from_config(image, mean=backbone.mean, std=backbone.std)


def first_network(
    plan: Plan, manifest: Manifest, *, progress: Progress
) -> tuple[Classifier, WeightsReport | None, Plan]:
    """The network with which training begins, what was loaded of pretrained weights, and the plan that names the file.

    Whatever cannot be trained as it was asked is refused here, before the run begins.
    """
    config = plan.resolved
    check_heads(config, manifest)
    check_score_targets(config.evaluate, manifest.classes, task=manifest.task)
    manifest.loss_weights()  # refuses weights that leave nothing to learn from
    classifier = build_untrained(config, manifest)
    choose_penalties(classifier, l1=config.loss.l1, l2=config.loss.l2)  # refuses a penalty on layers it lacks
    if config.evaluate.logit_adjustment:
        shift_logits(classifier.head, torch.zeros(manifest.num_classes))  # refuses a head that cannot be adjusted
    loaded = load_pretrained_weights(classifier, config)
    if loaded is None:
        return classifier, None, plan
    for line in loaded.describe():
        progress.say(line)
    return classifier, loaded, plan.change({"model.weights": str(loaded.source)})


def plan_time(plan: Plan, images: Images, classifier: Classifier, *, runtime: Runtime) -> Plan:
    """Cut the phases to what the time allows, where there is a limit, at the speed this machine shows.

    A head that is solved for cannot be cut. Its batch is all training images at once, as features; as images they would
    take tens of gigabytes, so a phase of that kind is never what the speed is measured with.
    """
    config = plan.resolved
    limit = config.time_limit_seconds
    if limit is None:
        return plan
    in_batches = [phase for phase in config.phases if phase.optimizer != "lbfgs"]
    if not in_batches:
        return plan.note("time limit", "nothing to cut", "a head is solved for, and each image is seen once")
    store = ImageStore(images.cache, images.manifest, runtime.device)
    job = Job(config, images.manifest, store, images.spec, runtime, config.evaluate.tta)
    speed = measure_throughput(classifier, job, in_batches[-1]) * runtime.fabric.world_size
    num_train, num_validation = num_shown(config, images.manifest), len(images.manifest.rows(VALIDATION))
    validation = VALIDATION_COST * NUM_TTA_VIEWS[job.tta] * num_validation
    if trains_folds_whole(config) and config.data.folds is not None:
        seen = (1 + num_validation / len(images.manifest.rows(TRAIN))) * (1 - 1 / config.data.folds)
        num_train = round(num_train * seen)
        limit /= config.data.folds
    if len(config.phases) == 1:
        return plan_epochs_within(
            plan,
            config.phases[0],
            seconds=limit,
            num_train=num_train,
            num_validation=validation,
            images_per_second=speed,
        )
    costs = [
        (VALIDATION_COST * (phase.feature_views * num_train + num_validation), 0.0)
        if on_features(config, phase)
        else (0.0, num_train + validation)
        for phase in config.phases
    ]
    return plan_phases_within(plan, config.phases, seconds=limit, costs=costs, images_per_second=speed)


def write_beginning(run: RunDir, plan: Plan, images: Images, *, weights: WeightsReport | None, seconds: float) -> None:
    """Write everything that `finish` needs; config.yaml last, so that a folder which has one is complete."""
    images.manifest.save(run.manifest)
    atomic.write_text(run.plan, plan_page(plan.decisions))
    write_preparation(
        run.settled,
        Preparation(
            image_spec=images.spec,
            cache=images.cache.path.name,
            decisions=plan.decisions,
            leaked_test_ids=images.leaked,
            weights_sha256=None if weights is None else weights.sha256,
            weights_origins=() if weights is None else weights.origins,
            seconds=seconds,
        ),
    )
    atomic.write_text(run.config, to_yaml(plan.resolved))
