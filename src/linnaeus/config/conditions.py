"""When a setting changes anything: markers that fields of `settings` carry, for the plan and for the page of settings.

A field without one acts always. Someone who sets `loss.gamma` and forgets `loss.name=focal` believes to have a focal
loss; that such a setting has no effect follows from its marker, and is listed nowhere else. Knows no field by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

Situation = Literal[
    "one label per image", "several labels per image", "a pretrained backbone", "augmented images", "training on images"
]
"""What kind of run it is. Heads see "augmented images" where features of several views are computed, but then no
"training on images"; both hold where a phase trains on images themselves."""


class OnlyWith:
    """Marks a field that acts only where a field of the same section (or one of several) has one of these values.

    Args:
        fields: names in the same section.
        values: None stands for a field that is not set. Without values, whatever turns something on will do: anything
            but nothing, "none" and 0.
        but: any value will do except these.
    """

    def __init__(self, *fields: str, values: Sequence[str | None] = (), but: Sequence[str] = ()) -> None:
        self.fields, self.values, self.but = fields, tuple(values), tuple(but)

    def holds(self, section: BaseModel) -> bool:
        """Whether it does in this section."""
        return any(self._fits(getattr(section, field)) for field in self.fields)

    def words(self, address: str = "") -> str:
        """Such as `loss.name=focal or binary_focal`, where `address` is `loss.`."""
        names = _either([f"{address}{field}" for field in self.fields])
        if self.values == (None,):
            return f"no {names}"
        if self.values:
            return f"{names}={_either([str(value) for value in self.values])}"
        return f"any {names} but {_either(self.but)}" if self.but else names

    def _fits(self, value: object) -> bool:
        if self.values:
            return value in self.values
        return value not in (self.but or (None, "none", 0))


@dataclass(frozen=True)
class OnlyFor:
    """Marks a field, or all fields of a section, that act only in such runs; None takes a field out of its section."""

    situation: Situation | None

    def words(self) -> str:
        """Such as `several labels per image`."""
        return str(self.situation)


@dataclass(frozen=True)
class Conditions:
    """Everything that must hold for a field to act; nothing at all where it always does."""

    only_with: tuple[OnlyWith, ...] = ()
    only_for: tuple[Situation, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.only_with or self.only_for)


def conditions_of(section: type[BaseModel], name: str) -> Conditions:
    """When that field acts, by its own markers and, unless it says otherwise, by its section's `only_for`."""
    markers = section.model_fields[name].metadata
    own = [marker for marker in markers if isinstance(marker, OnlyFor)]
    for_all: Situation | None = getattr(section, "only_for", None)
    situations = [marker.situation for marker in own] if own else [for_all]
    return Conditions(
        tuple(marker for marker in markers if isinstance(marker, OnlyWith)),
        tuple(situation for situation in situations if situation is not None),
    )


def _either(words: Sequence[str]) -> str:
    """ "a", "a or b", "a, b or c"."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
