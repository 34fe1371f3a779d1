"""Plans for one label per image or several: the loss, the score by which epochs are kept, and folds to check labels.

Beside `plan`, which settles everything that does not depend on it. Recipes are written for one label per image, unless
their loss says otherwise; here they are made to fit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnaeus.config.settings import RunConfig
from linnaeus.data.manifest import TRAIN, VALIDATION, Manifest, Task
from linnaeus.errors import ConfigError
from linnaeus.planning.plan import Plan

NUM_FOLDS, MOST_FOLDED = 5, 20_000
"""Out-of-fold predictions nobody asked for take about three times as long as the head itself: 8 s for 3,400 images and
1,280 features on one core, so within a minute for so many."""
SEVERAL_LABELS = ("bce", "squeezed_bce", "asymmetric", "binary_focal")
"""Losses for several labels per image; all others are for one."""
_ACCURACIES = ("validation_accuracy", "validation_balanced_accuracy")
_SEVERAL_METRICS = ("validation_micro_f1", "validation_mean_average_precision")


def plan_labels(plan: Plan, *, task: Task) -> Plan:
    """Make loss and kept score fit the task of the data; what the person's own settings name is not replaced.

    Raises ConfigError where the settings ask for the loss of the other task, or a recipe for several labels meets
    images with one.
    """
    if task == "single":
        _refuse_several(plan.config)
        return plan
    return _with_scores_of_labels(_with_loss_of_labels(plan))


def plan_folds(plan: Plan, manifest: Manifest) -> Plan:
    """Settle `data.out_of_fold`: the parts for the predictions by which wrong labels are found."""
    config = plan.config
    if config.data.out_of_fold != "auto":
        return plan
    solved = any(phase.optimizer == "lbfgs" for phase in config.phases)
    if not solved or config.data.folds is not None:
        return plan.change({"data.out_of_fold": 0})
    rows = manifest.rows_of(TRAIN, VALIDATION)
    num_folds = 0
    if len(rows) > MOST_FOLDED:
        why = f"more than {MOST_FOLDED:,} images, for which they would take minutes; ask for them with --folds"
    else:
        num_folds = _possible_folds(manifest, rows)
        why = "they find label errors and take only seconds" if num_folds else "a class has a single image"
    words = f"by {num_folds} heads that each left out a part" if num_folds else "none"
    return plan.settle("out-of-fold predictions", words, why, {"data.out_of_fold": num_folds})


def _possible_folds(manifest: Manifest, rows: npt.NDArray[np.int64]) -> int:
    """NUM_FOLDS, or fewer where a class has fewer images (or groups of them); 0 if there are not even two."""
    units = np.arange(len(manifest)) if manifest.groups is None else manifest.groups
    least = len(np.unique(units[rows]))
    if manifest.task == "single":
        targets = manifest.targets[rows]
        least = min((len(np.unique(units[rows][targets == k])) for k in np.unique(targets)), default=0)
    return min(NUM_FOLDS, least) if least > 1 else 0


def _with_loss_of_labels(plan: Plan) -> Plan:
    loss, asked = plan.config.loss, plan.asked.loss.model_fields_set
    if loss.name not in SEVERAL_LABELS:
        if "name" in asked:
            raise ConfigError(
                f"loss.name={loss.name} is for images with one label each, and these have several. Leave it out, or "
                f"take one of {', '.join(SEVERAL_LABELS)}."
            )
        why = "images have several labels, and each is predicted independently"
        plan = plan.settle("loss", "bce", why, {"loss.name": "bce"})
        if loss.label_smoothing and "label_smoothing" not in asked:
            why = f"half of the recipe's {loss.label_smoothing:g} would be the least probability of every label"
            plan = plan.settle("label smoothing", "none", why, {"loss.label_smoothing": 0.0})
    elif loss.label_smoothing and loss.name != "bce":
        if "label_smoothing" in asked:
            raise ConfigError(
                f"loss.label_smoothing has no meaning for loss.name={loss.name}. Take bce, or leave it out."
            )
        plan = plan.settle("label smoothing", "none", f"{loss.name} knows none", {"loss.label_smoothing": 0.0})
    return plan


def _with_scores_of_labels(plan: Plan) -> Plan:
    changes: dict[str, object] = {}
    for position, phase in enumerate(plan.config.phases):
        if phase.monitor in _ACCURACIES:
            changes[f"phases.{position}.monitor"] = _SEVERAL_METRICS[1]
        if phase.early_stopping is not None and phase.early_stopping.monitor in _ACCURACIES:
            changes[f"phases.{position}.early_stopping.monitor"] = _SEVERAL_METRICS[1]
    if not changes:
        return plan
    why = "accuracy counts one class per image; this needs no threshold and counts rare labels like common ones"
    return plan.settle("kept epoch", "best validation mean average precision", why, changes)


def _refuse_several(config: RunConfig) -> None:
    if config.loss.name in SEVERAL_LABELS:
        raise ConfigError(
            f"loss.name={config.loss.name} is for images with several labels each, and these have one. Take "
            "cross_entropy, or give a table with a 0/1 column for each label."
        )
    for number, phase in enumerate(config.phases):
        asked = {
            "monitor": phase.monitor,
            "early_stopping.monitor": None if phase.early_stopping is None else phase.early_stopping.monitor,
        }
        for field, value in asked.items():
            if value in _SEVERAL_METRICS:
                raise ConfigError(
                    f"phases.{number}.{field}={value} is for images with several labels each, and these have one. Take "
                    "validation_accuracy."
                )
