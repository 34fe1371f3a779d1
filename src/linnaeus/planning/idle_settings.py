"""Settings that were asked for and change nothing in this run, each told with what would use it.

Beside `head_loss`, which refuses a loss that no phase minimises. Here are knobs of things that are turned off: someone
who sets `loss.gamma` and forgets `loss.name=focal` believes to have a focal loss. Knows nothing of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from linnaeus.config.settings import AugmentConfig, PhaseConfig, RunConfig
from linnaeus.data.manifest import Task
from linnaeus.planning.plan import Plan
from linnaeus.planning.transfer import is_backbone
from linnaeus.training.phases import on_features

GEOMETRY = ("shift", "rotate_degrees", "scale", "shear_degrees")
BLENDING = ("mixup", "cutmix")

USED: dict[str, tuple[Callable[[RunConfig], bool], str]] = {
    "loss.gamma": (lambda c: c.loss.name in ("focal", "binary_focal"), "loss.name=focal and binary_focal"),
    "loss.gamma_neg": (lambda c: c.loss.name == "asymmetric", "loss.name=asymmetric"),
    "loss.gamma_pos": (lambda c: c.loss.name == "asymmetric", "loss.name=asymmetric"),
    "loss.clip": (lambda c: c.loss.name == "asymmetric", "loss.name=asymmetric"),
    "loss.beta": (lambda c: c.loss.class_weights == "effective", "loss.class_weights=effective"),
    "data.balance_growth": (lambda c: c.data.balance == "oversample", "data.balance=oversample"),
    "data.fold_training": (lambda c: c.data.folds is not None, "--folds"),
    "augment.policy_operations": (lambda c: c.augment.policy == "rand_augment", "augment.policy=rand_augment"),
    "augment.policy_level": (lambda c: c.augment.policy == "rand_augment", "augment.policy=rand_augment"),
    "augment.alternate_flip": (lambda c: c.augment.flip != "none", "augment.flip"),
    "augment.fill": (lambda c: _moves(c.augment), "shift, rotation, scale and shear"),
    "augment.distribution": (lambda c: _moves(c.augment), "shift, rotation, scale and shear"),
    "model.weights": (lambda c: is_backbone(c.model), "a backbone"),
    "model.allow_download": (lambda c: is_backbone(c.model), "a backbone"),
}
"""Setting -> whether the settled configuration uses it, and what would."""

USED_BY_TASK: dict[str, tuple[Task, str]] = {
    "evaluate.thresholds": ("multi", "several labels per image"),
    "evaluate.decide": ("single", "one label per image"),
    "evaluate.coverage": ("single", "one label per image"),
}

USED_IN_PHASE: dict[str, tuple[Callable[[PhaseConfig], bool], str]] = {
    "momentum": (lambda p: p.optimizer in ("sgd", "muon"), "optimizer=sgd and muon"),
    "filter_momentum": (lambda p: p.optimizer == "muon", "optimizer=muon"),
    "smoothing": (lambda p: p.optimizer == "rmsprop", "optimizer=rmsprop"),
    "drop": (lambda p: p.schedule in ("step", "plateau"), "schedule=step and plateau"),
    "drop_epochs": (lambda p: p.schedule in ("step", "plateau"), "schedule=step and plateau"),
    "feature_views": (lambda p: p.train == "head", "train=head"),
    "layer_decay": (lambda p: p.train == "all", "train=all"),
    "last_layers": (lambda p: p.train == "all", "train=all"),
    "last_stages": (lambda p: p.train == "all", "train=all"),
    **{
        name: (lambda p: p.optimizer != "lbfgs", "optimizers that go step by step; lbfgs solves for the head")
        for name in (
            *("lr", "head_lr", "bias_lr", "weight_decay", "batch_size", "micro_batch_size", "epochs"),
            *("schedule", "warmup", "clip_norm", "stop", "ema"),
        )
    },
}


def plan_idle_settings(plan: Plan, *, task: Task) -> Plan:
    """Write down every setting of the person's own that changes nothing. Those of a recipe are not looked at: it may be
    given other data than it was written for.

    Args:
        plan: settled.
        task: whether images have one label or several.
    """
    for setting in _settings(plan.asked):
        by = _would_use(setting, plan.config, task)
        if by is not None:
            plan = plan.note(setting, "without effect", f"used only by {by}")
    return plan


def _would_use(setting: str, config: RunConfig, task: Task) -> str | None:
    """What would use that setting, where nothing of this run does."""
    section, _, name = setting.partition(".")
    if section == "augment" and name != "flip":  # also tells whether mirror views may be averaged or offered
        shown = [phase for phase in config.phases if _shows_augmented(config, phase, name)]
        if not shown:
            views = "" if name in BLENDING else ", and heads with feature_views of 2 or more"
            return f"phases that train on images{views}"
    if section == "phases":
        number, _, name = name.partition(".")
        used, by = USED_IN_PHASE.get(name, (lambda _: True, ""))
        return None if used(config.phases[int(number)]) else by
    if setting in USED_BY_TASK:
        wanted, by = USED_BY_TASK[setting]
        return None if task == wanted else by
    used_by_run, by = USED.get(setting, (lambda _: True, ""))
    return None if used_by_run(config) else by


def _shows_augmented(config: RunConfig, phase: PhaseConfig, name: str) -> bool:
    if not on_features(config, phase):
        return True
    return phase.feature_views > 1 and name not in BLENDING


def _moves(augment: AugmentConfig) -> bool:
    return any(getattr(augment, name) for name in GEOMETRY)


def _settings(asked: RunConfig) -> Iterator[str]:
    """`section.field` and `phases.N.field` of everything that was set to something else than its default."""
    for section in ("data", "augment", "model", "loss", "evaluate"):
        page = getattr(asked, section)
        for name in sorted(page.model_fields_set):
            if getattr(page, name) != type(page).model_fields[name].get_default(call_default_factory=True):
                yield f"{section}.{name}"
    if "phases" in asked.model_fields_set:
        for number, phase in enumerate(asked.phases):
            yield from (f"phases.{number}.{name}" for name in sorted(phase.model_fields_set - {"name"}))
