"""Decisions: what a person said about each image, on the disk after every single one.

The file is `linnaeus.data.corrections`'; this keeps it in step with a page that decides, changes its mind and undoes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from linnaeus.data.corrections import Correction, read_corrections, spell_labels, write_corrections
from linnaeus.data.manifest import Task


class Decisions:
    """The decisions in one file, in the order in which they were made; every change is written at once.

    Args:
        path: of the CSV; decisions that it holds already are kept.
        task: of the images; says how labels are spelt.

    Raises DataError if the file is there and holds something else.
    """

    def __init__(self, path: Path, task: Task) -> None:
        self.path = path
        self._task: Task = task
        self._lock = threading.Lock()
        found = read_corrections(path) if path.exists() else []
        self._made: dict[str, Correction] = {correction.id: correction for correction in found}
        self._replaced: list[tuple[str, Correction | None]] = [(correction.id, None) for correction in found]

    def __len__(self) -> int:
        return len(self._made)

    def get(self, id: str) -> Correction | None:
        """The decision about an image, if there is one."""
        return self._made.get(id)

    def decide(self, id: str, decision: str, *, given: Sequence[str], labels: Sequence[str]) -> None:
        """Note a decision and write the file; an earlier one about the same image is replaced.

        Raises OutputError if it cannot be written; then nothing has changed.
        """
        time = datetime.now(UTC).isoformat(timespec="seconds")
        made = Correction(id, spell_labels(given, self._task), decision, spell_labels(labels, self._task), time)
        with self._lock:
            others = {key: value for key, value in self._made.items() if key != id}
            changed = {**others, id: made}  # the newest stands last
            write_corrections(self.path, changed.values())
            self._replaced.append((id, self._made.get(id)))
            self._made = changed

    def undo(self) -> str | None:
        """Take the latest decision back, and write the file; the id it was about, None if there is none.

        Raises OutputError if it cannot be written; then nothing has changed.
        """
        with self._lock:
            if not self._replaced:
                return None
            id, before = self._replaced[-1]
            changed = {key: value for key, value in self._made.items() if key != id}
            if before is not None:
                changed[id] = before
            write_corrections(self.path, changed.values())
            self._replaced.pop()
            self._made = changed
            return id
