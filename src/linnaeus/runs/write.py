"""The folder of several runs together: what a run's folder holds, without the training that each had itself.

After `ensemble`, which hands over everything. Knows nothing of how members were chosen.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from linnaeus import atomic
from linnaeus.bundle import Bundle
from linnaeus.bundle.files import save_bundle
from linnaeus.data import intake
from linnaeus.data.manifest import Manifest
from linnaeus.judging.evaluation import EnsembleEvaluation, Evaluation
from linnaeus.models import count_parameters
from linnaeus.planning.plan import Decision, plan_page
from linnaeus.predictions import Predictions
from linnaeus.report.facts import ReportFacts
from linnaeus.report.page import write_report
from linnaeus.report.paper import write_paper
from linnaeus.report.thumbnails import thumbnail_of
from linnaeus.run_folder import RunDir
from linnaeus.runs.members import Member


def write_ensemble(
    run: RunDir,
    first: Member,
    best: Member,
    *,
    bundle: Bundle,
    predictions: Predictions,
    evaluation: Evaluation,
    said: str,
    weights_origins: Sequence[str],
) -> None:
    """Write model, predictions, scores, plan, figures, tables and report into the folder of an ensemble.

    Args:
        run: its folder, empty.
        first: the run whose order of images and classes the predictions have.
        best: the best single run, for what all runs share: the data, and how classes are shown.
        bundle, predictions, evaluation: of the ensemble, with everything settled.
        said: how it was made, as a sentence.
        weights_origins: where the pretrained weights of its runs come from.
    """
    told, single = evaluation.ensemble, RunDir(best.path)
    assert told is not None
    decisions = _decisions(told, said)
    provenance = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": str(best.bundle.provenance.get("source", "")),
        "scores": evaluation.test.model_dump(mode="json", exclude={"confusion"}, exclude_none=True),
        "confidence": evaluation.confidence,
        "ensemble": {"how": said, "weights": told.weights},
        "weights_origins": weights_origins,
    }
    shutil.copyfile(RunDir(first.path).manifest, run.manifest)
    predictions.save(run.predictions)
    atomic.write_text(run.plan, plan_page(decisions))
    save_bundle(replace(bundle, provenance=provenance), run.model)
    atomic.write_json(run.evaluation, evaluation.to_json())
    classifiers = [member.classifier for member in bundle.members] or [bundle.classifier]
    manifest = Manifest.load(run.manifest)
    facts = ReportFacts(
        title=f"{Path(best.config.data.source).name}, {len(told.weights)} runs together",
        config=best.config,
        manifest=manifest,
        predictions=predictions,
        evaluation=evaluation,
        history=pd.DataFrame(columns=list(pd.read_csv(single.history).columns)),
        decisions=[(each.what, each.choice, each.why) for each in decisions],
        environment=_environment(best),
        thumbnails=thumbnail_of(manifest),
        problems=intake.read_quarantine(single.quarantine),
        num_parameters=sum(count_parameters(classifier)[0] for classifier in classifiers),
    )
    write_paper(figures=run.figures, tables=run.tables, facts=facts)
    write_report(run.report, facts)


def _decisions(told: EnsembleEvaluation, said: str) -> list[Decision]:
    decisions = [Decision("model", "ensemble", said)]
    decisions += [
        Decision(path, f"weight {weight:.0%}", "chosen on validation" if weight else "no better on validation")
        for path, weight in told.weights.items()
    ]
    points = f"{100 * told.ensemble_minus_best.value:+.1f} points"
    return [*decisions, Decision("against the best single run", points, told.verdict)]


def _environment(best: Member) -> dict[str, str]:
    """Where the best run was trained."""
    return {str(key): str(value) for key, value in best.bundle.provenance.get("environment", {}).items()}
