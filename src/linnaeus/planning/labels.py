"""Plans for one label per image or several: the loss, the score by which epochs are kept, and folds to check labels.

Beside `plan`, which settles everything that does not depend on it. Recipes are written for one label per image, unless
their loss says otherwise; here they are made to fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from linnaeus.config.settings import PhaseConfig, RunConfig
from linnaeus.data.manifest import TRAIN, VALIDATION, Manifest, Task
from linnaeus.errors import ConfigError
from linnaeus.planning.decision import Decision

NUM_FOLDS, MOST_FOLDED = 5, 20_000
"""Out-of-fold predictions nobody asked for take about three times as long as the head itself: 8 s for 3,400 images and
1,280 features on one core, so within a minute for so many."""
SEVERAL_LABELS = ("bce", "squeezed_bce", "asymmetric", "binary_focal")
"""Losses for several labels per image; all others are for one."""
_ACCURACIES = ("validation_accuracy", "validation_balanced_accuracy")
_SEVERAL_METRICS = ("validation_micro_f1", "validation_mean_average_precision")


def plan_labels(config: RunConfig, asked: RunConfig, *, task: Task) -> tuple[RunConfig, list[Decision]]:
    """Make loss and kept score fit the task.

    Args:
        config: with the recipe.
        asked: the settings alone; what they name is not replaced by something else.
        task: of the data.

    Raises ConfigError where the settings ask for the loss of the other task, or a recipe for several labels meets
    images with one.
    """
    if task == "single":
        _refuse_several(config)
        return config, []
    decisions: list[Decision] = []
    updates: dict[str, Any] = {}
    loss = config.loss
    if loss.name not in SEVERAL_LABELS:
        if "name" in asked.loss.model_fields_set:
            raise ConfigError(
                f"loss.name={loss.name} is for images with one label each, and these have several. Leave it out, or "
                f"take one of {', '.join(SEVERAL_LABELS)}."
            )
        changed: dict[str, Any] = {"name": "bce"}
        decisions.append(Decision("loss", "bce", "images have several labels, and each is a question of its own"))
        if loss.label_smoothing and "label_smoothing" not in asked.loss.model_fields_set:
            changed["label_smoothing"] = 0.0
            why = f"half of the recipe's {loss.label_smoothing:g} would be the least probability of every label"
            decisions.append(Decision("label smoothing", "none", why))
        updates["loss"] = loss.model_copy(update=changed)
    elif loss.label_smoothing and loss.name != "bce":
        if "label_smoothing" in asked.loss.model_fields_set:
            raise ConfigError(
                f"loss.label_smoothing has no meaning for loss.name={loss.name}. Take bce, or leave it out."
            )
        updates["loss"] = loss.model_copy(update={"label_smoothing": 0.0})
        decisions.append(Decision("label smoothing", "none", f"{loss.name} knows none"))
    updates["phases"] = [_with_scores_of_labels(phase) for phase in config.phases]
    if updates["phases"] != config.phases:
        why = "accuracy counts one class per image; this needs no threshold and counts rare labels like common ones"
        decisions.append(Decision("kept epoch", "best validation mean average precision", why))
    return config.model_copy(update=updates), decisions


def plan_folds(config: RunConfig, manifest: Manifest) -> tuple[RunConfig, list[Decision]]:
    """Settle `data.out_of_fold`: the parts for the predictions by which wrong labels are found."""
    if config.data.out_of_fold != "auto":
        return config, []
    rows = manifest.rows_of(TRAIN, VALIDATION)
    solved = any(phase.optimizer == "lbfgs" for phase in config.phases)
    decisions: list[Decision] = []
    num_folds = 0
    if solved and config.data.folds is None:
        if len(rows) > MOST_FOLDED:
            why = f"more than {MOST_FOLDED:,} images, for which they would take minutes; ask for them with --folds"
        else:
            num_folds = _possible_folds(manifest, rows)
            why = "on features they take seconds, and find wrong labels" if num_folds else "a class has a single image"
        words = f"by {num_folds} heads that each left out a part" if num_folds else "none"
        decisions.append(Decision("out-of-fold predictions", words, why))
    data = config.data.model_copy(update={"out_of_fold": num_folds})
    return config.model_copy(update={"data": data}), decisions


def _possible_folds(manifest: Manifest, rows: npt.NDArray[np.int64]) -> int:
    """NUM_FOLDS, or fewer where a class has fewer images (or groups of them); 0 if there are not even two."""
    units = np.arange(len(manifest)) if manifest.groups is None else manifest.groups
    least = len(np.unique(units[rows]))
    if manifest.task == "single":
        targets = manifest.targets[rows]
        least = min((len(np.unique(units[rows][targets == k])) for k in np.unique(targets)), default=0)
    return min(NUM_FOLDS, least) if least > 1 else 0


def _with_scores_of_labels(phase: PhaseConfig) -> PhaseConfig:
    updates: dict[str, Any] = {}
    if phase.keep in _ACCURACIES:
        updates["keep"] = _SEVERAL_METRICS[1]
    if phase.stop is not None and phase.stop.metric in _ACCURACIES:
        updates["stop"] = phase.stop.model_copy(update={"metric": _SEVERAL_METRICS[1]})
    return phase.model_copy(update=updates) if updates else phase


def _refuse_several(config: RunConfig) -> None:
    if config.loss.name in SEVERAL_LABELS:
        raise ConfigError(
            f"loss.name={config.loss.name} is for images with several labels each, and these have one. Take "
            "cross_entropy, or give a table with a 0/1 column for each label."
        )
    for number, phase in enumerate(config.phases):
        asked = {"keep": phase.keep, "stop.metric": None if phase.stop is None else phase.stop.metric}
        for field, value in asked.items():
            if value in _SEVERAL_METRICS:
                raise ConfigError(
                    f"phases.{number}.{field}={value} is for images with several labels each, and these have one. Take "
                    "validation_accuracy."
                )
