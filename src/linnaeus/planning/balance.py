"""What is done about rare classes, in numbers: beside `plan`, which settles everything else.

Nothing is chosen here. What the configuration asks for is checked against the images, and said.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnaeus.config.settings import RunConfig
from linnaeus.data.manifest import TRAIN, Manifest
from linnaeus.errors import ConfigError
from linnaeus.planning.plan import Plan

UNEVEN = 3
"""From so many times the images of the rarest class on, the most frequent is worth a word."""
_MOST_NAMED = 12


def plan_balance(plan: Plan, manifest: Manifest, *, shown: npt.NDArray[np.float64]) -> Plan:
    """Write down what is done about rare classes, with images per class before and after it.

    Args:
        plan: in which that is settled.
        manifest: its training rows are looked at.
        shown: float64 [K], images of each class that an epoch shows.

    Raises ConfigError for what is not there for several labels per image, or not with folds.
    """
    config, num_decisions = plan.config, len(plan.decisions)
    _check(config, manifest)
    counts = manifest.class_counts(manifest.rows(TRAIN))
    if config.data.balance != "none":
        changes = [f"{name} {before:,} → {after:,.0f}" for name, before, after in _sorted(manifest, counts, shown)]
        why = f"images that an epoch shows: {_listed(changes)}"
        plan = plan.note("balancing", config.data.balance.replace("_", " "), why)
    if config.loss.class_weights != "none":
        why = "rare classes have a larger weight in the loss (loss.class_weights)"
        plan = plan.note("class weights", config.loss.class_weights, why)
    for section, when in ((config.loss, "in the loss"), (config.evaluate, "after training")):
        if section.logit_adjustment:
            why = "answers as if classes were equally frequent: rare ones are found more often, common ones less"
            plan = plan.note("logit adjustment", f"{section.logit_adjustment:g}, {when}", why)
    ratio = float(counts.max() / max(1, counts.min()))
    if len(plan.decisions) == num_decisions and ratio >= UNEVEN:
        look = "balanced accuracy" if manifest.task == "single" else "the macro scores"
        why = f"the most frequent class has {ratio:,.0f} times the images of the rarest: look at {look}"
        plan = plan.note("imbalance", "every image counts the same", why)
    return plan


def _sorted(
    manifest: Manifest, counts: npt.NDArray[np.int64], shown: npt.NDArray[np.float64]
) -> list[tuple[str, int, float]]:
    """(class, images, images shown), the rarest first."""
    order = np.argsort(counts, kind="stable")
    return [(manifest.classes[k], int(counts[k]), float(shown[k])) for k in order]


def _listed(changes: list[str]) -> str:
    if len(changes) > _MOST_NAMED:
        changes = [*changes[:6], f"... {len(changes) - 9} more ...", *changes[-3:]]
    return ", ".join(changes)


def _check(config: RunConfig, manifest: Manifest) -> None:
    asked = {
        "loss.class_weights": config.loss.class_weights != "none",
        "loss.logit_adjustment": config.loss.logit_adjustment > 0,
        "evaluate.logit_adjustment": config.evaluate.logit_adjustment > 0,
    }
    if manifest.task == "multi" and any(asked.values()):
        name = next(name for name, wanted in asked.items() if wanted)
        raise ConfigError(
            f"{name} is for images with one label each, and these have several. Take data.balance, or a loss such as "
            "asymmetric."
        )
    if config.evaluate.logit_adjustment and config.data.folds is not None:
        raise ConfigError(
            "evaluate.logit_adjustment would leave out-of-fold predictions as they are. With folds take "
            "loss.logit_adjustment."
        )
