"""After training: the one look at the test split, and all that follows from it.

Between training and the finished folder: kept weights in; predictions, scores, the bundle and the report out. What is
chosen here (temperature, operating point, thresholds, prediction sets) is chosen by images of validation or of held-out
folds. Trains nothing, and knows nothing of how the weights came about.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from linnaeus import rundir
from linnaeus.analysis.errors import ExplainedError, explain_errors
from linnaeus.analysis.label_issues import find_label_issues
from linnaeus.bundle import Bundle, ensemble_bundle
from linnaeus.bundle.files import save_bundle
from linnaeus.config import RunConfig
from linnaeus.data.appearance import measure_appearance
from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import SPLITS, TEST, TRAIN, VALIDATION
from linnaeus.errors import ModelError, UnreadableImageError
from linnaeus.evaluation.balance_effect import balance_effect
from linnaeus.evaluation.baselines import evaluate_baselines
from linnaeus.evaluation.class_curves import class_curves
from linnaeus.evaluation.evaluate import evaluate_predictions
from linnaeus.evaluation.familiarity import draw_bank
from linnaeus.evaluation.offers import offer_mirror_views
from linnaeus.evaluation.score_table import table_of
from linnaeus.evaluation.selection import mean_logits
from linnaeus.evaluation.settle import Settled, describe_settled, settle
from linnaeus.evaluation.trust import Trust, describe_trust, learn_trust
from linnaeus.models import Classifier, count_parameters
from linnaeus.planning import intake
from linnaeus.planning.transfer import is_backbone
from linnaeus.predictions import Predictions, Views, concatenate_predictions, groups_of, predict, rows_of
from linnaeus.report.facts import ReportFacts
from linnaeus.report.page import write_report
from linnaeus.report.paper import write_paper
from linnaeus.report.thumbnails import thumbnail_of
from linnaeus.run_classifier import build_untrained, fill_pretrained
from linnaeus.rundir import RunDir
from linnaeus.training.baselines import answer_baselines
from linnaeus.training.checkpoint import Position
from linnaeus.training.head_phase import feature_store
from linnaeus.training.loop import Job
from linnaeus.training.phases import on_features
from linnaeus.training.run import config_fingerprint
from linnaeus.training.runtime import describe_environment
from linnaeus.training.unbalanced import answer_with_and_without, balances

MOST_OFFERED = 5_000
"""On more validation images the pass that an offer takes would cost more than it is worth."""


def judge(
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
    known_rows, known = _known(classifiers[0], job, position)
    validation_features = held_out.of_split(VALIDATION).features
    assert validation_features is not None
    trust = learn_trust(
        found.applied(not_seen), bank=known, validation=validation_features, config=config.evaluate, seed=config.seed
    )
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
    of_test = held_out.of_split(TEST).features
    assert of_test is not None and isinstance(job.store, ImageStore)
    frozen = _frozen(job, settled)
    if frozen is not None:
        described |= _baselines(job, predictions, frozen, classifiers[0], of_test, thresholds=thresholds)
        if balances(config):
            counts = job.manifest.class_counts(job.manifest.rows(TRAIN))
            described["balancing"] = balance_effect(*answer_with_and_without(frozen, job), train_counts=counts)
    if not position.best.get("out_of_fold"):  # else the shipped model has seen the validation images
        described |= _offers(classifiers[0], job, raw.of_split(VALIDATION), found)
    tested = rows_of(test, job.manifest)
    described |= describe_trust(
        trust,
        table_of(test),
        features=of_test,
        columns={**measure_appearance(job.store, job.manifest, tested), **job.manifest.known_of(tested)},
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
        explained=_explained(job, classifiers[0], test, thresholds, of_test, known_rows, known),
    )
    write_paper(figures=run.figures, tables=run.tables, facts=facts)
    write_report(run.report, facts)


def _predict_held_out(classifiers: Sequence[Classifier], job: Job) -> Predictions:
    """Of the validation and test images; of several classifiers the mean of their probabilities."""
    rows = job.manifest.rows_of(VALIDATION, TEST)
    found = [_predict_rows(classifier, job, rows, views=job.views) for classifier in classifiers]
    if len(found) == 1:
        return found[0]
    probabilities = [predictions.probabilities for predictions in found]
    logits = mean_logits(probabilities, [1.0] * len(found), multi=job.manifest.task == "multi")
    return replace(found[0], logits=logits)


def _predict_rows(
    classifier: Classifier, job: Job, rows: npt.NDArray[np.int64], *, views: Views, mirrored: bool = False
) -> Predictions:
    """`mirrored`: the network sees the mirror image instead of each image."""
    assert job.config.evaluate.batch_size != "auto" and isinstance(job.store, ImageStore)
    batches = job.store.batches(rows, batch_size=job.config.evaluate.batch_size)
    if mirrored:
        batches = (replace(batch, images=batch.images.flip(-1)) for batch in batches)
    with job.runtime.fabric.autocast():
        return predict(classifier, batches, job.manifest, spec=job.spec, views=views, keep_features=True)


def _unseen(run: RunDir, predictions: Predictions, *, out_of_fold: bool) -> Predictions:
    """What temperature, operating point and thresholds are chosen by: validation images or, where there are folds, all
    that a head has not seen.
    """
    return Predictions.load(run.out_of_fold) if out_of_fold else predictions.of_split(VALIDATION)


def _known(
    classifier: Classifier, job: Job, position: Position
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    """Rows int64 [R] and features float [R, D] of a sample of training images: what is familiar, and the neighbours of
    mistakes. Where the kept weights are a head on a frozen backbone, they were computed for its training.
    """
    rows = job.manifest.rows(TRAIN)
    rows = rows[draw_bank(job.manifest.targets[rows], seed=job.config.seed)]
    frozen = position.best.get("backbone")
    if frozen and all(phase.feature_views == 1 for phase in job.config.phases if on_features(job.config, phase)):
        return rows, np.asarray(feature_store(classifier, job, views=1).features[0, rows])
    features = _predict_rows(classifier, job, rows, views="one").features
    assert features is not None
    return rows, features


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


def _frozen(job: Job, settled: dict[str, Any]) -> Classifier | None:
    """The backbone as it was before training, where the first phase had features computed by it; else None."""
    config = job.config
    if not on_features(config, config.phases[0]):
        return None
    frozen = build_untrained(config, job.manifest)
    if settled["weights_sha256"] is not None:
        try:
            _, loaded = fill_pretrained(frozen, config)
        except ModelError:
            loaded = None
        if loaded is None or loaded.sha256 != settled["weights_sha256"]:
            job.progress.say("The pretrained weights are no longer where they were: baselines are left out.")
            return None
    return frozen.to(job.runtime.device)


def _baselines(
    job: Job,
    predictions: Predictions,
    frozen: Classifier,
    kept: Classifier,
    of_test: npt.NDArray[np.floating],
    *,
    thresholds: tuple[float, ...] | None,
) -> dict[str, Any]:
    """What the backbone's features answer without training.

    `of_test`: features of the test images by the kept classifier, which serve where its backbone was never moved.
    """
    config = job.config
    answers, num_neighbours = answer_baselines(frozen, job, of_test=of_test if _same(frozen, kept) else None)
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


def _same(frozen: Classifier, kept: Classifier) -> bool:
    """Whether both have one backbone, weight by weight."""
    weights = kept.backbone.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in frozen.backbone.state_dict().items())


def _offers(classifier: Classifier, job: Job, validation: Predictions, settled: Settled) -> dict[str, Any]:
    """Whether mirror views would help a model that does without them for speed: one more pass over validation images,
    where training mirrored too and there are not too many; else nothing.
    """
    config = job.config
    speaks = is_backbone(config.model) and job.views == "one" and config.augment.flip in ("horizontal", "both")
    if not speaks or not 0 < len(validation) <= MOST_OFFERED:
        return {}
    mirrored = _predict_rows(classifier, job, rows_of(validation, job.manifest), views="one", mirrored=True)
    logits: npt.NDArray[np.float32] = (validation.logits + mirrored.logits) / np.float32(2)
    both = replace(validation, logits=logits)
    found = offer_mirror_views(
        settled.applied(validation),
        settled.applied(both),
        thresholds=settled.thresholds,
        bootstrap_samples=config.evaluate.bootstrap_samples,
        seed=config.seed,
    )
    return {"offers": {"mirror_views": found}}


def _find_label_issues(run: RunDir) -> pd.DataFrame | None:
    """Look for wrong labels where there are out-of-fold predictions, and write down those found; None without."""
    if not run.out_of_fold.is_file():
        return None
    found = find_label_issues(Predictions.load(run.out_of_fold))
    rundir.write_whole(run.label_issues, lambda temporary: found.to_csv(temporary, index=False))
    return found


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
    job: Job,
    classifier: Classifier,
    test: Predictions,
    thresholds: tuple[float, ...] | None,
    features: npt.NDArray[np.floating],
    known_rows: npt.NDArray[np.int64],
    known: npt.NDArray[np.floating],
) -> list[ExplainedError]:
    assert isinstance(job.store, ImageStore)
    return explain_errors(
        classifier,
        job.store,
        job.manifest,
        test,
        spec=job.spec,
        thresholds=thresholds,
        at_most=job.config.evaluate.explained_errors,
        features=features,
        known_rows=known_rows,
        known=known,
    )


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
