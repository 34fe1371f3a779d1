"""From scores to a finished folder: the model, the figures and tables, and the report.

The last step of a run. Knows nothing of how anything was found out; what it writes it was handed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from linnaeus import atomic
from linnaeus.analysis.errors import ExplainedError, explain_errors
from linnaeus.analysis.label_issues import find_label_issues
from linnaeus.bundle import Bundle, ensemble_bundle
from linnaeus.bundle.files import save_bundle
from linnaeus.data import intake
from linnaeus.data.manifest import SPLITS, TEST, TRAIN
from linnaeus.errors import UnreadableImageError
from linnaeus.judging.evaluation import Evaluation
from linnaeus.judging.judge import Judgement, Settled
from linnaeus.models import count_parameters
from linnaeus.predictions import Predictions
from linnaeus.report.facts import ReportFacts
from linnaeus.report.page import write_report
from linnaeus.report.paper import write_paper
from linnaeus.report.thumbnails import thumbnail_of
from linnaeus.run.answers import Answers
from linnaeus.run.preparation import Preparation
from linnaeus.run_folder import RunDir
from linnaeus.training.checkpoint import Position
from linnaeus.training.job import Job
from linnaeus.training.run import config_fingerprint
from linnaeus.training.runtime import describe_environment


def write_run(
    run: RunDir,
    job: Job,
    answers: Answers,
    judgement: Judgement,
    position: Position,
    *,
    evaluation: Evaluation,
    preparation: Preparation,
) -> None:
    """Write the model folder, figures, tables and report.

    Args:
        evaluation: that of the judgement, with what the run adds to it.
        preparation: what was settled before training.
    """
    environment = describe_environment(job.runtime)
    _write_bundle(run, job, answers, judgement.settled, evaluation, environment, preparation.weights_origins)
    assert judgement.predictions is not None
    num_folds = len(answers.classifiers)
    facts = ReportFacts(
        title=Path(job.config.data.source).name,
        config=job.config,
        manifest=job.manifest,
        predictions=judgement.predictions,
        evaluation=evaluation,
        history=pd.read_csv(run.history),
        decisions=[(each.what, each.choice, each.why) for each in preparation.decisions],
        environment=environment,
        thumbnails=thumbnail_of(job.manifest),
        problems=intake.read_quarantine(run.quarantine),
        num_parameters=sum(count_parameters(classifier)[0] for classifier in answers.classifiers),
        kept_epoch=position.best.get("epoch", -1 if num_folds > 1 else None),  # each fold kept its own
        label_issues=_find_label_issues(run),
        fitted=_pixels(job),
        explained=_explained(job, answers, judgement),
    )
    write_paper(figures=run.figures, tables=run.tables, facts=facts)
    write_report(run.report, facts)


def _write_bundle(
    run: RunDir,
    job: Job,
    answers: Answers,
    settled: Settled,
    evaluation: Evaluation,
    environment: Mapping[str, str],
    weights_origins: Sequence[str],
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
        "scores": evaluation.test.model_dump(mode="json", exclude={"confusion"}, exclude_none=True),
        "confidence": config.evaluate.confidence,
        "environment": dict(environment),
        "weights_origins": list(weights_origins),
    }
    members = [
        Bundle(classifier, job.spec, manifest.classes, job.tta, thresholds=settled.thresholds)
        for classifier in answers.classifiers
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
    save_bundle(replace(with_settled(bundle, settled), provenance=provenance), run.model)


def with_settled(bundle: Bundle, settled: Settled) -> Bundle:
    """The model with everything that was settled for it: all of this ships."""
    return replace(
        bundle,
        temperature=settled.temperature,
        thresholds=settled.thresholds,
        operating_point=settled.chosen.point,
        sets=settled.sets,
        ood=settled.ood,
    )


def _find_label_issues(run: RunDir) -> pd.DataFrame | None:
    """Look for wrong labels where there are out-of-fold predictions, and write down those found; None without."""
    if not run.out_of_fold.is_file():
        return None
    found = find_label_issues(Predictions.load(run.out_of_fold))
    atomic.write_whole(run.label_issues, lambda temporary: found.to_csv(temporary, index=False))
    return found


def _pixels(job: Job) -> Callable[[int], npt.NDArray[np.uint8]]:
    """row -> the pixels the network saw; UnreadableImageError where there are none."""
    store = job.images

    def pixels_of(row: int) -> npt.NDArray[np.uint8]:
        if not store.readable[row]:
            raise UnreadableImageError(f"{job.manifest.ids[row].as_py()} could not be decoded")
        pixels: npt.NDArray[np.uint8] = store.sample(np.array([row]))[0].permute(1, 2, 0).cpu().numpy()
        return pixels

    return pixels_of


def _explained(job: Job, answers: Answers, judgement: Judgement) -> list[ExplainedError]:
    assert judgement.predictions is not None
    return explain_errors(
        answers.classifiers[0],
        job.images,
        job.manifest,
        judgement.predictions.of_split(TEST),
        spec=job.spec,
        thresholds=judgement.settled.thresholds,
        at_most=job.config.evaluate.explained_errors,
        features=answers.features.test,
        known_rows=answers.reference_rows,
        known=answers.features.reference,
    )
