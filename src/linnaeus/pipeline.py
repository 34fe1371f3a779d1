"""The whole story on one page: images in, a tested model and a report out.

`begin` reads, plans and writes the run folder; `finish` trains (or goes on), tests once, and writes the rest. A resumed
run, and every process of several, enters at `finish` and knows only what the run folder says.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import torch

from linnaeus import rundir
from linnaeus.analysis.copies import describe_copies, find_copies
from linnaeus.analysis.errors import ExplainedError, explain_errors
from linnaeus.analysis.label_issues import find_label_issues, read_label_issues
from linnaeus.bundle import Bundle, ensemble_bundle, load_bundle, save_bundle
from linnaeus.config import RunConfig, overlay, parse_config, read_page, read_recipe, to_yaml
from linnaeus.data.appearance import measure_appearance
from linnaeus.data.cache import CachedImages, open_cache
from linnaeus.data.image_spec import ImageSpec, spec_from_config
from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import SPLITS, TEST, TRAIN, VALIDATION, Manifest
from linnaeus.data.statistics import channel_statistics, is_grey
from linnaeus.errors import ConfigError, DataError, Interrupted, ModelError, UnreadableImageError
from linnaeus.evaluation.baselines import evaluate_baselines
from linnaeus.evaluation.class_curves import class_curves
from linnaeus.evaluation.evaluate import evaluate_predictions
from linnaeus.evaluation.familiarity import draw_bank
from linnaeus.evaluation.operating_point import check_wishes
from linnaeus.evaluation.score_table import table_of
from linnaeus.evaluation.selection import mean_logits
from linnaeus.evaluation.settle import Settled, describe_settled, settle
from linnaeus.evaluation.trust import Trust, describe_trust, learn_trust
from linnaeus.losses import log_shares
from linnaeus.losses.penalty import choose_penalties
from linnaeus.models import Classifier, build_classifier, count_parameters
from linnaeus.models.heads import shift_logits
from linnaeus.planning import intake
from linnaeus.planning.balance import plan_balance
from linnaeus.planning.decision import Decision
from linnaeus.planning.fingerprint import take_fingerprint
from linnaeus.planning.labels import plan_folds, plan_labels
from linnaeus.planning.plan import choose_recipe, epochs_within, plan_image, plan_page, plan_training
from linnaeus.planning.transfer import choose_backbone, choose_features, is_backbone, phases_within
from linnaeus.predictions import NUM_VIEWS, Predictions, Views, concatenate_predictions, groups_of, predict, rows_of
from linnaeus.progress import SILENT, Progress
from linnaeus.report.facts import ReportFacts
from linnaeus.report.page import write_report
from linnaeus.report.paper import write_paper
from linnaeus.report.thumbnails import thumbnail_of
from linnaeus.rundir import RunDir
from linnaeus.training.baselines import answer_baselines
from linnaeus.training.checkpoint import Position
from linnaeus.training.fold_runs import train_folds, trains_folds_whole
from linnaeus.training.head_phase import check_heads
from linnaeus.training.loop import VALIDATION_COST, Job, class_counts, num_shown
from linnaeus.training.phases import on_features
from linnaeus.training.run import config_fingerprint, measure_throughput, started, stop_signals, train
from linnaeus.training.runtime import Runtime, describe_environment, start_runtime

if TYPE_CHECKING:
    from linnaeus.models.weights import WeightsReport


@dataclass(frozen=True)
class Run:
    """A finished run; everything is read from its folder when asked for."""

    path: Path

    @property
    def config(self) -> RunConfig:
        """The settled configuration."""
        path = RunDir(self.path).config
        return parse_config(read_page(path), where=str(path))

    @property
    def evaluation(self) -> dict[str, Any]:
        """The scores; docs/evaluation-json.md describes them."""
        values: dict[str, Any] = json.loads(RunDir(self.path).evaluation.read_text(encoding="utf-8"))
        return values

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch."""
        return pd.read_csv(RunDir(self.path).history)

    @property
    def manifest(self) -> Manifest:
        """Every image with its target and split."""
        return Manifest.load(RunDir(self.path).manifest)

    @property
    def predictions(self) -> Predictions:
        """Logits of the validation and test images."""
        return Predictions.load(RunDir(self.path).predictions)

    @property
    def out_of_fold(self) -> Predictions:
        """Logits of training and validation images by heads that have not seen them, where there were folds."""
        return Predictions.load(RunDir(self.path).out_of_fold)

    @property
    def label_issues(self) -> pd.DataFrame:
        """Labels that look wrong, the most suspicious first, where there are out-of-fold predictions."""
        return read_label_issues(RunDir(self.path).label_issues)

    @property
    def bundle(self) -> Bundle:
        """The finished model."""
        return load_bundle(RunDir(self.path).model)

    @property
    def report(self) -> Path:
        """The page to open in a browser."""
        return RunDir(self.path).report


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
    if runtime.fabric.is_global_zero:
        begin(
            lambda chosen: _config(settings, chosen, epochs),
            recipe=recipe,
            manifest=manifest,
            path=path,
            force=force,
            runtime=runtime,
            progress=progress,
        )
        _note_seconds(RunDir(path), time.perf_counter() - clock)
    path = runtime.fabric.broadcast(path)
    if not runtime.fabric.is_global_zero:
        progress = SILENT
    return finish(RunDir(path), runtime=runtime, progress=progress)


def resume(path: Path, *, progress: Progress = SILENT) -> Run:
    """Go on with a run from its last checkpoint, with its own settings; a finished run is returned as it is.

    Raises RunNotFoundError, CheckpointError if its files do not belong together, DataError if the images have changed.
    """
    run = rundir.open_existing(path)
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
    config, reasons = plan_image(config, fingerprint)
    decisions += [*reasons, Decision("device", runtime.device.type, runtime.reason)]
    run = rundir.create(path, force=force)
    try:
        spec = _image_spec(config)
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
        check_heads(config, found)
        check_wishes(config.evaluate, found.classes, task=found.task)
        found.loss_weights()  # weights that leave nothing to learn from are noticed before anything is written
        classifier = _build(config, found)  # an impossible network is noticed before anything is written
        choose_penalties(classifier, l1=config.loss.l1, l2=config.loss.l2)  # and so is a penalty on layers it lacks
        if config.evaluate.logit_adjustment:
            shift_logits(classifier.head, torch.zeros(found.num_classes))  # and a head that cannot be adjusted
        config, loaded = _load_pretrained(classifier, config)
        for line in () if loaded is None else loaded.describe():
            progress.say(line)
        if config.time_limit_seconds is not None:
            config, decision = _fit_time_limit(config, _job(config, found, cache, spec, runtime), classifier)
            decisions.append(decision)
        digest = None if loaded is None else loaded.sha256
        _write_beginning(run, config, found, spec, cache, decisions, leaked, weights_sha256=digest)
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
        return _classifier_to_train(config, manifest, settled, own)

    def adjust(trained: Classifier) -> None:
        _adjust_logits(trained, config, manifest)

    try:
        with stop_signals() as stop_requested:
            job = _job(config, manifest, cache, spec, runtime, progress=progress, stop_requested=stop_requested)
            if trains_folds_whole(config):
                folds = train_folds(build, adjust, job, run)
                classifiers = folds.classifiers
                position = Position(seconds=folds.seconds, best={"out_of_fold": True}, finished=True)
                if runtime.fabric.is_global_zero:
                    folds.out_of_fold.save(run.out_of_fold)
            else:
                classifiers = (build(run),)
                position = train(classifiers[0], job, run)
                adjust(classifiers[0])
    except Interrupted as stop:
        raise Interrupted(f"{stop} Go on with: linnaeus resume {run.path}") from None
    if runtime.fabric.is_global_zero:
        _judge(run, job, classifiers, position, settled)
    runtime.fabric.barrier()
    return Run(run.path)


def _classifier_to_train(config: RunConfig, manifest: Manifest, settled: dict[str, Any], run: RunDir) -> Classifier:
    """The network with which training in this folder begins; pretrained weights are read only where it has not begun.

    Raises ModelError if they are others than those that were planned with.
    """
    classifier = _build(config, manifest)
    if settled["weights_sha256"] is not None and not started(run):
        _, loaded = _load_pretrained(classifier, config)
        if loaded is None or loaded.sha256 != settled["weights_sha256"]:
            raise ModelError(
                f"The weights {config.model.weights} have changed since {run.path} began, so it cannot go on. Start "
                "again with --force."
            )
    return classifier


def _adjust_logits(classifier: Classifier, config: RunConfig, manifest: Manifest) -> None:
    """Take each class's log share from its logit where that is asked for (arXiv 2007.07314, equation 9)."""
    if config.evaluate.logit_adjustment:
        shares = log_shares(torch.from_numpy(class_counts(config, manifest)).float())
        shift_logits(classifier.head, -config.evaluate.logit_adjustment * shares)


def _judge(
    run: RunDir, job: Job, classifiers: Sequence[Classifier], position: Position, settled: dict[str, Any]
) -> None:
    """Score the kept weights, or those of all folds together, on validation and, this once, on test; write scores,
    bundle and report.
    """
    config, clock = job.config, time.perf_counter()
    predictions = held_out = _predict_held_out(classifiers, job)
    if position.best.get("out_of_fold"):
        validation = Predictions.load(run.out_of_fold).of_split(VALIDATION)
        predictions = concatenate_predictions(validation, predictions.of_split(TEST))
    raw = predictions
    not_seen = _unseen(run, raw, out_of_fold=bool(position.best.get("out_of_fold")))
    found = settle(not_seen, config.evaluate)
    trust = _learn_trust(classifiers[0], job, found.applied(not_seen), held_out)
    if len(classifiers) > 1:  # each has features of its own, and has seen most of the validation images
        trust = replace(trust, familiarity=None)
    for line in found.chosen.describe():
        job.progress.say(line)
    predictions = found.applied(raw)
    predictions.save(run.predictions)
    label_issues = _find_label_issues(run)
    thresholds, groups = found.thresholds, groups_of(predictions, job.manifest)
    scores = {
        SPLITS[split]: _score(predictions.of_split(split), config, thresholds, groups[predictions.splits == split])
        for split in (TEST, VALIDATION)
    }
    test, groups = predictions.of_split(TEST), groups[predictions.splits == TEST]
    unseen = np.flatnonzero(~np.isin(test.ids.to_pylist(), settled.get("leaked_test_ids", [])))
    if 0 < len(unseen) < len(test):
        scores["test_without_duplicates"] = _score(test.take(unseen), config, thresholds, groups[unseen])
    described = describe_settled(
        found, validation=raw.of_split(VALIDATION), test=raw.of_split(TEST), confidence=config.evaluate.confidence
    )
    described |= _baselines(job, predictions, settled, thresholds=thresholds)
    of_test = held_out.of_split(TEST).features
    assert of_test is not None and isinstance(job.store, ImageStore)
    described |= describe_trust(
        trust,
        table_of(test),
        features=of_test,
        columns=measure_appearance(job.store, job.manifest, rows_of(test, job.manifest)),
        thresholds=thresholds,
        confidence=config.evaluate.confidence,
    )
    described["curves"] = class_curves(table_of(test), scores=scores["test"])
    seconds = {"prepare": settled["seconds"], "train": position.seconds, "evaluate": time.perf_counter() - clock}
    seconds = {name: round(value, 2) for name, value in seconds.items()}
    evaluation = {"format": 1, **scores, **described, "seconds": {**seconds, "total": round(sum(seconds.values()), 2)}}
    rundir.write_json(run.evaluation, evaluation)
    environment = describe_environment(job.runtime)
    _write_bundle(run, job, classifiers, scores["test"], environment, settled=found, trust=trust)
    facts = ReportFacts(
        title=Path(config.data.source).name,
        config=config,
        manifest=job.manifest,
        predictions=predictions,
        evaluation=evaluation,
        history=pd.read_csv(run.history),
        decisions=[(d["what"], d["choice"], d["why"]) for d in settled["decisions"]],
        environment=environment,
        thumbnails=thumbnail_of(job.manifest),
        problems=intake.read_quarantine(run.quarantine),
        num_parameters=sum(count_parameters(classifier)[0] for classifier in classifiers),
        kept_epoch=position.best.get("epoch", -1 if len(classifiers) > 1 else None),  # each fold kept its own
        label_issues=label_issues,
        fitted=_pixels(job),
        explained=_explained(job, classifiers[0], test, thresholds),
    )
    write_paper(figures=run.figures, tables=run.tables, facts=facts)
    write_report(run.report, facts)


def _pixels(job: Job) -> Callable[[int], npt.NDArray[np.uint8]]:
    """row -> the pixels the network saw; UnreadableImageError where there are none."""
    store = job.store
    assert isinstance(store, ImageStore)

    def pixels_of(row: int) -> npt.NDArray[np.uint8]:
        if not store.readable[row]:
            raise UnreadableImageError(f"{job.manifest.ids[row].as_py()} could not be decoded")
        pixels: npt.NDArray[np.uint8] = store.sample(np.array([row]))[0].permute(1, 2, 0).cpu().numpy()
        return pixels

    return pixels_of


def _explained(
    job: Job, classifier: Classifier, test: Predictions, thresholds: tuple[float, ...] | None
) -> list[ExplainedError]:
    assert isinstance(job.store, ImageStore) and job.config.evaluate.batch_size != "auto"
    return explain_errors(
        classifier,
        job.store,
        job.manifest,
        test,
        spec=job.spec,
        thresholds=thresholds,
        at_most=job.config.evaluate.explained_errors,
        among=job.config.evaluate.neighbours_among,
        batch_size=job.config.evaluate.batch_size,
        seed=job.config.seed,
    )


def _baselines(
    job: Job, predictions: Predictions, settled: dict[str, Any], *, thresholds: tuple[float, ...] | None
) -> dict[str, Any]:
    """What the backbone's features answer without training, where the first phase had them computed; else nothing."""
    config = job.config
    if not on_features(config, config.phases[0]):
        return {}
    frozen = _build(config, job.manifest)
    if settled["weights_sha256"] is not None:
        try:
            _, loaded = _load_pretrained(frozen, config)
        except ModelError:
            loaded = None
        if loaded is None or loaded.sha256 != settled["weights_sha256"]:
            job.progress.say("The pretrained weights are no longer where they were: baselines are left out.")
            return {}
    answers, num_neighbours = answer_baselines(frozen.to(job.runtime.device), job)
    found = evaluate_baselines(
        answers,
        predictions,
        thresholds=thresholds,
        rule=config.evaluate.thresholds,
        confidence=config.evaluate.confidence,
        bootstrap_samples=config.evaluate.bootstrap_samples,
        seed=config.seed,
    )
    found["nearest_neighbours"]["num_neighbours"] = num_neighbours
    return {"baselines": found}


def _find_label_issues(run: RunDir) -> pd.DataFrame | None:
    """Look for wrong labels where there are out-of-fold predictions, and write down those found; None without."""
    if not run.out_of_fold.is_file():
        return None
    found = find_label_issues(Predictions.load(run.out_of_fold))
    rundir.write_whole(run.label_issues, lambda temporary: found.to_csv(temporary, index=False))
    return found


def _unseen(run: RunDir, predictions: Predictions, *, out_of_fold: bool) -> Predictions:
    """What temperature, operating point and thresholds are chosen by: validation images or, where there are folds, all
    that a head has not seen.
    """
    return Predictions.load(run.out_of_fold) if out_of_fold else predictions.of_split(VALIDATION)


def _learn_trust(classifier: Classifier, job: Job, unseen: Predictions, held_out: Predictions) -> Trust:
    """Prediction sets by images that training has not seen, and what is familiar by a sample of training images."""
    rows = job.manifest.rows(TRAIN)
    rows = rows[draw_bank(job.manifest.targets[rows], seed=job.config.seed)]
    known = _predict_rows(classifier, job, rows, views="one").features
    validation = held_out.of_split(VALIDATION).features
    assert known is not None and validation is not None
    return learn_trust(unseen, bank=known, validation=validation, config=job.config.evaluate, seed=job.config.seed)


def _score(
    predictions: Predictions,
    config: RunConfig,
    thresholds: tuple[float, ...] | None,
    groups: npt.NDArray[np.int64],
) -> dict[str, Any]:
    return evaluate_predictions(
        predictions,
        confidence=config.evaluate.confidence,
        bootstrap_samples=config.evaluate.bootstrap_samples,
        seed=config.seed,
        thresholds=thresholds,
        groups=groups if len(np.unique(groups)) < len(groups) else None,
    )


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


def _build(config: RunConfig, manifest: Manifest) -> Classifier:
    assert isinstance(config.image.size, int)
    torch.manual_seed(config.seed)
    return build_classifier(
        config.model.name,
        num_classes=manifest.num_classes,
        image_size=config.image.size,
        options=dict(config.model.options),
        head=config.model.head.model_dump(exclude_defaults=True),
        features="last" if config.model.features == "auto" else config.model.features,
    )


def _image_spec(config: RunConfig) -> ImageSpec:
    """Preprocessing; mean and deviation of the data itself are not known yet where those are asked for."""
    if config.image.normalize != "backbone":
        return spec_from_config(config.image)
    if not is_backbone(config.model):
        raise ConfigError(
            f"image.normalize=backbone needs a backbone, and {config.model.name} is none. Take dataset instead."
        )
    from linnaeus.models.backbones import backbone_spec  # takes seconds: timm

    backbone = backbone_spec(config.model.name)
    return spec_from_config(config.image, mean=backbone.mean, std=backbone.std)


def _load_pretrained(classifier: Classifier, config: RunConfig) -> tuple[RunConfig, WeightsReport | None]:
    """Put pretrained weights into a backbone, unless there shall be none; their file becomes part of the config."""
    if not is_backbone(config.model) or config.model.weights == "none":
        return config, None
    from linnaeus.models.weights import load_pretrained  # takes seconds: timm

    loaded = load_pretrained(
        classifier.backbone,
        name=config.model.name,
        weights=config.model.weights,
        allow_download=config.model.allow_download,
    )
    model = config.model.model_copy(update={"weights": str(loaded.source)})
    return config.model_copy(update={"model": model}), loaded


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


def _fit_time_limit(config: RunConfig, job: Job, classifier: Classifier) -> tuple[RunConfig, Decision]:
    """Cut the phases to what the time allows, at the speed this machine shows."""
    assert config.time_limit_seconds is not None
    phase = config.phases[-1]
    assert phase.epochs != "auto"
    speed = measure_throughput(classifier, job, phase) * job.runtime.fabric.world_size
    num_train, num_validation = num_shown(config, job.manifest), len(job.manifest.rows(VALIDATION))
    validation = VALIDATION_COST * NUM_VIEWS[job.views] * num_validation
    limit = config.time_limit_seconds
    if trains_folds_whole(config):
        assert config.data.folds is not None
        seen = (1 + num_validation / len(job.manifest.rows(TRAIN))) * (1 - 1 / config.data.folds)
        num_train = round(num_train * seen)
        limit /= config.data.folds
    if len(config.phases) > 1:
        once = [VALIDATION_COST * (p.feature_views * num_train + num_validation) for p in config.phases]
        costs = [
            (once[k], 0.0) if on_features(config, p) else (0.0, num_train + validation)
            for k, p in enumerate(config.phases)
        ]
        phases, decision = phases_within(config.phases, seconds=limit, costs=costs, images_per_second=speed)
        return config.model_copy(update={"phases": phases}), decision
    epochs, decision = epochs_within(
        limit, num_train=num_train, num_validation=validation, images_per_second=speed, wanted=phase.epochs
    )
    return config.model_copy(update={"phases": [phase.model_copy(update={"epochs": epochs})]}), decision


def _write_beginning(
    run: RunDir,
    config: RunConfig,
    manifest: Manifest,
    spec: ImageSpec,
    cache: CachedImages,
    decisions: list[Decision],
    leaked: list[str],
    *,
    weights_sha256: str | None,
) -> None:
    manifest.save(run.manifest)
    rundir.write_text(run.plan, plan_page(decisions))
    facts = {
        "image_spec": spec.to_dict(),
        "cache": cache.path.name,
        "decisions": [asdict(decision) for decision in decisions],
        "leaked_test_ids": leaked,
        "weights_sha256": weights_sha256,
        "seconds": 0.0,
    }
    rundir.write_json(run.settled, facts)
    rundir.write_text(run.config, to_yaml(config))  # last: a folder with a config.yaml can be resumed


def _note_seconds(run: RunDir, seconds: float) -> None:
    facts = json.loads(run.settled.read_text(encoding="utf-8"))
    rundir.write_json(run.settled, {**facts, "seconds": seconds})


def _predict_held_out(classifiers: Sequence[Classifier], job: Job) -> Predictions:
    """Of the validation and test images; of several classifiers the mean of their probabilities."""
    rows = job.manifest.rows_of(VALIDATION, TEST)
    found = [_predict_rows(classifier, job, rows, views=job.views) for classifier in classifiers]
    if len(found) == 1:
        return found[0]
    probabilities = [predictions.probabilities for predictions in found]
    logits = mean_logits(probabilities, [1.0] * len(found), multi=job.manifest.task == "multi")
    return replace(found[0], logits=logits)


def _predict_rows(classifier: Classifier, job: Job, rows: npt.NDArray[np.int64], *, views: Views) -> Predictions:
    assert job.config.evaluate.batch_size != "auto" and isinstance(job.store, ImageStore)
    batches = job.store.batches(rows, batch_size=job.config.evaluate.batch_size)
    with job.runtime.fabric.autocast():
        return predict(classifier, batches, job.manifest, spec=job.spec, views=views, keep_features=True)


def _write_bundle(
    run: RunDir,
    job: Job,
    classifiers: Sequence[Classifier],
    scores: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    settled: Settled,
    trust: Trust,
) -> None:
    manifest, config = job.manifest, job.config
    train_rows = manifest.rows(TRAIN)
    provenance = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": config.data.source,
        "seed": config.seed,
        "config_fingerprint": config_fingerprint(config),
        "manifest_fingerprint": manifest.fingerprint,
        "num_images": {name: len(manifest.rows(split)) for split, name in enumerate(SPLITS)},
        "class_counts": dict(zip(manifest.classes, manifest.class_counts(train_rows).tolist(), strict=True)),
        "scores": {name: value for name, value in scores.items() if name != "confusion"},
        "confidence": config.evaluate.confidence,
        "environment": dict(environment),
    }
    members = [
        Bundle(classifier, job.spec, manifest.classes, job.views, thresholds=settled.thresholds)
        for classifier in classifiers
    ]
    bundle = members[0]
    if len(members) > 1:
        bundle = ensemble_bundle(
            members,
            weights=[1.0] * len(members),
            classes=manifest.classes,
            thresholds=settled.thresholds,
            provenance=provenance,
        )
    bundle = replace(
        bundle,
        temperature=settled.temperature,
        operating_point=settled.chosen.point,
        sets=trust.sets,
        familiarity=trust.familiarity,
        provenance=provenance,
    )
    save_bundle(bundle, run.model)
