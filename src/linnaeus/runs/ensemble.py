"""Several finished runs in, one model out: averaged probabilities or weights, and whether that is really better.

Beside `fit`, after runs are finished. Members are chosen on validation images alone; the test predictions that
each run made once are then averaged and compared, so no test image has a say in a choice.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus import atomic, run_folder
from linnaeus.bundle import Bundle, ensemble_bundle
from linnaeus.bundle.files import save_bundle
from linnaeus.config.settings import EvaluateConfig
from linnaeus.data.manifest import SPLITS, TEST, VALIDATION
from linnaeus.judging.comparison import Comparison, align, compare_predictions
from linnaeus.judging.conformal import describe_sets, learn_sets
from linnaeus.judging.curves import class_curves
from linnaeus.judging.score_table import table_of
from linnaeus.judging.scores import evaluate_predictions
from linnaeus.judging.selection import mean_logits, quality, select_greedily
from linnaeus.judging.thresholds import choose_thresholds
from linnaeus.planning.plan import Decision, plan_page
from linnaeus.predictions import Predictions
from linnaeus.progress import Progress
from linnaeus.run_folder import RunDir
from linnaeus.runs.members import Member, read_members
from linnaeus.runs.soup import cook
from linnaeus.runs.write import write_ensemble_report

CONFIDENCE, BOOTSTRAP_SAMPLES = 0.95, 1000


@dataclass(frozen=True)
class EnsembleResult:
    """What became of it.

    Attributes:
        path: of the new run folder.
        weights: of each run, by its path; 0 for those left out.
        best: path of the best single run, by validation.
        comparison: on the test images, the best single run first.
    """

    path: Path
    weights: dict[str, float]
    best: Path
    comparison: Comparison


def combine(paths: Sequence[Path], *, out: Path, force: bool) -> EnsembleResult:
    """Average the probabilities of the runs that validation takes, and write the ensemble as a run folder with a model.

    Raises the errors of `read_members` and those of writing.
    """
    clock = time.perf_counter()
    members = read_members(paths)
    held_out = [member.predictions.of_split(VALIDATION) for member in members]
    counts = select_greedily([predictions.probabilities for predictions in held_out], held_out[0].targets)
    taken = [(member, count) for member, count in zip(members, counts, strict=True) if count]
    predictions = replace(
        members[0].predictions,
        operating_point=None,
        logits=mean_logits(
            [member.predictions.probabilities for member, _ in taken],
            [count for _, count in taken],
            multi=members[0].predictions.task == "multi",
        ),
    )
    bundle = ensemble_bundle(
        [member.bundle for member, _ in taken],
        weights=[count for _, count in taken],
        classes=predictions.classes,
        thresholds=_thresholds(predictions),
        provenance={},
    )
    return _write(
        members,
        weights=[count / sum(counts) for count in counts],
        predictions=predictions,
        bundle=bundle,
        out=out,
        force=force,
        how=f"probabilities of {len(taken)} of {len(members)} runs averaged, chosen greedily on validation images",
        seconds=time.perf_counter() - clock,
    )


def combine_weights(paths: Sequence[Path], *, out: Path, force: bool, progress: Progress) -> EnsembleResult:
    """Average the weights of the runs that validation takes, and write the one network as a run folder with a model.

    Raises the errors of `read_members`, those of writing, and ModelError, with the reason, for runs that do not share
    architecture, preprocessing and initial weights.
    """
    clock = time.perf_counter()
    members = read_members(paths)
    taken, weights, predictions = cook(members, progress=progress)
    predictions = align(members[0].predictions, predictions)
    classifier = members[0].bundle.classifier
    classifier.load_state_dict(weights)
    thresholds = _thresholds(predictions)
    bundle = replace(
        members[0].bundle,
        classifier=classifier.eval(),
        temperature=1.0,
        thresholds=thresholds,
        operating_point=None,
    )
    return _write(
        members,
        weights=[k / sum(taken) for k in taken],
        predictions=predictions,
        bundle=bundle,
        out=out,
        force=force,
        how=f"weights of {sum(taken)} of {len(members)} runs averaged, chosen greedily on validation images",
        seconds=time.perf_counter() - clock,
    )


def _best_single(members: Sequence[Member]) -> Member:
    """The run that is best on the validation images."""
    held_out = [member.predictions.of_split(VALIDATION) for member in members]
    qualities = [quality(each.probabilities, each.targets) for each in held_out]
    return members[max(range(len(members)), key=qualities.__getitem__)]


def _thresholds(predictions: Predictions) -> tuple[float, ...] | None:
    """From which probability each of several labels is given, chosen on validation images; None for one label."""
    if predictions.task == "single":
        return None
    validation = predictions.of_split(VALIDATION)
    rule = EvaluateConfig().thresholds
    chosen = choose_thresholds(validation.targets.astype(np.uint8), validation.probabilities, rule=rule)
    return tuple(chosen.values.tolist())


def _write(
    members: Sequence[Member],
    *,
    weights: Sequence[float],
    predictions: Predictions,
    bundle: Bundle,
    out: Path,
    force: bool,
    how: str,
    seconds: float,
) -> EnsembleResult:
    """Score, compare with the best single run, and write the folder; nothing is left behind if that fails."""
    settings: dict[str, Any] = {"confidence": CONFIDENCE, "seed": 0}
    best = _best_single(members)
    thresholds = bundle.thresholds
    own = 0.5 if best.bundle.thresholds is None else _in_order(best.bundle, predictions.classes)
    comparison = compare_predictions(
        best.predictions.of_split(TEST),
        predictions.of_split(TEST),
        num_samples=BOOTSTRAP_SAMPLES,
        thresholds=(np.asarray(own), np.asarray(0.5 if thresholds is None else thresholds)),
        **settings,
    )
    scores = {
        SPLITS[split]: evaluate_predictions(
            predictions.of_split(split), thresholds=thresholds, bootstrap_samples=BOOTSTRAP_SAMPLES, **settings
        )
        for split in (TEST, VALIDATION)
    }
    sets = learn_sets(predictions.of_split(VALIDATION), coverage=EvaluateConfig().coverage, seed=0)
    kept = describe_sets(table_of(predictions.of_split(TEST)), sets, confidence=CONFIDENCE) if sets else None
    low, high = comparison.difference.interval
    verdict = comparison.describe(first=str(best.path), second="the ensemble")
    shares = {str(member.path): float(weight) for member, weight in zip(members, weights, strict=True)}
    evaluation = {
        "format": 1,
        **scores,
        **({} if kept is None else {"prediction_sets": kept}),
        "curves": class_curves(table_of(predictions.of_split(TEST)), scores=scores["test"]),
        "ensemble": {
            "how": how,
            "weights": shares,
            "members": {str(member.path): _scores_of(member, comparison.score) for member in members},
            "verdict": verdict[:1].upper() + verdict[1:],
            "best_single_run": str(best.path),
            "score": comparison.score,
            "ensemble_minus_best": {"value": comparison.difference.value, "low": low, "high": high},
            "p_value": None if comparison.mcnemar is None else comparison.mcnemar.p_value,
            "beyond_noise": comparison.beyond_noise,
        },
        "seconds": {"total": round(seconds, 2)},
    }
    decisions = [Decision("model", "ensemble", how)]
    decisions += [
        Decision(path, f"weight {share:.0%}", "taken by validation" if share else "would not help in validation")
        for path, share in shares.items()
    ]
    decisions.append(
        Decision("against the best single run", f"{100 * comparison.difference.value:+.1f} points", verdict)
    )
    provenance = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": str(best.bundle.provenance.get("source", "")),
        "scores": {name: value for name, value in scores["test"].items() if name != "confusion"},
        "confidence": CONFIDENCE,
        "ensemble": {"how": how, "weights": shares},
    }
    with run_folder.draft(out, name="ensemble", force=force) as draft:
        run = draft.run
        shutil.copyfile(RunDir(members[0].path).manifest, run.manifest)
        predictions.save(run.predictions)
        atomic.write_text(run.plan, plan_page(decisions))
        save_bundle(replace(bundle, sets=sets, provenance=provenance), run.model)
        atomic.write_json(run.evaluation, evaluation)
        write_ensemble_report(
            run, best.path, bundle=bundle, predictions=predictions, evaluation=evaluation, decisions=decisions
        )
        written = draft.publish()
    return EnsembleResult(written.path, shares, best.path, comparison)


def _scores_of(member: Member, score: str) -> dict[str, Any]:
    """The score by which all are compared, with its interval, as the run's own evaluation has it."""
    written = json.loads(RunDir(member.path).evaluation.read_text(encoding="utf-8"))
    return {score: written["test"][score]}


def _in_order(bundle: Bundle, classes: tuple[str, ...]) -> list[float]:
    assert bundle.thresholds is not None
    return [bundle.thresholds[bundle.classes.index(name)] for name in classes]
