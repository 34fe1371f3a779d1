"""A whole training: phases in turn, early stopping, the best weights kept, checkpoints, history."""

from __future__ import annotations

import copy
import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file

from linnaeus.atomic import write_whole
from linnaeus.config.pages import to_yaml
from linnaeus.config.resolved import ResolvedConfig, ResolvedPhase
from linnaeus.config.settings import EarlyStoppingConfig
from linnaeus.data.loader import FeatureStore
from linnaeus.data.manifest import TRAIN
from linnaeus.losses.penalty import Penalty, choose_penalties
from linnaeus.models.classifier import Classifier
from linnaeus.run_folder import RunDir
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
from linnaeus.training.epoch_sums import read_sums
from linnaeus.training.event_file import Record, tensorboard
from linnaeus.training.head_phase import feature_store, solve_head
from linnaeus.training.job import Job, num_steps
from linnaeus.training.loop import prepare, train_batch, train_epoch, validate
from linnaeus.training.optim import build_optimizers, lower_on_plateau
from linnaeus.training.phases import fixed_parameters, moving_average, on_features, set_trainable


def config_fingerprint(config: ResolvedConfig) -> str:
    """16 hex digits over everything that shapes the weights."""
    return hashlib.sha256(to_yaml(config).encode()).hexdigest()[:16]


def started(run: RunDir) -> bool:
    """Whether there is a checkpoint to go on from; the weights that training began with are then needed no more."""
    return (run.checkpoints / LAST).is_file()


def train(classifier: Classifier, job: Job, run: RunDir) -> Position:
    """Train, or go on from the run's last checkpoint; afterwards `classifier` holds the kept weights, on the device.

    Returns the final position, whose `history` has one row per epoch. Raises Interrupted after saving when the user
    stops it, CheckpointError if the checkpoint does not fit, OutputError if the disk is full.
    """
    fabric, config = job.runtime.fabric, job.config
    fingerprint = config_fingerprint(config)
    resumed = fabric.broadcast(started(run))  # another process may have begun, and saved, before this one looks
    position, fixed = Position(), fixed_parameters(classifier)
    classifier.to(job.runtime.device).to(memory_format=torch.channels_last)
    if resumed:
        tensors, facts = read_checkpoint(run.checkpoints, config_fingerprint=fingerprint)
        position = Position(**facts["position"])
        if position.finished:
            load_weights(classifier, tensors, run.checkpoints)
    else:
        prepare(classifier, job)

    with ExitStack() as stack:
        record: Record = lambda row: None  # noqa: E731
        if config.runtime.tensorboard and fabric.is_global_zero:
            record = stack.enter_context(tensorboard(run, position.history))
        while position.phase < len(config.phases):
            phase = config.phases[position.phase]
            set_trainable(classifier, phase, fixed=fixed)
            clock = time.perf_counter()
            phase_job = _job_of_phase(classifier, job, phase, position, run)
            position.seconds += time.perf_counter() - clock
            if phase_job.features is not None:
                position.earlier_seconds = {**phase_job.features.earlier_seconds, **position.earlier_seconds}
            part = classifier.head if phase_job.on_features else classifier
            model = part if phase_job.on_features else fabric.setup_module(part)
            average, penalties = moving_average(part, phase), _penalties(classifier, config)
            state = TrainState(model, build_optimizers(classifier, phase), position, average, penalties)

            def save(state: TrainState = state) -> None:
                if fabric.is_global_zero:
                    save_checkpoint(state, run.checkpoints, config_fingerprint=fingerprint)
                    _remove_weights(run, keep=state.position.best.get("file"))

            if resumed:
                load_checkpoint(state, run.checkpoints, config_fingerprint=fingerprint)
                position, resumed = state.position, False
                fabric.barrier()  # nobody saves before everybody has read
            elif position.phase:
                save()
            if phase.optimizer == "lbfgs" and phase_job.features is not None:
                _solve_phase(state, phase_job, phase_job.features, phase, run, record)
            else:
                _train_phase(state, phase_job, phase, run, save, record)
            fabric.barrier()  # the kept weights are on the disk
            _take_kept(classifier, state, phase, run)
            fabric.barrier()  # and may go
    if not position.finished:
        position.finished = True
        if fabric.is_global_zero:
            last = TrainState(classifier, [], position)
            save_checkpoint(last, run.checkpoints, config_fingerprint=fingerprint)
            _remove_weights(run, keep=None)
            for file in run.checkpoints.glob("backbone-*.safetensors"):
                file.unlink()
    if fabric.is_global_zero:
        _write_history(run, position)
    fabric.barrier()
    return position


def _penalties(classifier: Classifier, config: ResolvedConfig) -> list[Penalty]:
    return choose_penalties(classifier, l1=config.loss.l1, l2=config.loss.l2)


def _remove_weights(run: RunDir, *, keep: str | None) -> None:
    """Remove weights that were the best once; only after a checkpoint that no longer speaks of them."""
    for old in run.checkpoints.glob("best-*.safetensors"):
        if old.name != keep:
            old.unlink()


def _job_of_phase(classifier: Classifier, job: Job, phase: ResolvedPhase, position: Position, run: RunDir) -> Job:
    """The job as the phase sees it: on features where it trains the head alone, which also keeps the backbone's
    weights in a file, since checkpoints of such a phase hold only the head.
    """
    if not on_features(job.config, phase):
        return job
    file, fabric = run.checkpoints / _backbone_file(position), job.runtime.fabric
    if file.is_file():
        classifier.backbone.load_state_dict(load_file(file))
    elif fabric.is_global_zero:
        save_weights(classifier.backbone, file)
    return replace(job, features=feature_store(classifier, job, views=phase.feature_views))


def _backbone_file(position: Position) -> str:
    return f"backbone-{position.phase}.safetensors"


def _train_phase(
    state: TrainState, job: Job, phase: ResolvedPhase, run: RunDir, save: Callable[[], None], record: Record
) -> None:
    """Epochs until the phase is over; leaves the position at the start of the next phase."""
    position, saved = state.position, time.perf_counter()
    while True:
        in_time = train_epoch(state, job, phase, save=save)
        _finish_epoch(state, job, phase, run)
        record(position.history[-1])
        over = position.step == num_steps(job, phase) or not in_time or _should_stop(position, phase.early_stopping)
        if over:
            job.progress.say(_why_over(position, phase, in_time=in_time))
            _next_phase(position, job, in_time=in_time)
        elif not job.on_features or time.perf_counter() - saved >= job.config.runtime.checkpoint_seconds:
            save()
            saved = time.perf_counter()
        if job.runtime.is_main:
            _write_history(run, position)
        if over:
            return


def _next_phase(position: Position, job: Job, *, in_time: bool) -> None:
    position.phase = position.phase + 1 if in_time else len(job.config.phases)
    position.epoch = position.step = position.stale_epochs = 0
    position.stop_value = None
    position.plateau = {}


def _solve_phase(
    state: TrainState, job: Job, features: FeatureStore, phase: ResolvedPhase, run: RunDir, record: Record
) -> None:
    """The head that L-BFGS finds, as one epoch."""
    position, clock = state.position, time.perf_counter()
    solved = solve_head(state.trained, job, features)
    position.num_correct, position.num_seen = solved.num_correct, len(job.manifest.rows(TRAIN))
    position.loss_sum = solved.train_loss * position.num_seen
    position.epoch_seconds = time.perf_counter() - clock
    position.seconds += position.epoch_seconds
    job.progress.say(f"Phase {phase.name}: {solved.said}")
    if solved.out_of_fold is not None and job.runtime.fabric.is_global_zero:
        solved.out_of_fold.save(run.out_of_fold)
    _finish_epoch(state, job, phase, run)
    record(position.history[-1])
    _next_phase(position, job, in_time=True)
    if job.runtime.is_main:
        _write_history(run, position)


def _take_kept(classifier: Classifier, state: TrainState, phase: ResolvedPhase, run: RunDir) -> None:
    """After a phase: put the kept weights (of this phase or an earlier one) into the classifier."""
    best = state.position.best
    if phase.monitor == "last" or not best:
        if state.average is not None:
            state.trained.load_state_dict(state.average.module.state_dict())
        return
    weights = load_file(run.checkpoints / best["file"])
    if best["backbone"]:
        classifier.backbone.load_state_dict(load_file(run.checkpoints / best["backbone"]))
        classifier.head.load_state_dict(weights)
    else:
        classifier.load_state_dict(weights)


def _finish_epoch(state: TrainState, job: Job, phase: ResolvedPhase, run: RunDir) -> None:
    """Validate, add a row to the history, keep the weights if they are the best so far."""
    position, fabric = state.position, job.runtime.fabric
    clock = time.perf_counter()
    row: dict[str, Any] = {
        "epoch": position.epochs_done + 1,
        "phase": phase.name,
        "lr": state.optimizers[0].param_groups[0]["lr"] if state.optimizers else 0.0,
        "train_loss": position.loss_sum / position.num_seen,
        "train_accuracy": position.num_correct / position.num_seen,
        **validate(state, job),
        "images_per_second": position.num_seen / max(position.epoch_seconds, 1e-9),
    }
    position.seconds += time.perf_counter() - clock
    row["seconds"] = position.seconds
    row = fabric.broadcast(row)  # every process must come to the same decisions
    position.history.append(row)
    position.epochs_done += 1
    position.epoch += 1
    position.batch = position.num_correct = position.num_seen = 0
    position.loss_sum = position.epoch_seconds = 0.0
    _note_staleness(position, phase.early_stopping, row)
    if phase.schedule == "plateau":
        position.plateau = lower_on_plateau(phase, position.plateau, loss=row["validation_loss"])
    if phase.monitor == "last":
        position.best = {}
        return
    value, best = row[phase.monitor], position.best
    if not best or _better(phase.monitor, value, position.history[best["epoch"] - 1][phase.monitor]):
        file = f"best-{row['epoch']}.safetensors"
        if fabric.is_global_zero:
            save_weights(state.kept, run.checkpoints / file)
        backbone = _backbone_file(position) if job.on_features else None
        position.best = {
            "monitor": phase.monitor,
            "value": value,
            "epoch": row["epoch"],
            "file": file,
            "backbone": backbone,
        }


def _better(metric: str, value: float, than: float, min_delta: float = 0.0) -> bool:
    return value < than - min_delta if metric.endswith("loss") else value > than + min_delta


def _note_staleness(position: Position, stop: EarlyStoppingConfig | None, row: dict[str, Any]) -> None:
    if stop is None:
        return
    value = row[stop.monitor]
    if position.stop_value is None or _better(stop.monitor, value, position.stop_value, stop.min_delta):
        position.stop_value, position.stale_epochs = value, 0
    else:
        position.stale_epochs += 1


def _should_stop(position: Position, stop: EarlyStoppingConfig | None) -> bool:
    return stop is not None and position.stale_epochs >= stop.patience


def _why_over(position: Position, phase: ResolvedPhase, *, in_time: bool) -> str:
    if not in_time:
        return f"Phase {phase.name}: stopped at the time limit after {position.epoch} epochs."
    if phase.early_stopping is None or not _should_stop(position, phase.early_stopping):
        return f"Phase {phase.name}: {phase.epochs:g} epochs done."
    monitor = phase.early_stopping.monitor.replace("_", " ")
    return (
        f"Phase {phase.name}: stopped early after {position.epoch} epochs; {monitor} has not improved for "
        f"{phase.early_stopping.patience}."
    )


def _write_history(run: RunDir, position: Position) -> None:
    frame = pd.DataFrame(position.history)
    frame["kept"] = frame["epoch"] == position.best.get("epoch", frame["epoch"].max())
    write_whole(run.history, lambda temporary: frame.to_csv(temporary, index=False))


def measure_throughput(classifier: Classifier, job: Job, phase: ResolvedPhase) -> float:
    """Training images per second of this process, from a few batches on a copy; the random state is left as it was.

    Asks nothing of other processes, which may be waiting for this one.
    """
    with torch.random.fork_rng():
        trial = copy.deepcopy(classifier).to(job.runtime.device).to(memory_format=torch.channels_last)
        size = phase.micro_batch_size or phase.batch_size
        probe = phase.model_copy(update={"batch_size": size, "epochs": 1})
        penalties = _penalties(trial, job.config)
        state = TrainState(job.runtime.alone(trial), build_optimizers(trial, probe), Position(), penalties=penalties)
        state.model.train()
        rows, seconds = job.manifest.rows(TRAIN)[:size], []
        for _ in range(3):
            state.position.batch = 0
            clock = time.perf_counter()
            train_batch(state, job, probe, next(iter(job.images.batches(rows, batch_size=size))))
            read_sums(state.unread, state.position, probe, together=None)
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
