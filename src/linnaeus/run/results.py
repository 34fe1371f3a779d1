"""After training: the kept weights are judged, once on the test images, and everything that the run found is written.

The last chapter of `fit`. What it judges is handed to `judging.judge`, as any other model is; `write` writes the rest.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from linnaeus import atomic
from linnaeus.data.appearance import known_columns, measure_appearance
from linnaeus.data.manifest import TEST
from linnaeus.judging.evaluation import Seconds
from linnaeus.judging.judge import Submission, judge
from linnaeus.models import Classifier
from linnaeus.predictions import groups_of, rows_of
from linnaeus.run.answers import Answers, answer
from linnaeus.run.comparisons import compare_with_alternatives
from linnaeus.run.preparation import Preparation
from linnaeus.run.write import write_run
from linnaeus.run_folder import RunDir
from linnaeus.training.checkpoint import Position
from linnaeus.training.job import Job


def judge_run(
    run: RunDir, job: Job, classifiers: Sequence[Classifier], position: Position, preparation: Preparation
) -> None:
    """Judge the kept weights, or those of all folds together; write predictions, scores, model and report.

    Args:
        preparation: what was settled before training.
    """
    clock = time.perf_counter()
    answers = answer(job, classifiers, position)
    judgement = judge(
        _submission(job, answers, leaked=preparation.leaked_test_ids), job.config.evaluate, seed=job.config.seed
    )
    for line in judgement.settled.chosen.describe():
        job.progress.say(line)
    assert judgement.predictions is not None
    judgement.predictions.save(run.predictions)
    alternatives = compare_with_alternatives(job, answers, judgement, preparation)
    seconds = _seconds(position, prepare=preparation.seconds, evaluate=time.perf_counter() - clock)
    evaluation = judgement.evaluation.model_copy(update={**alternatives, "seconds": seconds})
    atomic.write_json(run.evaluation, evaluation.to_json())
    write_run(run, job, answers, judgement, position, evaluation=evaluation, preparation=preparation)


def _submission(job: Job, answers: Answers, *, leaked: Sequence[str]) -> Submission:
    """What the run brings to be judged; `leaked`: ids of test images that have a copy in training or validation."""
    predictions = answers.predictions
    test = predictions.of_split(TEST)
    rows = rows_of(test, job.manifest)
    return Submission(
        predictions,
        groups=groups_of(predictions, job.manifest),
        columns=measure_appearance(job.images, rows) | known_columns(job.manifest, rows),
        features=answers.features,
        duplicates=np.isin(test.ids.to_pylist(), leaked),
    )


def _seconds(position: Position, *, prepare: float, evaluate: float) -> Seconds:
    parts = {"prepare": prepare, "train": position.seconds, "evaluate": evaluate}
    parts = {name: round(value, 2) for name, value in parts.items()}
    earlier = round(sum(position.earlier_seconds.values()), 2)
    return Seconds(**parts, total=round(sum(parts.values()), 2), cached_features=earlier or None)
