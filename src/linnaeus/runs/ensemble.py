"""Several finished runs in, one model out: averaged probabilities or weights, and whether that is significantly better.

After runs are finished. Members are chosen on validation images alone. What comes of them is judged as any other model
is, by the settings of the runs; the test predictions that each run made once are then compared in pairs, so no test
image has a say in a choice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from linnaeus.bundle import Bundle, ensemble_bundle
from linnaeus.config.settings import EvaluateConfig
from linnaeus.data.appearance import known_columns
from linnaeus.data.manifest import TEST, VALIDATION, Manifest
from linnaeus.judging.comparison import Comparison, compare_predictions
from linnaeus.judging.evaluation import EnsembleEvaluation, Seconds
from linnaeus.judging.judge import Judgement, Submission, SubmittedFeatures, judge
from linnaeus.judging.selection import select_greedily
from linnaeus.predictions import Predictions, groups_of, mean_predictions, rows_of
from linnaeus.progress import Progress
from linnaeus.run.write import with_settled
from linnaeus.run_folder import draft
from linnaeus.runs.average_weights import average_greedily
from linnaeus.runs.members import Member, best_member, read_members, settings_of
from linnaeus.runs.write import write_ensemble

NO_FEATURES = "The first member has no out-of-distribution detector, which an ensemble takes from it."


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


@dataclass(frozen=True)
class Combined:
    """What was made of the members, before it is judged.

    Attributes:
        method: what was averaged.
        bundle: the model, nothing settled yet.
        weights: of each member, adding up to 1.
        predictions: of validation and test images, by the model as it ships; logits at temperature 1.
        features: of the network, where it is one.
        said: how members were chosen, as a sentence.
    """

    method: Literal["probabilities", "weights"]
    bundle: Bundle
    weights: list[float]
    predictions: Predictions
    features: SubmittedFeatures | None
    said: str


def combine(paths: Sequence[Path], *, out: Path | None, force: bool, progress: Progress) -> EnsembleResult:
    """Average the probabilities of the runs that validation takes, and write the ensemble as a run folder with a model.

    `out` is its folder; None takes the next free runs/ensemble.

    Raises the errors of `read_members` and those of writing.
    """
    clock = time.perf_counter()
    members = read_members(paths)
    held_out = [member.predictions.of_split(VALIDATION) for member in members]
    counts = select_greedily([predictions.probabilities for predictions in held_out], held_out[0].targets)
    taken = [(member, count) for member, count in zip(members, counts, strict=True) if count]
    first = taken[0][0].predictions
    mean = mean_predictions([member.predictions for member, _ in taken], [float(count) for _, count in taken])
    bundle = ensemble_bundle(
        [member.bundle for member, _ in taken],
        weights=[count for _, count in taken],
        classes=mean.classes,
        thresholds=None if mean.task == "single" else (0.5,) * len(mean.classes),
        provenance={},
    )
    combined = Combined(
        method="probabilities",
        bundle=bundle,
        weights=[count / sum(counts) for count in counts],
        predictions=_with_distances_of(mean, first),
        features=None,
        said=f"probabilities of {len(taken)} of {len(members)} runs averaged, chosen greedily on validation images",
    )
    return _finish(members, combined, out=out, force=force, clock=clock, progress=progress)


def combine_weights(paths: Sequence[Path], *, out: Path | None, force: bool, progress: Progress) -> EnsembleResult:
    """Average the weights of the runs that validation takes, and write the one network as a run folder with a model.

    Raises the errors of `read_members`, those of writing, and ModelError, with the reason, for runs that do not share
    architecture, preprocessing and initial weights.
    """
    clock = time.perf_counter()
    members = read_members(paths)
    averaged = average_greedily(members, progress=progress)
    num_taken = sum(averaged.taken)
    combined = Combined(
        method="weights",
        bundle=averaged.bundle,
        weights=[float(taken) / num_taken for taken in averaged.taken],
        predictions=averaged.predictions,
        features=averaged.features,
        said=f"weights of {num_taken} of {len(members)} runs averaged, chosen greedily on validation images",
    )
    return _finish(members, combined, out=out, force=force, clock=clock, progress=progress)


def _finish(
    members: Sequence[Member], combined: Combined, *, out: Path | None, force: bool, clock: float, progress: Progress
) -> EnsembleResult:
    """Judge, compare with the best single run, and write the folder; nothing is left behind if that fails."""
    config, seed, note = settings_of(members)
    if note:
        progress.say(note)
    manifest = members[0].manifest
    test = combined.predictions.of_split(TEST)
    ood = combined.bundle.members[0].ood if combined.bundle.members else None
    submission = Submission(
        combined.predictions,
        groups=groups_of(combined.predictions, manifest),
        columns=known_columns(manifest, rows_of(test, manifest)),
        features=combined.features,
        ood=ood,
        omitted={} if ood is not None or combined.features is not None else {"ood": NO_FEATURES},
    )
    judgement = judge(submission, config, seed=seed)
    for line in judgement.settled.chosen.describe():
        progress.say(line)
    best = best_member(members)
    comparison = _against_best(best, judgement, manifest, config, seed=seed)
    weights = {str(member.path): weight for member, weight in zip(members, combined.weights, strict=True)}
    verdict = comparison.describe(first=str(best.path), second="the ensemble")
    own_scores = {str(member.path): dict(member.evaluation.test.named())[comparison.score] for member in members}
    ensemble = EnsembleEvaluation(
        method=combined.method,
        weights=weights,
        members=own_scores,
        best_single_run=str(best.path),
        ensemble_minus_best=comparison.paired_difference,
        verdict=verdict[:1].upper() + verdict[1:],
    )
    seconds = Seconds(total=round(time.perf_counter() - clock, 2))
    evaluation = judgement.evaluation.model_copy(update={"ensemble": ensemble, "seconds": seconds})
    assert judgement.predictions is not None
    with draft(out, name="ensemble", force=force) as begun:
        write_ensemble(
            begun.run,
            members[0],
            best,
            bundle=with_settled(combined.bundle, judgement.settled),
            predictions=judgement.predictions,
            evaluation=evaluation,
            said=combined.said,
            weights_origins=_weights_origins(members),
        )
        run = begun.publish()
    return EnsembleResult(run.path, weights, best.path, comparison)


def _weights_origins(members: Sequence[Member]) -> list[str]:
    """Where the pretrained weights of all runs come from, each once, in their order."""
    told = (origin for member in members for origin in member.bundle.provenance.get("weights_origins", ()))
    return list(dict.fromkeys(told))


def _against_best(
    best: Member, judgement: Judgement, manifest: Manifest, config: EvaluateConfig, *, seed: int
) -> Comparison:
    """A paired test on the test images, the best single run first."""
    assert judgement.predictions is not None
    single, test = best.predictions.of_split(TEST), judgement.predictions.of_split(TEST)
    return compare_predictions(
        single,
        test,
        groups=groups_of(single, manifest),
        confidence=config.confidence,
        num_samples=config.bootstrap_samples,
        seed=seed,
        thresholds=(np.asarray(best.thresholds or 0.5), np.asarray(judgement.settled.thresholds or 0.5)),
    )


def _with_distances_of(mean: Predictions, first: Predictions) -> Predictions:
    """An ensemble tells images out of distribution by the features of its first member."""
    return replace(mean, ood_distances=first.ood_distances)
