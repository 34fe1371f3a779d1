"""Prediction sets: whether they hold the true class as often as was asked for, and how large they are."""

from __future__ import annotations

from linnaeus.judging.evaluation import Evaluation, PredictionSets, Score
from linnaeus.report.wording import percent, percent_range


def make_prediction_sets(evaluation: Evaluation) -> list[str] | None:
    """Sentences; None where the model has no prediction sets."""
    sets, several = evaluation.prediction_sets, evaluation.test.several_labels
    if sets is None:
        return None
    if sets.threshold is None or (several and sets.threshold == 0):
        what = "label" if several else "class"
        images = "validation images with labels" if several else "validation images"
        return [f"There are too few {images} for prediction sets; every set contains every {what}."]
    if sets.coverage is None:
        return None
    return _of_labels(sets, sets.coverage) if several else _of_classes(sets, sets.coverage)


def _of_classes(sets: PredictionSets, coverage: Score) -> list[str]:
    return [
        f"Prediction sets should contain the true class for {percent(sets.target_coverage)} of images. On test images "
        f"they contain it for {percent(coverage.value)} ({percent_range(coverage.low, coverage.high)}): "
        f"{_kept(sets, coverage)}.",
        f"They have {sets.mean_size:.2f} classes on average; {percent(sets.sizes[0])} have a single one.",
    ]


def _of_labels(sets: PredictionSets, coverage: Score) -> list[str]:
    return [
        f"Prediction sets (all labels with a probability of at least {sets.threshold:.3f}) should contain "
        f"{percent(sets.target_coverage)} of an image's labels on average. On test images with labels they contain "
        f"{percent(coverage.value)} of them ({percent_range(coverage.low, coverage.high)}): {_kept(sets, coverage)}.",
        f"They have {sets.mean_size:.2f} labels on average; {percent(sets.empty)} are empty.",
    ]


def _kept(sets: PredictionSets, coverage: Score) -> str:
    return "target reached" if coverage.high >= sets.target_coverage else "target not reached"
