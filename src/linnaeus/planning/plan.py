"""Settles every "auto" of a configuration from what the data is, and writes down why.

Two steps, because some choices need pixels: `choose_recipe` and `plan_image` before the cache is built, `plan_training`
after. Nothing here looks at validation or test images.
"""

from __future__ import annotations

import math
from typing import Any

from linnaeus.augment.sets import REFERENCE_SETS
from linnaeus.config.settings import AugmentConfig, PhaseConfig, RunConfig
from linnaeus.planning.decision import Decision
from linnaeus.planning.fingerprint import Fingerprint
from linnaeus.planning.transfer import finetuning_epochs, is_backbone, plan_backbone_image

SMALL_PX = 64
LARGE_PX = 64
MIN_PX = 16
NETWORK = "speed_cnn"
FEW_IMAGES = 10_000
NARROW, WIDE = [64, 128, 128], [64, 256, 256]
_MAX_SMALL_BATCH, _MAX_LARGE_BATCH, _MIN_BATCH = 500, 64, 128
_STEPS_PER_EPOCH = 96


def choose_recipe(config: RunConfig, fingerprint: Fingerprint) -> tuple[str, Decision]:
    """The recipe for someone who named none; `config` is what they did set."""
    if is_backbone(config.model) and config.model.weights != "none":
        if fingerprint.task == "multi":
            why = "a pretrained backbone is asked for, and images have several labels"
            return "best-multilabel", Decision("recipe", "best-multilabel", why)
        return "best-transfer", Decision("recipe", "best-transfer", "a pretrained backbone is asked for")
    small = max(fingerprint.width, fingerprint.height) <= SMALL_PX
    name = "best-scratch-small" if small else "best-scratch-large"
    size = f"the images are {fingerprint.width} x {fingerprint.height} px (median)"
    why = f"{size}, {'at most' if small else 'more than'} {SMALL_PX}"
    return name, Decision("recipe", name, why)


def plan_image(config: RunConfig, fingerprint: Fingerprint) -> tuple[RunConfig, list[Decision]]:
    """Settle `image.size`; `model.name` is settled where the network is a backbone."""
    if is_backbone(config.model):
        return plan_backbone_image(config, fingerprint)
    if config.image.size != "auto":
        return config, [Decision("image size", f"{config.image.size} px", "as asked")]
    longest = max(fingerprint.width, fingerprint.height)
    if longest <= SMALL_PX:
        size = max(MIN_PX, longest)
        why = "the images' own size" if size == longest else f"enlarged from {longest} px: shifts need room"
    else:
        size, why = LARGE_PX, f"smaller than their {longest} px: from scratch, more pixels cost more than they bring"
    image = config.image.model_copy(update={"size": size})
    return config.model_copy(update={"image": image}), [Decision("image size", f"{size} px, {image.resize}", why)]


def plan_training(config: RunConfig, fingerprint: Fingerprint, *, grey: bool) -> tuple[RunConfig, list[Decision]]:
    """Settle model, augmentation, views, batch sizes and epochs; `image.size` is settled already.

    `grey`: no training image has any colour.
    """
    assert isinstance(config.image.size, int)
    decisions: list[Decision] = []
    updates: dict[str, Any] = {}
    backbone = is_backbone(config.model)
    if config.model.name == "auto":
        updates["model"] = config.model.model_copy(update={"name": NETWORK})
        decisions.append(Decision("network", NETWORK, "the best score for the time: docs/benchmarks.md"))
    elif not backbone:
        decisions.append(Decision("network", config.model.name, "as the recipe says"))
    model = updates.get("model", config.model)
    if model.name == "speed_cnn" and "widths" not in model.options:
        widths = NARROW if fingerprint.num_train < FEW_IMAGES else WIDE
        updates["model"] = model.model_copy(update={"options": {**model.options, "widths": widths}})
        why = f"{'fewer' if widths is NARROW else 'no fewer'} than {FEW_IMAGES:,} training images"
        decisions.append(Decision("widths", ", ".join(map(str, widths)), why))
    augment, reasons = _plan_augment(config, grey=grey)
    updates["augment"], views = augment, config.evaluate.views
    decisions += reasons
    if views == "auto":
        mirrored = augment.flip in ("horizontal", "both")
        views = "mirror" if mirrored and not backbone else "one"
        why = "training shows mirror images too" if mirrored else "training shows no mirror images"
        if mirrored and backbone:
            why = "a second view would double the time of every prediction"
        decisions.append(Decision("views when predicting", views, why))
    forward = config.evaluate.batch_size
    if forward == "auto":
        forward = forward_batch(config.image.size)
    updates["evaluate"] = config.evaluate.model_copy(update={"views": views, "batch_size": forward})
    phases = []
    for phase in config.phases:
        small = config.image.size <= SMALL_PX and not backbone
        settled, reasons = _plan_phase(phase, fingerprint, small=small, backbone=backbone)
        phases.append(settled)
        decisions += reasons
    updates["phases"] = phases
    return config.model_copy(update=updates), decisions


def _plan_augment(config: RunConfig, *, grey: bool) -> tuple[AugmentConfig, list[Decision]]:
    augment = config.augment
    decisions: list[Decision] = []
    updates: dict[str, Any] = {}
    assert isinstance(config.image.size, int)
    if augment.policy in REFERENCE_SETS:
        unasked = {k: v for k, v in REFERENCE_SETS[augment.policy].items() if k not in augment.model_fields_set}
        decisions.append(Decision("augmentation", augment.policy, "as asked: that of the reference system"))
        augment = augment.model_copy(update={**unasked, "policy": "none"})
    if augment.flip == "auto":
        updates["flip"] = "none" if grey else "horizontal"
        if grey:
            why = "all images are grey, and mirrored characters or scans mean something else"
        else:
            why = "a mirrored photo shows the same thing; if yours does not (text): --set augment.flip=none"
        decisions.append(Decision("mirror images", updates["flip"], why))
    if augment.pad_crop_px == "auto":
        updates["pad_crop_px"] = max(1, round(config.image.size / 16))
        decisions.append(Decision("shift images", f"up to {updates['pad_crop_px']} px", "a 16th of the side"))
    return augment.model_copy(update=updates), decisions


def _plan_phase(
    phase: PhaseConfig, fingerprint: Fingerprint, *, small: bool, backbone: bool
) -> tuple[PhaseConfig, list[Decision]]:
    decisions: list[Decision] = []
    updates: dict[str, Any] = {}
    num_train = fingerprint.num_train
    if phase.optimizer == "lbfgs":
        return phase.model_copy(update={"batch_size": num_train, "epochs": 1.0}), []
    if phase.batch_size == "auto":
        most = _MAX_SMALL_BATCH if small else _MAX_LARGE_BATCH
        least = min(_MIN_BATCH, most)
        size = max(round(num_train / _STEPS_PER_EPOCH / 8) * 8, min(least, num_train // 4), 2)
        size = updates["batch_size"] = min(most, size)
        why = f"{max(1, round(num_train / size))} steps an epoch; {least} to {most} images where there are enough"
        decisions.append(Decision(f"batch size ({phase.name})", str(size), why))
    elif phase.batch_size > num_train:
        updates["batch_size"] = num_train
        decisions.append(Decision(f"batch size ({phase.name})", str(num_train), "no more images than that"))
    if phase.epochs == "auto":
        epochs = finetuning_epochs(num_train) if backbone else default_epochs(num_train, small=small)
        updates["epochs"] = float(epochs)
        decisions.append(Decision(f"epochs ({phase.name})", str(epochs), f"for {num_train:,} training images"))
    return phase.model_copy(update=updates), decisions


def default_epochs(num_train: int, *, small: bool) -> int:
    """Few images are shown more often: between 10 and 20 epochs at small sizes, 10 and 60 at large ones."""
    shown, least, most = (570_000, 10, 20) if small else (150_000, 10, 60)
    return max(least, min(most, round(shown / num_train)))


def forward_batch(size_px: int) -> int:
    """Images of that side per forward pass without gradients: 500 small ones, or as many as have as many pixels as 64
    of 224 px, and never fewer than 16. Five hundred of 224 px take 9 GB in an EfficientNet.
    """
    return max(16, min(500, 64 * 224**2 // size_px**2))


def epochs_within(
    seconds: float, *, num_train: int, num_validation: float, images_per_second: float, wanted: float
) -> tuple[float, Decision]:
    """Epochs that fit a time limit at a measured speed, leaving a twentieth for saving and surprises.

    `num_validation`: the images whose training would take as long as one validation. Where fewer than `wanted` fit,
    the last one is broken off, so that the learning rate comes to its end within the time.
    """
    seen = 0.95 * seconds * images_per_second
    whole, rest = divmod(seen, num_train + num_validation)
    fit = whole + max(0.0, rest - num_validation) / num_train
    epochs = min(wanted, max(0.01, math.floor(100 * fit) / 100))
    why = f"{images_per_second:,.0f} images/s measured, {seconds:.0f} s allowed"
    if epochs == wanted:
        return epochs, Decision("epochs", f"{epochs:g}", f"{why}: all of them fit")
    return epochs, Decision("epochs", f"{epochs:g}", f"{why}; without a limit {wanted:g}")


def plan_page(decisions: list[Decision]) -> str:
    """plan.md: a Markdown table of every decision with its reason."""
    rows = [f"| {_cell(d.what)} | {_cell(d.choice)} | {_cell(d.why)} |" for d in decisions]
    return "\n".join(["# Plan", "", "| what | choice | why |", "|---|---|---|", *rows, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
