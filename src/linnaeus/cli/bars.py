"""Progress for people: live bars on a terminal, plain lines in a log file, and a record of both.

Implements `linnaeus.progress.Progress`. On a terminal each task is a bar with its rate and the time left; a task opened
within another vanishes when it is done, so that only the outermost stay on the screen. Elsewhere (a cluster's log, a
pipe) each finished task is one line, and a long one reports now and then. Knows nothing of what is counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Task as RichTask
from rich.text import Text

from linnaeus.progress import Task

_SECONDS_BETWEEN_LINES = 10.0


class Bars:
    """Shows sentences and tasks on a console, and writes sentences to a log file once it knows which.

    Args:
        console: where to show them; standard output if None.
        clock: seconds that only ever grow; tests bring their own.
    """

    def __init__(self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console()
        self._clock = clock
        self._live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _CountColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}", markup=False, style="cyan"),
            console=self._console,
        )
        self._num_open = 0
        self._log: Path | None = None
        self._unlogged: list[str] = []

    def say(self, message: str) -> None:
        """Print one line and record it."""
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)
        self._record(message)

    def log_to(self, path: Path) -> None:
        """Append everything said so far and from now on to this file, each line with its time."""
        self._log = path
        waiting, self._unlogged = self._unlogged, []
        self._append(waiting)

    def task(self, description: str, *, total: int, unit: str) -> AbstractContextManager[Task]:
        """Open a bar of `total` units; leaving the block closes it."""
        return self._live_task(description, total, unit) if self._live else self._plain_task(description, total, unit)

    @contextmanager
    def _live_task(self, description: str, total: int, unit: str) -> Iterator[Task]:
        if self._num_open == 0:
            self._bars.start()
        self._num_open += 1
        task_id = self._bars.add_task(description, total=total, unit=unit, status="")
        try:
            yield _Bar(self._bars, task_id)
        finally:
            self._num_open -= 1
            if self._num_open == 0:
                self._bars.stop()
                for task in self._bars.task_ids:  # drawn for good; the next bar starts on a clean slate
                    self._bars.remove_task(task)
            else:
                self._bars.remove_task(task_id)

    @contextmanager
    def _plain_task(self, description: str, total: int, unit: str) -> Iterator[Task]:
        task = _PlainTask(self.say, self._clock, description=description, total=total, unit=unit)
        try:
            yield task
        except BaseException:
            task.close("stopped")
            raise
        task.close("ended")

    def _record(self, message: str) -> None:
        stamp = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        lines = [f"{stamp}  {line}" for line in message.splitlines() or [""]]
        if self._log is None:
            self._unlogged += lines
        else:
            self._append(lines)

    def _append(self, lines: list[str]) -> None:
        assert self._log is not None
        if not lines:
            return
        try:
            with self._log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write("\n".join(lines) + "\n")
        except OSError as error:
            # What is printed is lost from the log; the run itself writes its files elsewhere and may well go on.
            path, self._log = self._log, None
            self._console.print(
                f"The log {path} cannot be written any more: {error.strerror}.", markup=False, highlight=False
            )


class _Bar:
    def __init__(self, bars: Progress, task_id: TaskID) -> None:
        self._bars = bars
        self._task_id = task_id

    def advance(self, count: int = 1, *, status: str = "") -> None:
        if status:
            self._bars.update(self._task_id, advance=count, status=status)
        else:
            self._bars.advance(self._task_id, count)


class _PlainTask:
    """Counts, and says where it stands when it is closed and at most every ten seconds before."""

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float], *, description: str, total: int, unit: str
    ) -> None:
        self._say = say
        self._clock = clock
        self._description = description
        self._total = total
        self._unit = unit
        self._done = 0
        self._status = ""
        self._lock = threading.Lock()
        self._started = self._last_line = clock()

    def advance(self, count: int = 1, *, status: str = "") -> None:
        with self._lock:
            self._done += count
            self._status = status or self._status
            now = self._clock()
            if now - self._last_line < _SECONDS_BETWEEN_LINES or self._done >= self._total:
                return
            self._last_line = now
            rate = self._done / (now - self._started)
            left = (self._total - self._done) / rate if rate else None
            self._line(
                f"{self._done:,} of {self._total:,} {self._unit}",
                _rate_text(rate, self._unit),
                "" if left is None else f"{duration_text(left)} left",
            )

    def close(self, word: str) -> None:
        with self._lock:
            seconds = self._clock() - self._started
            count = f"{self._done:,} {self._unit}"
            if self._done < self._total:
                count = f"{word} at {self._done:,} of {self._total:,} {self._unit}"
            rate = _rate_text(self._done / seconds, self._unit) if seconds > 0 else ""
            self._line(count, f"in {duration_text(seconds)}", rate)

    def _line(self, *parts: str) -> None:
        self._say(f"{self._description}: " + ", ".join(part for part in (*parts, self._status) if part))


class _CountColumn(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        return Text(f"{task.completed:,.0f}/{task.total or 0:,.0f}")


class _RateColumn(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else _rate_text(speed, task.fields["unit"]), style="green")


def _rate_text(rate: float, unit: str) -> str:
    """`1,428 images/s`, or with a decimal where that says more."""
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s"


def duration_text(seconds: float) -> str:
    """`4.2 s`, `3 min 20 s` or `2 h 5 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
