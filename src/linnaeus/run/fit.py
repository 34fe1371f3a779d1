"""The whole story on one page: images in, a tested model and a report out.

`begin` reads, plans and writes the run folder; `finish` trains (or goes on), tests once, and writes the rest. A resumed
run, and every process of several, enters at `finish` and knows only what the run folder says.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from linnaeus import run_folder
from linnaeus.analysis.copies import describe_copies, find_copies
from linnaeus.config.pages import overlay, read_page, read_recipe
from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.data import intake
from linnaeus.data.cache.images import CachedImages, open_cache
from linnaeus.data.image_spec import ImageSpec, spec_from_config
from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import TRAIN, Manifest
from linnaeus.data.statistics import channel_statistics, is_grey
from linnaeus.errors import ConfigError, DataError, Interrupted
from linnaeus.judging.operating_point import check_wishes
from linnaeus.losses.penalty import choose_penalties
from linnaeus.models import Classifier
from linnaeus.models.heads import shift_logits
from linnaeus.planning.balance import plan_balance
from linnaeus.planning.decision import Decision
from linnaeus.planning.fingerprint import take_fingerprint
from linnaeus.planning.head_loss import check_head_loss, plan_head_loss
from linnaeus.planning.idle_settings import idle_settings
from linnaeus.planning.labels import plan_folds, plan_labels
from linnaeus.planning.plan import choose_recipe, plan_image, plan_training
from linnaeus.planning.transfer import choose_backbone, choose_features, is_backbone
from linnaeus.progress import SILENT, Progress
from linnaeus.run.begin import fit_time_limit, image_spec, note_seconds, write_beginning
from linnaeus.run.finished import Run
from linnaeus.run.network import adjust_logits, build_untrained, classifier_to_train, fill_pretrained
from linnaeus.run.scores import judge
from linnaeus.run_folder import RunDir
from linnaeus.training.checkpoint import Position
from linnaeus.training.fold_runs import train_folds, trains_folds_whole
from linnaeus.training.head_phase import check_heads
from linnaeus.training.job import Job, class_counts
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
        force: replace a run that is there.
        progress: hears of every step.

    Raises the errors of linnaeus.errors, and Interrupted (after saving) on Ctrl-C or SIGTERM.
    """
    clock = time.perf_counter()
    config = _config(settings, recipe, epochs)
    runtime = start_runtime(config.runtime)
    path = out or _free_path(config.data.source)
    for folder in (config.data.source, config.data.test):
        if folder is not None and manifest is None and path.resolve().is_relative_to(Path(folder).resolve()):
            raise ConfigError(f"The run would be written into the data, {folder}. Name a folder elsewhere with --out.")

    def start() -> None:
        begin(
            lambda chosen: _config(settings, chosen, epochs),
            recipe=recipe,
            manifest=manifest,
            path=path,
            force=force,
            runtime=runtime,
            progress=progress,
        )
        note_seconds(RunDir(path), time.perf_counter() - clock)

    runtime.on_main(start)
    path = runtime.fabric.broadcast(path)
    if not runtime.fabric.is_global_zero:
        progress = SILENT
    return finish(RunDir(path), runtime=runtime, progress=progress)


def resume(path: Path, *, progress: Progress = SILENT) -> Run:
    """Go on with a run from its last checkpoint, with its own settings; a finished run is returned as it is.

    Raises RunNotFoundError, CheckpointError if its files do not belong together, DataError if the images have changed.
    """
    run = run_folder.open_existing(path)
    if run.report.exists():
        progress.say(f"{path} is finished already.")
        return Run(path)
    config = parse_config(read_page(run.config), where=str(run.config))
    return finish(run, runtime=start_runtime(config.runtime), progress=progress)


def begin(
    configure: Callable[[str | None], RunConfig],
    *,
    recipe: str | None,
    manifest: Manifest | None,
    path: Path,
    force: bool,
    runtime: Runtime,
    progress: Progress,
) -> None:
    """Read the images, settle the configuration, and write the run folder. Nothing is left behind if that fails.

    `configure` gives the configuration under a recipe's name, or that of the settings alone under None.
    """
    config = configure(recipe)
    decisions: list[Decision] = []
    brought = intake.read_manifest(config.data, manifest)
    found = intake.divide(brought, config.data, seed=config.seed)
    fingerprint = take_fingerprint(found)
    for line in intake.describe(found, width=fingerprint.width, height=fingerprint.height):
        progress.say(line)
    if recipe is None:
        recipe, decision = choose_recipe(config, fingerprint)
        config, decisions = configure(recipe), [decision]
    if is_backbone(config.model):
        model, reasons = choose_backbone(config.model)
        decisions += reasons
        model, reasons = choose_features(model, config.phases)
        config = config.model_copy(update={"model": model})
        decisions += reasons
    config, reasons = plan_labels(config, configure(None), task=found.task)
    decisions += reasons
    check_head_loss(config)
    config, reasons = plan_image(config, fingerprint)
    decisions += [*reasons, Decision("device", runtime.device.type, runtime.reason)]
    run = run_folder.create(path, force=force)
    try:
        spec = image_spec(config)
        cache = open_cache(found, spec, threads=config.runtime.threads, progress=progress)
        found = intake.set_aside_unreadable(found, cache, config.data, seed=config.seed, original=brought)
        if cache.problems:
            intake.write_quarantine(run.quarantine, found, cache)
            progress.say(f"{len(cache.problems):,} images cannot be read and are left out: {run.quarantine}")
        copies = find_copies(cache, source_px=min(fingerprint.width, fingerprint.height))
        told = len(found.notes)
        found = intake.keep_together(found, copies, cache, config.data, seed=config.seed, original=brought)
        for line in found.notes[told:]:
            progress.say(line)
        for line in describe_copies(copies, found):
            progress.say(line)
        leaked = found.ids.take(pa.array(copies.leaked(found))).to_pylist()
        train_rows = found.rows(TRAIN)
        if config.image.normalize == "dataset":
            mean, std = channel_statistics(cache.pixels, train_rows)
            spec = spec_from_config(config.image, mean=mean, std=std)
        config, reasons = plan_training(config, take_fingerprint(found), grey=is_grey(cache.pixels, train_rows))
        decisions += reasons
        config, reasons = plan_folds(config, found)
        decisions += [*reasons, *plan_balance(config, found, shown=class_counts(config, found))]
        decisions += idle_settings(configure(None), config, task=found.task)
        check_heads(config, found)
        check_wishes(config.evaluate, found.classes, task=found.task)
        found.loss_weights()  # weights that leave nothing to learn from are noticed before anything is written
        classifier = build_untrained(config, found)  # an impossible network is noticed before anything is written
        choose_penalties(classifier, l1=config.loss.l1, l2=config.loss.l2)  # and so is a penalty on layers it lacks
        if config.evaluate.logit_adjustment:
            shift_logits(classifier.head, torch.zeros(found.num_classes))  # and a head that cannot be adjusted
        config, loaded = fill_pretrained(classifier, config)
        for line in () if loaded is None else loaded.describe():
            progress.say(line)
        if config.time_limit_seconds is not None:
            config, decision = fit_time_limit(config, _job(config, found, cache, spec, runtime), classifier)
            decisions.append(decision)
        decisions += plan_head_loss(config)
        digest = None if loaded is None else loaded.sha256
        write_beginning(run, config, found, spec, cache, decisions, leaked, weights_sha256=digest)
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    for decision in decisions:
        progress.say(f"  {decision.what}: {decision.choice} ({decision.why})")


def finish(run: RunDir, *, runtime: Runtime, progress: Progress) -> Run:
    """Train from wherever the run stands, test once, and write scores, model and report."""
    if runtime.fabric.is_global_zero:
        progress.log_to(run.log)
    config = parse_config(read_page(run.config), where=str(run.config))
    settled = json.loads(run.settled.read_text(encoding="utf-8"))
    manifest = Manifest.load(run.manifest)
    spec = ImageSpec.from_dict(settled["image_spec"])
    cache = open_cache(manifest, spec, threads=config.runtime.threads, progress=progress)
    if cache.path.name != settled["cache"]:
        raise DataError(
            f"The images have changed since {run.path} began, so it cannot go on. Start again with --force."
        )

    def build(own: RunDir) -> Classifier:
        return classifier_to_train(config, manifest, settled, own)

    def adjust(trained: Classifier) -> None:
        adjust_logits(trained, config, manifest)

    try:
        with stop_signals() as stop_requested:
            job = _job(config, manifest, cache, spec, runtime, progress=progress, stop_requested=stop_requested)
            if trains_folds_whole(config):
                folds = train_folds(build, adjust, job, run)
                classifiers = folds.classifiers
                position = Position(
                    seconds=folds.seconds,
                    earlier_seconds=folds.earlier_seconds,
                    best={"out_of_fold": True},
                    finished=True,
                )
                if runtime.fabric.is_global_zero:
                    folds.out_of_fold.save(run.out_of_fold)
            else:
                classifiers = (build(run),)
                position = train(classifiers[0], job, run)
                adjust(classifiers[0])
    except Interrupted as stop:
        raise Interrupted(f"{stop} Go on with: linnaeus resume {run.path}") from None
    runtime.on_main(lambda: judge(run, job, classifiers, position, settled))
    return Run(run.path)


def _config(settings: Mapping[str, Any], recipe: str | None, epochs: float | None) -> RunConfig:
    page = {} if recipe is None else read_recipe(recipe)
    num_phases = len(page.get("phases", []))
    if recipe is not None and any("name" not in phase for phase in settings.get("phases", [])[num_phases:]):
        raise ConfigError(f"Recipe {recipe} has {num_phases} phases, numbered from 0; a new one needs a name.")
    page = overlay(page, settings)
    if epochs is not None:
        page["phases"] = [{**phase, "epochs": epochs} for phase in page.get("phases", [{}])]
    return parse_config(page, where="the settings" if recipe is None else f"recipe {recipe} and the settings")


def _free_path(source: str) -> Path:
    name = Path(source).resolve().name or "data"
    taken = (Path("runs") / (name if k == 1 else f"{name}-{k}") for k in range(1, 10**6))
    return next(path for path in taken if not path.exists())


def _job(
    config: RunConfig,
    manifest: Manifest,
    cache: CachedImages,
    spec: ImageSpec,
    runtime: Runtime,
    *,
    progress: Progress = SILENT,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Job:
    assert config.evaluate.views != "auto"
    store = ImageStore(cache, manifest, runtime.device)
    return Job(config, manifest, store, spec, runtime, config.evaluate.views, progress, stop_requested)
