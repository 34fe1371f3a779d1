"""Calibrating prediction sets on validation images, and checking their coverage on test images.

RAPS (Angelopoulos et al., arXiv 2009.14193) for one label per image, conformal risk control (Angelopoulos et al., arXiv
2208.02814) for several. The promise holds on average over images like those of validation, and for these only. Knows
nothing of models or files.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from linnaeus.judging.evaluation import PredictionSets, Score
from linnaeus.judging.score_table import ScoreTable
from linnaeus.metrics.classification import FloatArray, IntArray
from linnaeus.metrics.conformal import LabelSetRule, SetRule, conformal_quantile, prediction_sets, true_set_scores
from linnaeus.metrics.multilabel import Labels
from linnaeus.metrics.probabilities import true_ranks
from linnaeus.predictions import Predictions
from linnaeus.statistics.intervals import mean_interval, proportion_interval

PENALTIES = (0.001, 0.01, 0.1, 0.2, 0.5)
"""Those that the authors' code tries."""
_TUNING_FRACTION, _FEWEST_TO_TUNE = 0.3, 1000
_USUAL_PENALTY = 0.1
"""With one class free of it, for fewer images than are needed to tune."""
_LARGEST_SHOWN = 10


def learn_sets(unseen: Predictions, *, coverage: float, seed: int) -> SetRule | LabelSetRule | None:
    """The rule that predictions of images that training has not seen lead to; None where there are no images."""
    if not len(unseen):
        return None
    if unseen.task == "multi":
        return calibrate_label_sets(unseen.probabilities, unseen.targets.astype(np.uint8), coverage=coverage)
    return calibrate_sets(unseen.probabilities, unseen.targets.astype(np.int64), coverage=coverage, seed=seed)


def calibrate_label_sets(probabilities: FloatArray, targets: Labels, *, coverage: float) -> LabelSetRule:
    """The rule whose sets hold the fraction `coverage` of an image's labels or more, on average over images with
    labels.

    The highest threshold with n / (n + 1) R + 1 / (n + 1) <= 1 - coverage, where R is the fraction of its labels that
    an image lacks in its set, averaged over the n images (arXiv 2208.02814, eq. 4 with the false negative rate of
    section 3.2, whose greatest value B is 1). It takes n of 1 / (1 - coverage) - 1 at least; of fewer, every label is
    in a set.

    Args:
        probabilities: float64 [N, K], of images that training has not seen.
        targets: uint8 [N, K]; images without labels have no fraction to lack and are left out.
        coverage: 0-1, such as 0.95.
    """
    sizes = targets.sum(axis=1, dtype=np.int64)
    rows, labels = np.nonzero(targets)
    own = probabilities[rows, labels]
    order = np.argsort(own, kind="stable")
    lost = np.cumsum(1 / sizes[rows[order]])  # n R, were the threshold just above each of these probabilities
    allowed = (1 - coverage) * (int((sizes > 0).sum()) + 1) - 1
    beyond = np.flatnonzero(lost > allowed + 1e-9)
    if allowed < -1e-9 or not len(beyond):
        return LabelSetRule(coverage, 0.0)
    return LabelSetRule(coverage, float(own[order[beyond[0]]]))


def calibrate_sets(probabilities: FloatArray, targets: IntArray, *, coverage: float, seed: int) -> SetRule:
    """The rule whose sets hold the true class with probability `coverage` or more.

    Its penalty and the number of classes free of it are chosen for small sets on 30 % of the images, where there are
    1,000 or more, and its threshold on the others (arXiv 2009.14193, algorithm 2 and appendix E), so that the promise
    holds.

    Args:
        probabilities: float64 [N, K], calibrated, of images that training has not seen.
        targets: int64 [N].
        coverage: 0-1, such as 0.95.
        seed: of the division.
    """
    order = np.random.default_rng(seed).permutation(len(targets))
    num_tuning = round(_TUNING_FRACTION * len(targets)) if len(targets) >= _FEWEST_TO_TUNE else 0
    tuning, rest = order[:num_tuning], order[num_tuning:]
    rule = SetRule(coverage, None, _USUAL_PENALTY, num_free=1)
    if num_tuning:
        ranks = true_ranks(probabilities[tuning], targets[tuning])
        usual = int(conformal_quantile(ranks.astype(np.float64), coverage) or 1)  # that of the paper
        rules = [
            _with_threshold(SetRule(coverage, None, penalty, num_free), probabilities[tuning], targets[tuning])
            for penalty in PENALTIES
            for num_free in sorted({1, usual})
        ]
        sizes = [prediction_sets(probabilities[tuning], rule).sum(axis=1).mean() for rule in rules]
        rule = rules[int(np.argmin(sizes))]
    return _with_threshold(rule, probabilities[rest], targets[rest])


def _with_threshold(rule: SetRule, probabilities: FloatArray, targets: IntArray) -> SetRule:
    scores = true_set_scores(probabilities, targets, penalty=rule.penalty, num_free=rule.num_free)
    return replace(rule, threshold=conformal_quantile(scores, rule.coverage))


def describe_sets(
    table: ScoreTable, rule: SetRule | LabelSetRule, *, groups: IntArray | None, confidence: float
) -> PredictionSets:
    """What the sets promised and what they keep on these images.

    Args:
        groups: int64 [N], images that belong together; None where each is its own.
        confidence: level of the interval.

    Of several labels the coverage is the mean fraction of an image's labels that its set holds, over images that have
    any.
    """
    if isinstance(rule, LabelSetRule):
        return _describe_label_sets(table, rule, groups=groups, confidence=confidence)
    covered, sizes = np.empty(len(table), np.bool_), np.empty(len(table), np.int64)
    for part, probabilities in table.blocks():
        sets = prediction_sets(probabilities, rule)
        covered[part] = np.take_along_axis(sets, table.targets[part][:, None].astype(np.int64), axis=1)[:, 0]
        sizes[part] = sets.sum(axis=1)
    support = np.bincount(table.targets, minlength=len(table.classes))
    held = np.bincount(table.targets[covered], minlength=len(table.classes))
    empty, fractions = _size_fractions(sizes, len(table.classes))
    return PredictionSets(
        target_coverage=rule.coverage,
        coverage=Score.of(float(covered.mean()), proportion_interval(covered, groups, confidence=confidence)),
        mean_size=float(sizes.mean()),
        sizes=fractions,
        empty=empty,
        per_class=_per_class(table.classes, held, support),
        penalty=rule.penalty,
        num_free=rule.num_free,
        threshold=rule.threshold,
    )


def _describe_label_sets(
    table: ScoreTable, rule: LabelSetRule, *, groups: IntArray | None, confidence: float
) -> PredictionSets:
    num_labels = len(table.classes)
    fractions_held, sizes = np.full(len(table), np.nan), np.empty(len(table), np.int64)
    held, support = np.zeros(num_labels, np.int64), np.zeros(num_labels, np.int64)
    for part, probabilities in table.blocks():
        sets, targets = prediction_sets(probabilities, rule), table.targets[part] > 0
        found, own = sets & targets, targets.sum(axis=1)
        fractions_held[part][own > 0] = found.sum(axis=1)[own > 0] / own[own > 0]
        sizes[part] = sets.sum(axis=1)
        held, support = held + found.sum(axis=0), support + targets.sum(axis=0)
    labelled = np.isfinite(fractions_held)
    known, places = fractions_held[labelled], None if groups is None else groups[labelled]
    empty, fractions = _size_fractions(sizes, num_labels)
    return PredictionSets(
        target_coverage=rule.coverage,
        coverage=Score.of(float(known.mean()), mean_interval(known, places, confidence=confidence))
        if len(known)
        else None,
        mean_size=float(sizes.mean()),
        sizes=fractions,
        empty=empty,
        per_class=_per_class(table.classes, held, support),
        penalty=None,
        num_free=None,
        threshold=rule.least,
    )


def _size_fractions(sizes: IntArray, num_classes: int) -> tuple[float, list[float]]:
    """The fraction of empty sets, and of those with 1, 2, ... classes, the last entry for 10 and more."""
    counts = np.bincount(sizes.clip(max=_LARGEST_SHOWN), minlength=min(num_classes, _LARGEST_SHOWN) + 1)
    empty, *others = (counts / len(sizes)).tolist()
    return float(empty), others


def _per_class(classes: tuple[str, ...], held: IntArray, support: IntArray) -> dict[str, float | None]:
    return {name: float(held[k] / support[k]) if support[k] else None for k, name in enumerate(classes)}
