"""A plan: the configuration as it is being settled, and every decision with its reason.

Each topic of planning is a function that takes a Plan and gives back one in which more is settled. When nothing is left
open, `Plan.resolved` is what the run trains by, and `plan_page` what a person reads. Knows nothing of how to choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from linnaeus.config.resolved import ResolvedConfig, resolve
from linnaeus.config.settings import RunConfig


@dataclass(frozen=True)
class Decision:
    """One choice: what was chosen, and why."""

    what: str
    choice: str
    why: str


@dataclass(frozen=True)
class Plan:
    """A configuration on its way to being settled.

    Attributes:
        asked: the person's own settings and nothing else; `model_fields_set` tells them from defaults.
        config: those over the recipe's, with what has been settled so far.
        decisions: in the order in which they were taken.
    """

    asked: RunConfig
    config: RunConfig
    decisions: tuple[Decision, ...] = ()

    def settle(self, what: str, choice: str, why: str, changes: Mapping[str, object]) -> Plan:
        """Decide: the configuration changes, and the decision is written down.

        Args:
            what: such as "image size".
            choice: such as "64 px".
            why: the reason, for people.
            changes: address -> value, such as {"image.size": 64} or {"phases.0.epochs": 3.0}.
        """
        return self.change(changes).note(what, choice, why)

    def note(self, what: str, choice: str, why: str) -> Plan:
        """Write down a decision that changes no setting, or only says what was asked for."""
        return replace(self, decisions=(*self.decisions, Decision(what, choice, why)))

    def change(self, changes: Mapping[str, object]) -> Plan:
        """Settle what needs no word to anybody."""
        config = self.config
        for address, value in changes.items():
            config = _with_value(config, address.split("."), value)
        return replace(self, config=config)

    @property
    def resolved(self) -> ResolvedConfig:
        """The configuration, nothing being left to choose; raises ConfigError that names a field left open."""
        return resolve(self.config, where="the plan")


def plan_page(decisions: Iterable[Decision]) -> str:
    """plan.md: a Markdown table of every decision with its reason."""
    rows = [f"| {_cell(d.what)} | {_cell(d.choice)} | {_cell(d.why)} |" for d in decisions]
    return "\n".join(["# Plan", "", "| what | choice | why |", "|---|---|---|", *rows, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _with_value(node: Any, path: Sequence[str], value: object) -> Any:
    """A copy of a section, or of the tuple of phases, in which the field at that path is `value`."""
    if not path:
        return value
    name, rest = path[0], path[1:]
    if isinstance(node, tuple):
        position = int(name)
        return (*node[:position], _with_value(node[position], rest, value), *node[position + 1 :])
    if name not in type(node).model_fields:
        raise KeyError(f"{type(node).__name__} has no field {name}")
    return node.model_copy(update={name: _with_value(getattr(node, name), rest, value)})
