"""A choice with its reason: what every step of planning gives back, and plan.md lists."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """One choice: what was chosen, and why."""

    what: str
    choice: str
    why: str
