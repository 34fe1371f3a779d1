"""How the network is trained: which of our own, what augmentation, which views, how large batches, how many epochs.

After the cache is built, as some of it needs pixels. Nothing here looks at validation or test images.
"""

from __future__ import annotations

from linnaeus.config.resolved import resolve_image
from linnaeus.planning.fingerprint import Fingerprint
from linnaeus.planning.image import SMALL_PX
from linnaeus.planning.plan import Plan
from linnaeus.planning.transfer import is_backbone

NETWORK = "speed_cnn"
FEW_IMAGES = 10_000
NARROW, WIDE = [64, 128, 128], [64, 256, 256]
SHOWN, LEAST, MOST = 30_000, 3, 15
"""Images that fine-tuning shows in all, and its fewest and most epochs."""
_MAX_SMALL_BATCH, _MAX_LARGE_BATCH, _MIN_BATCH = 500, 64, 128
_STEPS_PER_EPOCH = 96


def plan_training(plan: Plan, fingerprint: Fingerprint, *, grey: bool) -> Plan:
    """Settle model, augmentation, views, batch sizes and epochs; `image.size` is settled already.

    `grey`: no training image has any colour.
    """
    plan = plan_network(plan, fingerprint)
    plan = plan_augment(plan, grey=grey)
    plan = plan_prediction(plan)
    for position in range(len(plan.config.phases)):
        plan = plan_phase(plan, position, fingerprint)
    return plan


def plan_network(plan: Plan, fingerprint: Fingerprint) -> Plan:
    """Settle which of our own networks, and how wide; a backbone is settled already."""
    if is_backbone(plan.config.model):
        return plan
    if plan.config.model.features == "auto":
        plan = plan.change({"model.features": "last"})
    if plan.config.model.name in ("auto", "none"):
        why = "the best score for the time: docs/benchmarks.md"
        plan = plan.settle("network", NETWORK, why, {"model.name": NETWORK})
    else:
        plan = plan.note("network", plan.config.model.name, "as the recipe says")
    model = plan.config.model
    if model.name != "speed_cnn" or "widths" in model.options:
        return plan
    widths = NARROW if fingerprint.num_train < FEW_IMAGES else WIDE
    why = f"{'fewer' if widths is NARROW else 'no fewer'} than {FEW_IMAGES:,} training images"
    options = {**model.options, "widths": widths}
    return plan.settle("widths", ", ".join(map(str, widths)), why, {"model.options": options})


def plan_augment(plan: Plan, *, grey: bool) -> Plan:
    """Settle `augment`: flips and shifts follow the images."""
    if plan.config.augment.flip == "auto":
        flip = "none" if grey else "horizontal"
        why = "a flipped photo shows the same class; if yours do not (text): --set augment.flip=none"
        if grey:
            why = "all images are grey, and mirrored characters or scans mean something else"
        plan = plan.settle("flip", flip, why, {"augment.flip": flip})
    if plan.config.augment.pad_crop_px == "auto":
        pad_px = max(1, round(resolve_image(plan.config.image).size / 16))
        plan = plan.settle("random shift", f"up to {pad_px} px", "a 16th of the side", {"augment.pad_crop_px": pad_px})
    return plan


def plan_prediction(plan: Plan) -> Plan:
    """Settle how the finished model looks at an image, and at how many at once; flips are settled already."""
    evaluate = plan.config.evaluate
    if evaluate.tta == "auto":
        backbone = is_backbone(plan.config.model)
        mirrored = plan.config.augment.flip in ("horizontal", "both")
        tta = "flip" if mirrored and not backbone else "none"
        why = "training flips images too" if mirrored else "training does not flip images"
        if mirrored and backbone:
            why = "a second view would double the prediction time"
        plan = plan.settle("test-time augmentation", tta, why, {"evaluate.tta": tta})
    if evaluate.batch_size == "auto":
        plan = plan.change({"evaluate.batch_size": forward_batch(resolve_image(plan.config.image).size)})
    return plan


def plan_phase(plan: Plan, position: int, fingerprint: Fingerprint) -> Plan:
    """Settle batch size and epochs of one phase."""
    phase, num_train = plan.config.phases[position], fingerprint.num_train
    batch_size, epochs = (f"phases.{position}.{name}" for name in ("batch_size", "epochs"))
    if phase.optimizer == "lbfgs":
        return plan.change({batch_size: num_train, epochs: 1.0})
    backbone = is_backbone(plan.config.model)
    small = resolve_image(plan.config.image).size <= SMALL_PX and not backbone
    if phase.batch_size == "auto":
        most = _MAX_SMALL_BATCH if small else _MAX_LARGE_BATCH
        least = min(_MIN_BATCH, most)
        size = min(most, max(round(num_train / _STEPS_PER_EPOCH / 8) * 8, min(least, num_train // 4), 2))
        why = f"{max(1, round(num_train / size))} steps an epoch; {least} to {most} images where there are enough"
        plan = plan.settle(f"batch size ({phase.name})", str(size), why, {batch_size: size})
    elif phase.batch_size > num_train:
        why = "no more images than that"
        plan = plan.settle(f"batch size ({phase.name})", str(num_train), why, {batch_size: num_train})
    if phase.epochs == "auto":
        number = finetuning_epochs(num_train) if backbone else default_epochs(num_train, small=small)
        why = f"for {num_train:,} training images"
        plan = plan.settle(f"epochs ({phase.name})", str(number), why, {epochs: float(number)})
    return plan


def default_epochs(num_train: int, *, small: bool) -> int:
    """Few images are shown more often: between 10 and 20 epochs at small sizes, 10 and 60 at large ones."""
    shown, least, most = (570_000, 10, 20) if small else (150_000, 10, 60)
    return max(least, min(most, round(shown / num_train)))


def finetuning_epochs(num_train: int) -> int:
    """Few images are shown more often: between 3 and 15 epochs."""
    return max(LEAST, min(MOST, round(SHOWN / num_train)))


def forward_batch(size_px: int) -> int:
    """Images of that side per forward pass without gradients: 500 small ones, or as many as have as many pixels as 64
    of 224 px, and never fewer than 16. Five hundred of 224 px take 9 GB in an EfficientNet.
    """
    return max(16, min(500, 64 * 224**2 // size_px**2))
