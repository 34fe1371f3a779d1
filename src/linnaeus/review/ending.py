"""Work in a thread that can be told to end: it stops at the next step that it tells its progress of.

A process that ends while torch computes in one of its threads is aborted. Knows nothing of reviews.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from linnaeus.progress import Task


class Ended(Exception):  # noqa: N818 (no error: it was asked for)
    """Raised in the thread, at a step, once it is told to end."""


@dataclass(frozen=True)
class UntilEnded:
    """A silent Progress whose tasks raise Ended after `end`."""

    _asked: threading.Event = field(default_factory=threading.Event)

    def end(self) -> None:
        """From here on every step raises Ended."""
        self._asked.set()

    def say(self, message: str) -> None:
        """Nobody hears it."""

    def log_to(self, path: Path) -> None:
        """Nothing is kept."""

    def task(self, description: str, *, total: int, unit: str) -> AbstractContextManager[Task]:
        """Itself: there is no bar."""
        return nullcontext(self)

    def advance(self, count: int = 1, *, status: str = "") -> None:
        """Raises Ended if that was asked for."""
        if self._asked.is_set():
            raise Ended
