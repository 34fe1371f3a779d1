"""How long work tells whoever is watching how far it is, without knowing who that is.

The library reports to a `Progress`; the command line draws bars from it, a notebook may pass its own,
and `SILENT` (the default everywhere) hears nothing.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol


class Task(Protocol):
    """One bar: something counted."""

    def advance(self, count: int = 1, *, status: str = "") -> None:
        """Add `count` units; `status` is a few words beside the bar, such as a loss."""


class Progress(Protocol):
    """Hears of plain sentences and of counted tasks."""

    def say(self, message: str) -> None:
        """Pass on one line a person would want to read (no markup)."""

    def log_to(self, path: Path) -> None:
        """From here on also keep what is said in this file (its folder exists); what was said before comes first."""

    def task(self, description: str, *, total: int, unit: str) -> AbstractContextManager[Task]:
        """Open a bar of `total` units ("images", "batches"); leaving the block closes it."""


class _SilentTask:
    def advance(self, count: int = 1, *, status: str = "") -> None:
        return None


class _Silent:
    def say(self, message: str) -> None:
        return None

    def log_to(self, path: Path) -> None:
        return None

    def task(self, description: str, *, total: int, unit: str) -> AbstractContextManager[Task]:
        return nullcontext(_SilentTask())


SILENT: Progress = _Silent()
