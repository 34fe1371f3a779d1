"""The page of several runs that answer together: what a run's report says, without the training that each had itself.

After `ensembling`, which hands over everything. Knows nothing of how members were chosen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from linnaeus.bundle import Bundle
from linnaeus.config.resolved import read_resolved
from linnaeus.data import intake
from linnaeus.data.manifest import Manifest
from linnaeus.models import count_parameters
from linnaeus.planning.plan import Decision
from linnaeus.predictions import Predictions
from linnaeus.report.facts import ReportFacts
from linnaeus.report.page import write_report
from linnaeus.report.paper import write_paper
from linnaeus.report.thumbnails import thumbnail_of
from linnaeus.run_folder import RunDir


def write_ensemble_report(
    run: RunDir,
    best: Path,
    *,
    bundle: Bundle,
    predictions: Predictions,
    evaluation: Mapping[str, Any],
    decisions: Sequence[Decision],
) -> None:
    """Write the page, and the figures and tables for a paper, into the folder of an ensemble.

    Args:
        run: its folder, with its manifest.
        best: the folder of the best single run, for what all runs share: the data, and how classes are shown.
        bundle, predictions, evaluation, decisions: of the ensemble.
    """
    single = RunDir(best)
    config = read_resolved(single.config)
    manifest = Manifest.load(run.manifest)
    classifiers = [member.classifier for member in bundle.members] or [bundle.classifier]
    facts = ReportFacts(
        title=f"{Path(config.data.source).name}, {len(evaluation['ensemble']['weights'])} runs together",
        config=config,
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


def _environment(best: Path) -> dict[str, str]:
    """Where the best run was trained."""
    described = json.loads((RunDir(best).model / "bundle.json").read_text(encoding="utf-8"))
    return {str(key): str(value) for key, value in described.get("provenance", {}).get("environment", {}).items()}
