"""The history of a training as a TensorBoard event file, for whoever asks for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from linnaeus.errors import ConfigError
from linnaeus.run_folder import RunDir

Record = Callable[[dict[str, Any]], None]


@contextmanager
def tensorboard(run: RunDir, history: list[dict[str, Any]]) -> Iterator[Record]:
    """Yield a function that adds a row of the history to a TensorBoard event file; `history` is written anew first.

    Raises ConfigError if TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("runtime.tensorboard needs TensorBoard: pip install 'linnaeus[tensorboard]'") from error
    for old in run.tensorboard.glob("events.*"):
        old.unlink()
    with SummaryWriter(str(run.tensorboard)) as writer:

        def record(row: dict[str, Any]) -> None:
            for name, value in row.items():
                if isinstance(value, float):
                    writer.add_scalar(name, value, row["epoch"])
            writer.flush()

        for row in history:
            record(row)
        yield record
