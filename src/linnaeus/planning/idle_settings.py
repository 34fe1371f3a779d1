"""Settings that were asked for and change nothing in this run, each told with what would use it.

Beside `head_loss`, which refuses a loss that no phase minimises. When a setting acts, its field says
(`config.conditions`); here it is compared with the settled configuration. Knows nothing of images, and no field by
name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from linnaeus.config.conditions import Conditions, Situation, conditions_of
from linnaeus.config.settings import RunConfig
from linnaeus.data.manifest import Task
from linnaeus.planning.plan import Plan
from linnaeus.planning.transfer import is_backbone
from linnaeus.training.phases import on_features

SITUATIONS: dict[Situation, Callable[[RunConfig, Task], bool]] = {
    "one label per image": lambda config, task: task == "single",
    "several labels per image": lambda config, task: task == "multi",
    "a pretrained backbone": lambda config, task: is_backbone(config.model),
    "training on images": lambda config, task: not all(on_features(config, phase) for phase in config.phases),
    "augmented images": lambda config, task: any(
        phase.feature_views > 1 or not on_features(config, phase) for phase in config.phases
    ),
}
"""Whether a settled configuration, for images with one label or several, is such a run."""

_USERS: dict[Situation, str] = {
    "training on images": "phases that train on images",
    "augmented images": "phases that train on images, and heads with feature_views of 2 or more",
}
"""What would use a setting for such runs, where the name of the situation does not tell."""


@dataclass(frozen=True)
class _Setting:
    """Something a person set: its address, when it acts, and its section in the settled configuration."""

    address: str
    conditions: Conditions
    settled: BaseModel


def plan_idle_settings(plan: Plan, *, task: Task) -> Plan:
    """Write down every setting of the person's own that changes nothing. Those of a recipe are not looked at: it may be
    given other data than it was written for.

    Args:
        plan: settled.
        task: whether images have one label or several.
    """
    for setting in _settings(plan.asked, plan.config):
        user = _missing_user(setting, plan.config, task)
        if user is not None:
            plan = plan.note(setting.address, "without effect", f"used only by {user}")
    return plan


def _missing_user(setting: _Setting, config: RunConfig, task: Task) -> str | None:
    """What would use that setting, where nothing of this run does."""
    for situation in setting.conditions.only_for:
        if not SITUATIONS[situation](config, task):
            return _USERS.get(situation, situation)
    section = setting.address.rpartition(".")[0]
    for marker in setting.conditions.only_with:
        if not marker.holds(setting.settled):
            return marker.words("" if section.startswith("phases.") else f"{section}.")
    return None


def _settings(asked: Any, settled: Any, address: str = "") -> Iterator[_Setting]:
    """Everything that was set to something else than its default, or at all in a phase, where recipes differ."""
    in_phase = address.startswith("phases.")
    for name in sorted(asked.model_fields_set):
        value, where = getattr(asked, name), f"{address}{name}"
        field = type(asked).model_fields[name]
        if isinstance(value, tuple):
            for position, part in enumerate(value):
                yield from _settings(part, getattr(settled, name)[position], f"{where}.{position}.")
            continue
        if in_phase or value != field.get_default(call_default_factory=True, validated_data={}):
            yield _Setting(where, conditions_of(type(asked), name), settled)
        if isinstance(value, BaseModel) and getattr(settled, name) is not None:
            yield from _settings(value, getattr(settled, name), f"{where}.")
