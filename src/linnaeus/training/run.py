"""A whole training: phases in turn, early stopping, the best weights kept, checkpoints, history."""

from __future__ import annotations

import copy
import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file

from linnaeus.config import PhaseConfig, RunConfig, StopConfig, to_yaml
from linnaeus.data.manifest import TRAIN
from linnaeus.errors import ConfigError
from linnaeus.models.classifier import Classifier
from linnaeus.rundir import RunDir, write_whole
from linnaeus.training.checkpoint import (
    LAST,
    Position,
    TrainState,
    load_checkpoint,
    load_weights,
    read_checkpoint,
    save_checkpoint,
    save_weights,
)
from linnaeus.training.loop import Job, num_steps, prepare, train_batch, train_epoch, validate
from linnaeus.training.optim import build_optimizers

Record = Callable[[dict[str, Any]], None]


def config_fingerprint(config: RunConfig) -> str:
    """16 hex digits over everything that shapes the weights."""
    return hashlib.sha256(to_yaml(config).encode()).hexdigest()[:16]


def train(classifier: Classifier, job: Job, run: RunDir) -> Position:
    """Train, or go on from the run's last checkpoint; afterwards `classifier` holds the kept weights, on the device.

    Returns the final position, whose `history` has one row per epoch. Raises Interrupted after saving when the user
    stops it, CheckpointError if the checkpoint does not fit, OutputError if the disk is full.
    """
    fabric, config = job.runtime.fabric, job.config
    fingerprint = config_fingerprint(config)
    resumed = (run.checkpoints / LAST).is_file()
    position = Position()
    classifier.to(job.runtime.device).to(memory_format=torch.channels_last)
    if resumed:
        tensors, facts = read_checkpoint(run.checkpoints, config_fingerprint=fingerprint)
        position = Position(**facts["position"])
        if position.finished:
            load_weights(classifier, tensors, run.checkpoints)
    else:
        prepare(classifier, job)
    model = fabric.setup_module(classifier)

    with ExitStack() as stack:
        record: Record = lambda row: None  # noqa: E731
        if config.runtime.tensorboard and fabric.is_global_zero:
            record = stack.enter_context(tensorboard(run, position.history))
        while position.phase < len(config.phases):
            phase = config.phases[position.phase]
            state = TrainState(model, build_optimizers(classifier, phase), position)
            if resumed:
                load_checkpoint(state, run.checkpoints, config_fingerprint=fingerprint)
                position, resumed = state.position, False

            def save(state: TrainState = state) -> None:
                if fabric.is_global_zero:
                    save_checkpoint(state, run.checkpoints, config_fingerprint=fingerprint)

            _train_phase(state, job, phase, run, save, record)
    fabric.barrier()
    if position.best:
        classifier.load_state_dict(load_file(run.checkpoints / position.best["file"]))
    _write_history(run, position)
    return position


def _train_phase(
    state: TrainState, job: Job, phase: PhaseConfig, run: RunDir, save: Callable[[], None], record: Record
) -> None:
    """Epochs until the phase is over; leaves the position at the start of the next phase, saved."""
    position = state.position
    while True:
        in_time = train_epoch(state, job, phase, save=save)
        improved = _finish_epoch(state, job, phase, run)
        record(position.history[-1])
        over = position.step == num_steps(job, phase) or not in_time or _should_stop(position, phase.stop)
        if over:
            job.progress.say(_why_over(position, phase, in_time=in_time))
            last = not in_time or position.phase + 1 == len(job.config.phases)
            position.phase = len(job.config.phases) if last else position.phase + 1
            position.epoch = position.step = position.stale_epochs = 0
            position.stop_value = None
            position.finished = last
        save()
        if improved and job.runtime.fabric.is_global_zero:
            for old in run.checkpoints.glob("best-*.safetensors"):
                if old.name != position.best["file"]:
                    old.unlink()
        _write_history(run, position)
        if over:
            return


def _finish_epoch(state: TrainState, job: Job, phase: PhaseConfig, run: RunDir) -> bool:
    """Validate, add a row to the history, keep the weights if they are the best so far; True if they are."""
    position, fabric = state.position, job.runtime.fabric
    sums = torch.tensor([position.loss_sum, position.num_correct, position.num_seen], dtype=torch.float64)
    loss_sum, num_correct, num_seen = (float(v) for v in fabric.all_reduce(sums, reduce_op="sum"))
    clock = time.perf_counter()
    row: dict[str, Any] = {
        "epoch": position.epochs_done + 1,
        "phase": phase.name,
        "lr": state.optimizers[0].param_groups[0]["lr"],
        "train_loss": loss_sum / num_seen,
        "train_accuracy": num_correct / num_seen,
        **validate(state, job),
        "images_per_second": num_seen / max(position.epoch_seconds, 1e-9),
    }
    position.seconds += time.perf_counter() - clock
    row["seconds"] = position.seconds
    row = fabric.broadcast(row)  # every process must come to the same decisions
    position.history.append(row)
    position.epochs_done += 1
    position.epoch += 1
    position.batch = position.num_correct = position.num_seen = 0
    position.loss_sum = position.epoch_seconds = 0.0
    _note_staleness(position, phase.stop, row)
    if phase.keep == "last":
        return False
    value = row[phase.keep]
    improved = not position.best or _better(phase.keep, value, position.best["value"])
    if improved:
        file = f"best-{row['epoch']}.safetensors"
        if fabric.is_global_zero:
            save_weights(state.model, run.checkpoints / file)
        position.best = {"metric": phase.keep, "value": value, "epoch": row["epoch"], "file": file}
    return improved


def _better(metric: str, value: float, than: float, min_delta: float = 0.0) -> bool:
    return value < than - min_delta if metric.endswith("loss") else value > than + min_delta


def _note_staleness(position: Position, stop: StopConfig | None, row: dict[str, Any]) -> None:
    if stop is None:
        return
    value = row[stop.metric]
    if position.stop_value is None or _better(stop.metric, value, position.stop_value, stop.min_delta):
        position.stop_value, position.stale_epochs = value, 0
    else:
        position.stale_epochs += 1


def _should_stop(position: Position, stop: StopConfig | None) -> bool:
    return stop is not None and position.stale_epochs >= stop.patience


def _why_over(position: Position, phase: PhaseConfig, *, in_time: bool) -> str:
    if not in_time:
        return f"Phase {phase.name}: stopped at the time limit after {position.epoch} epochs."
    if phase.stop is None or not _should_stop(position, phase.stop):
        return f"Phase {phase.name}: {phase.epochs:g} epochs done."
    return (
        f"Phase {phase.name}: stopped early after {position.epoch} epochs; {phase.stop.metric.replace('_', ' ')} has "
        f"not improved for {phase.stop.patience}."
    )


def _write_history(run: RunDir, position: Position) -> None:
    frame = pd.DataFrame(position.history)
    frame["kept"] = frame["epoch"] == position.best.get("epoch", frame["epoch"].max())
    write_whole(run.history, lambda temporary: frame.to_csv(temporary, index=False))


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


def measure_throughput(classifier: Classifier, job: Job, phase: PhaseConfig) -> float:
    """Training images per second of this process, from a few batches on a copy; the random state is left as it was."""
    fabric = job.runtime.fabric
    with torch.random.fork_rng():
        trial = copy.deepcopy(classifier).to(job.runtime.device).to(memory_format=torch.channels_last)
        size = phase.micro_batch_size or phase.batch_size
        assert isinstance(size, int)
        probe = phase.model_copy(update={"batch_size": size, "epochs": 1})
        state = TrainState(fabric.setup_module(trial), build_optimizers(trial, probe), Position())
        state.model.train()
        rows, seconds = job.manifest.rows(TRAIN)[:size], []
        for _ in range(3):
            state.position.batch = 0
            clock = time.perf_counter()
            train_batch(state, job, probe, next(iter(job.store.batches(rows, batch_size=size))))
            seconds.append(time.perf_counter() - clock)
    return len(rows) / min(seconds[1:])


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Within the block Ctrl-C and SIGTERM only set a flag, which the yielded function reads; a second one acts."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
