"""The whole story on one page: images in, a tested model and a report out.

`begin` reads, plans and writes the files that a run begins with; `finish` trains (or goes on), tests once, and writes
the rest. A resumed run, and every process of several, enters at `finish` and knows only what the run folder says.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from linnaeus import run_folder
from linnaeus.config.pages import overlay, read_recipe
from linnaeus.config.resolved import ResolvedConfig, read_resolved
from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.data import intake
from linnaeus.data.cache.images import open_cache
from linnaeus.data.folders import check_outside
from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import Manifest
from linnaeus.errors import ConfigError, DataError, Interrupted
from linnaeus.models import Classifier
from linnaeus.planning.fingerprint import take_fingerprint
from linnaeus.planning.head_loss import plan_head_loss
from linnaeus.planning.plan import Plan
from linnaeus.progress import SILENT, Progress
from linnaeus.run.begin import (
    first_network,
    plan_before_pixels,
    plan_time,
    plan_with_pixels,
    prepare_images,
    write_beginning,
)
from linnaeus.run.finished import Run
from linnaeus.run.network import adjust_logits, classifier_to_train
from linnaeus.run.preparation import Preparation, read_preparation
from linnaeus.run.results import judge_run
from linnaeus.run_folder import RunDir
from linnaeus.training.checkpoint import Position
from linnaeus.training.fold_runs import train_folds, trains_folds_whole
from linnaeus.training.job import Job
from linnaeus.training.run import stop_signals, train
from linnaeus.training.runtime import Runtime, start_runtime


def fit(
    settings: Mapping[str, Any],
    *,
    recipe: str | None = None,
    epochs: float | None = None,
    manifest: Manifest | None = None,
    out: Path | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Train, test and report.

    Args:
        settings: nested like a recipe, such as {"data": {"source": "photos/"}}; they go before the recipe's.
        recipe: name or path; None lets the plan choose one.
        epochs: of every phase, whatever recipe is chosen.
        manifest: the images, where they do not come from `settings["data"]["source"]`.
        out: the run folder; None takes the next free `runs/NAME`.
        force: replace a run that is there, once the new one can begin.
        progress: hears of every step.

    Raises the errors of linnaeus.errors, and Interrupted (after saving) on Ctrl-C or SIGTERM.
    """
    clock = time.perf_counter()
    configure = functools.partial(_config, settings, epochs=epochs)
    runtime = start_runtime(configure(recipe).runtime)
    run = runtime.on_main(
        lambda: begin(
            configure,
            recipe=recipe,
            manifest=manifest,
            out=out,
            force=force,
            runtime=runtime,
            progress=progress,
            clock=clock,
        )
    )
    if not runtime.fabric.is_global_zero:
        progress = SILENT
    return finish(run, runtime=runtime, progress=progress)


def resume(path: Path, *, progress: Progress = SILENT) -> Run:
    """Go on with a run from its last checkpoint, with its own settings; a finished run is returned as it is.

    Raises RunNotFoundError, CheckpointError if its files do not belong together, DataError if the images have changed.
    """
    run = run_folder.open_existing(path)
    if run.report.exists():
        progress.say(f"{path} is finished already.")
        return Run(path)
    return finish(run, runtime=start_runtime(read_resolved(run.config).runtime), progress=progress)


def begin(
    configure: Callable[[str | None], RunConfig],
    *,
    recipe: str | None,
    manifest: Manifest | None,
    out: Path | None,
    force: bool,
    runtime: Runtime,
    progress: Progress,
    clock: float,
) -> RunDir:
    """Read the images, settle the configuration, and write the run folder. Nothing is left behind if that fails.

    `configure` gives the configuration under a recipe's name, or that of the settings alone under None; `clock` is when
    all this started.
    """
    config = configure(recipe)
    name = Path(config.data.source).resolve().name or "data"
    folder = out or run_folder.free_path(name)
    check_outside(folder, config.data)
    brought = intake.read_manifest(config.data, manifest)
    check_outside(folder, config.data, brought)
    found = intake.divide(brought, config.data, seed=config.seed)
    fingerprint = take_fingerprint(found)
    for line in intake.describe(found, width=fingerprint.width, height=fingerprint.height):
        progress.say(line)

    plan = Plan(asked=configure(None), config=config)
    plan = plan_before_pixels(plan, fingerprint, recipe=recipe, configure=configure, runtime=runtime)
    with run_folder.draft(out, name=name, force=force) as draft:
        images = prepare_images(draft.run, plan, found, brought=brought, fingerprint=fingerprint, progress=progress)
        plan = plan_with_pixels(plan, images)
        classifier, weights, plan = first_network(plan, images.manifest, progress=progress)
        plan = plan_time(plan, images, classifier, runtime=runtime)
        plan = plan_head_loss(plan)
        seconds = time.perf_counter() - clock
        write_beginning(draft.run, plan, images, weights=weights, seconds=seconds)
        run = draft.publish()

    if run.quarantine.exists():
        progress.say(f"The images that are left out are listed in {run.quarantine}")
    for decision in plan.decisions:
        progress.say(f"  {decision.what}: {decision.choice} ({decision.why})")
    return run


def finish(run: RunDir, *, runtime: Runtime, progress: Progress) -> Run:
    """Train from wherever the run stands, test once, and write scores, model and report.

    Raises RunExistsError if another process is at work in the folder, DataError if the images have changed.
    """
    leads = runtime.fabric.is_global_zero
    with run_folder.at_work_in(run) if leads else contextlib.nullcontext():
        if leads:
            progress.log_to(run.log)
        config, preparation = read_resolved(run.config), read_preparation(run.settled)
        try:
            job = _job(run, config, preparation, runtime, progress=progress)
            with stop_signals() as stop_requested:
                job = replace(job, stop_requested=stop_requested)
                classifiers, position = _train(run, job, preparation)
        except (Interrupted, KeyboardInterrupt) as stop:
            raise Interrupted(f"{str(stop) or 'Stopped.'} Go on with: linnaeus resume {run.path}") from None
        runtime.on_main(lambda: judge_run(run, job, classifiers, position, preparation))
    return Run(run.path)


def _train(run: RunDir, job: Job, preparation: Preparation) -> tuple[Sequence[Classifier], Position]:
    """The trained network, or one per fold where folds are trained whole, and where training ended."""
    config, manifest = job.config, job.manifest

    def build(own: RunDir) -> Classifier:
        return classifier_to_train(config, manifest, own, weights_sha256=preparation.weights_sha256)

    def adjust(trained: Classifier) -> None:
        adjust_logits(trained, config, manifest)

    if not trains_folds_whole(config):
        classifier = build(run)
        position = train(classifier, job, run)
        adjust(classifier)
        return (classifier,), position
    folds = train_folds(build, adjust, job, run)
    if job.runtime.fabric.is_global_zero:
        folds.out_of_fold.save(run.out_of_fold)
    position = Position(
        seconds=folds.seconds,
        earlier_seconds=folds.earlier_seconds,
        finished=True,
    )
    return folds.classifiers, position


def _job(
    run: RunDir,
    config: ResolvedConfig,
    preparation: Preparation,
    runtime: Runtime,
    *,
    progress: Progress,
) -> Job:
    """Everything that training works on; raises DataError if the images are no longer those that the run began with."""
    manifest, spec = Manifest.load(run.manifest), preparation.image_spec
    cache = open_cache(manifest, spec, threads=config.runtime.threads, progress=progress)
    if cache.path.name != preparation.cache:
        raise DataError(
            f"The images have changed since {run.path} began, so it cannot go on. Start again with --force."
        )
    store = ImageStore(cache, manifest, runtime.device)
    return Job(config, manifest, store, spec, runtime, config.evaluate.tta, progress)


def _config(settings: Mapping[str, Any], recipe: str | None, *, epochs: float | None) -> RunConfig:
    page = {} if recipe is None else read_recipe(recipe)
    num_phases = len(page.get("phases", []))
    if recipe is not None and any("name" not in phase for phase in settings.get("phases", [])[num_phases:]):
        raise ConfigError(f"Recipe {recipe} has {num_phases} phases, numbered from 0; a new one needs a name.")
    page = overlay(page, settings)
    if epochs is not None:
        page["phases"] = [{**phase, "epochs": epochs} for phase in page.get("phases", [{}])]
    return parse_config(page, where="the settings" if recipe is None else f"recipe {recipe} and the settings")
