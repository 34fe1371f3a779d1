"""Choosing the operating point on images that neither training nor the test has: by F1, by costs, by target scores.

Between calibration and evaluation. For one label per image the point is a factor per class or a table of costs, for
several labels a threshold per label. A target that cannot be met is said and never passed over in silence. Knows
nothing of models or files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from linnaeus.config.settings import EvaluateConfig, ScoreTarget, parse_score_target
from linnaeus.errors import ConfigError, nearest_name
from linnaeus.judging.evaluation import OperatingPointEvaluation, Score, TargetOutcome
from linnaeus.judging.score_table import ScoreTable
from linnaeus.judging.thresholds import ThresholdRule, choose_thresholds
from linnaeus.metrics.classification import FloatArray, IntArray, class_counts, confusion_matrix, divide, macro_f1
from linnaeus.metrics.curves import ranked_counts
from linnaeus.metrics.multilabel import Labels
from linnaeus.metrics.operating_point import OperatingPoint, decide
from linnaeus.predictions import Predictions
from linnaeus.statistics.intervals import proportion_interval

Rule = Literal["argmax", "f1", "costs"]
FALSE_NEGATIVE, FALSE_POSITIVE = "false_negative", "false_positive"
_FACTORS = np.geomspace(1 / 8, 8, 25)
_ROUNDS = 5


@dataclass(frozen=True)
class TargetResult:
    """A target and what became of it: the score on the images it was chosen by (None if it means nothing there)."""

    score_target: ScoreTarget
    reached: float | None

    @property
    def met(self) -> bool:
        """Whether the target value is reached on those images."""
        return self.reached is not None and self.reached >= self.score_target.value - 1e-12


@dataclass(frozen=True)
class Chosen:
    """What was chosen.

    Attributes:
        rule: what the choice began with.
        point: for one label per image; None is the most probable class.
        thresholds: K probabilities, for several labels.
        results: of every target.
    """

    rule: Rule
    point: OperatingPoint | None
    thresholds: tuple[float, ...] | None
    results: tuple[TargetResult, ...]

    def describe(self) -> list[str]:
        """A sentence per target."""
        lines = []
        for result in self.results:
            score_target = result.score_target
            words = f"{score_target.score} of {score_target.label} at least {score_target.value:g}"
            if result.reached is None:
                lines.append(
                    f"The target for a {words} cannot be judged: no validation image has this label or prediction."
                )
            elif not result.met:
                best = (
                    "the best value that is compatible with the other targets"
                    if len(self.results) > 1
                    else "the best value"
                )
                lines.append(f"The target for a {words} cannot be met: {best} is {result.reached:.3f} on validation.")
            else:
                lines.append(f"The target for a {words} is met on validation ({result.reached:.3f}).")
        return lines


def check_score_targets(config: EvaluateConfig, classes: Sequence[str], *, task: str) -> None:
    """Raise ConfigError if a target or a cost names something that is no class, or targets and costs are both given."""
    if config.costs and (config.targets or config.decide == "f1"):
        raise ConfigError("evaluate.costs settles every answer; take it or evaluate.targets and evaluate.decide.")
    named = [parse_score_target(text).label for text in config.targets] + list(config.costs)
    if task == "single":
        named += [name for row in config.costs.values() for name in row]
    for name in named:
        if name not in classes:
            known = ", ".join(classes[:20]) + (" ..." if len(classes) > 20 else "")
            raise ConfigError(f"evaluate: there is no class '{name}'.{nearest_name(name, classes)} Classes: {known}")
    if task == "multi":
        for label, row in config.costs.items():
            if set(row) != {FALSE_NEGATIVE, FALSE_POSITIVE} or sum(row.values()) <= 0:
                raise ConfigError(
                    f"evaluate.costs of '{label}': where images have several labels, say what each error costs, "
                    f"{FALSE_NEGATIVE} and {FALSE_POSITIVE}, such as "
                    f"{{{label}: {{{FALSE_NEGATIVE}: 5, {FALSE_POSITIVE}: 1}}}}."
                )


def choose_point(
    unseen: Predictions,
    *,
    rule: Rule,
    threshold_rule: ThresholdRule,
    costs: Mapping[str, Mapping[str, float]],
    score_targets: Sequence[ScoreTarget],
) -> Chosen:
    """Choose on `unseen` images, with their calibrated probabilities.

    Args:
        unseen: at least one image, of validation or out of fold.
        rule: where the choice begins, for one label per image.
        threshold_rule: the same for several labels; costs go before it.
        costs: {true class: {answer: cost}}; what is not named costs 1, and a right answer nothing. For several labels
            {label: {"false_negative": cost, "false_positive": cost}}.
        score_targets: in the order of their weight: the later ones give way least.
    """
    if unseen.task == "multi":
        return _choose_thresholds(unseen, threshold_rule, costs, score_targets)
    probabilities, targets, classes = unseen.probabilities, unseen.targets.astype(np.int64), unseen.classes
    if costs:
        table = 1 - np.eye(len(classes))
        for true, row in costs.items():
            for answer, cost in row.items():
                table[classes.index(true), classes.index(answer)] = cost
        return Chosen("costs", OperatingPoint(costs=tuple(tuple(row) for row in table.tolist())), None, ())
    weights = best_f1_weights(probabilities, targets) if rule == "f1" else np.ones(len(classes))
    for _ in range(_ROUNDS):
        before = weights.copy()
        for score_target in score_targets:
            _meet(score_target, classes.index(score_target.label), weights, probabilities, targets)
        if (weights == before).all():
            break
    point = None if (weights == 1).all() else OperatingPoint(weights=tuple(weights.tolist()))
    answers = decide(probabilities, point)
    results = tuple(
        TargetResult(score_target, _reached(score_target, classes.index(score_target.label), targets, answers))
        for score_target in score_targets
    )
    return Chosen(rule, point, None, results)


def _reached(score_target: ScoreTarget, k: int, targets: IntArray, answers: IntArray) -> float | None:
    true_positives = int(((targets == k) & (answers == k)).sum())
    whole = int((targets == k).sum() if score_target.score == "recall" else (answers == k).sum())
    return true_positives / whole if whole else None


def _turning_points(k: int, weights: FloatArray, probabilities: FloatArray) -> tuple[FloatArray, IntArray]:
    """For each image the factor of class k above which it is answered with k, and the answer below it."""
    scaled = probabilities * weights
    scaled[:, k] = -1.0
    others = scaled.argmax(axis=1)
    with np.errstate(divide="ignore"):
        turning = np.take_along_axis(scaled, others[:, None], axis=1)[:, 0] / probabilities[:, k]
    return turning, others.astype(np.int64)


def _meet(score_target: ScoreTarget, k: int, weights: FloatArray, probabilities: FloatArray, targets: IntArray) -> None:
    """Change the factor of class k as little as the target needs; as far as it goes where it cannot be met."""
    turning, _ = _turning_points(k, weights, probabilities)
    own = np.sort(turning[targets == k])
    order = np.argsort(turning, kind="stable")
    ordered = turning[order]
    if score_target.score == "recall":
        if not len(own):
            return
        needed = own[max(0, math.ceil(score_target.value * len(own) - 1e-9) - 1)]
        if needed < weights[k]:
            return
        finite = own[np.isfinite(own)]
        reach = needed if np.isfinite(needed) else (finite[-1] if len(finite) else weights[k])
        weights[k] = _between(ordered, int(np.searchsorted(ordered, reach, side="right")), reach)
        return
    num_predicted = int((ordered < weights[k]).sum())
    whole = np.append(ordered[1:] != ordered[:-1], True) & np.isfinite(ordered)
    precision = np.cumsum(targets[order] == k) / np.arange(1, len(order) + 1)
    if num_predicted and precision[num_predicted - 1] >= score_target.value:
        return
    good = np.flatnonzero(whole & (precision >= score_target.value))
    below = good[good < max(num_predicted, 1)]
    possible = below if len(below) else good
    at = int(possible[-1]) if len(possible) else _best_of(precision, whole)
    if at >= 0:
        weights[k] = _between(ordered, at + 1, ordered[at])


def _best_of(precision: FloatArray, whole: np.ndarray) -> int:
    places = np.flatnonzero(whole)
    if not len(places):
        return -1
    return int(places[len(places) - 1 - int(np.argmax(precision[places][::-1]))])


def _between(ordered: FloatArray, following: int, reach: float) -> float:
    """A factor above `reach` and below the next turning point."""
    following_point = ordered[following] if following < len(ordered) else math.inf
    low = max(reach, 1e-300)
    return float(math.sqrt(low) * math.sqrt(following_point)) if math.isfinite(following_point) else low * 1.01


def best_f1_weights(probabilities: FloatArray, targets: IntArray) -> FloatArray:
    """Factors of the classes, float64 [K], that make macro F1 large: one class after another, from 1/8 to 8.

    A coarse grid on purpose: fine steps would fit the accidents of these images.
    """
    num_classes = probabilities.shape[1]
    weights = np.ones(num_classes)
    best = _macro_f1(targets, probabilities.argmax(axis=1), num_classes)
    for _ in range(_ROUNDS):
        improved = False
        for k in range(num_classes):
            turning, others = _turning_points(k, weights, probabilities)
            for factor in _FACTORS:
                score = _macro_f1(targets, np.where(factor > turning, k, others), num_classes)
                if score > best + 1e-9:
                    best, weights[k], improved = score, factor, True
        if not improved:
            break
    return weights


def _macro_f1(targets: IntArray, answers: IntArray, num_classes: int) -> float:
    return float(macro_f1(class_counts(confusion_matrix(targets, answers, num_classes))))


def _choose_thresholds(
    unseen: Predictions,
    rule: ThresholdRule,
    costs: Mapping[str, Mapping[str, float]],
    score_targets: Sequence[ScoreTarget],
) -> Chosen:
    targets, probabilities = unseen.targets.astype(np.uint8), unseen.probabilities
    values = choose_thresholds(targets, probabilities, rule=rule).values
    for label, row in costs.items():
        # A label costs nothing in expectation to give where p * false_negative = (1 - p) * false_positive.
        values[unseen.classes.index(label)] = row[FALSE_POSITIVE] / (row[FALSE_NEGATIVE] + row[FALSE_POSITIVE])
    for score_target in score_targets:
        k = unseen.classes.index(score_target.label)
        values[k] = _threshold_for(score_target, float(values[k]), targets[:, k], probabilities[:, k])
    results = []
    for score_target in score_targets:
        k = unseen.classes.index(score_target.label)
        given = probabilities[:, k] >= values[k]
        true_positives = int((given & (targets[:, k] > 0)).sum())
        whole = int(targets[:, k].sum(dtype=np.int64) if score_target.score == "recall" else given.sum())
        results.append(TargetResult(score_target, true_positives / whole if whole else None))
    return Chosen("costs" if costs else "f1", None, tuple(values.tolist()), tuple(results))


def _threshold_for(score_target: ScoreTarget, current: float, targets: Labels, probabilities: FloatArray) -> float:
    """The threshold nearest to `current` at which the target is met, or at which least is missing."""
    counts = ranked_counts(targets > 0, probabilities)
    if score_target.score == "recall":
        if not counts.num_positive:
            return current
        recall = counts.true_positives / counts.num_positive
        at = int(np.flatnonzero(recall >= score_target.value - 1e-12)[0])
        return min(current, float(counts.thresholds[at]))
    precision = divide(counts.true_positives, counts.true_positives + counts.false_positives)
    now = np.flatnonzero(counts.thresholds >= current)
    if len(now) and precision[now[-1]] >= score_target.value:
        return current
    good = np.flatnonzero(precision >= score_target.value)
    good = good[counts.thresholds[good] >= current] if (counts.thresholds[good] >= current).any() else good
    at = int(good[-1]) if len(good) else int(np.flatnonzero(precision == precision.max())[-1])
    return float(counts.thresholds[at])


def describe_operating_point(
    chosen: Chosen, table: ScoreTable, *, groups: IntArray | None, confidence: float
) -> OperatingPointEvaluation:
    """What was chosen, and what becomes of it on test images.

    Args:
        table: of at least one test image, with calibrated probabilities and the point that was chosen.
        groups: int64 [N], images that belong together; None where each is its own.
        confidence: level of the intervals.
    """
    point, told = chosen.point, OperatingPointEvaluation(rule=chosen.rule)
    if point is not None:
        answers = table.answers
        right = answers.argmax == answers.targets
        told = OperatingPointEvaluation(
            rule=chosen.rule,
            weights=None if point.weights is None else dict(zip(table.classes, point.weights, strict=True)),
            costs=None if point.costs is None else [list(row) for row in point.costs],
            num_changed=int((answers.argmax != answers.predicted).sum()),
            accuracy_of_argmax=Score.of(float(right.mean()), proportion_interval(right, groups, confidence=confidence)),
            mean_cost=_mean_cost(point, answers.targets, answers.predicted),
            mean_cost_of_argmax=_mean_cost(point, answers.targets, answers.argmax),
        )
    outcomes = [
        TargetOutcome(
            score=result.score_target.score,
            class_name=result.score_target.label,
            target=result.score_target.value,
            validation=result.reached,
            met=result.met,
            test=_on_test(result.score_target, table, chosen.thresholds, groups=groups, confidence=confidence),
        )
        for result in chosen.results
    ]
    return told.model_copy(update={"targets": outcomes})


def _mean_cost(point: OperatingPoint, targets: IntArray, answers: IntArray) -> float | None:
    return None if point.costs is None else float(np.array(point.costs)[targets, answers].mean())


def _on_test(
    score_target: ScoreTarget,
    table: ScoreTable,
    thresholds: tuple[float, ...] | None,
    *,
    groups: IntArray | None,
    confidence: float,
) -> Score | None:
    """The score that was asked for, on test images; None where it is undefined on them."""
    k = table.classes.index(score_target.label)
    if thresholds is None:
        has, given = table.targets == k, table.answers.predicted == k
    else:
        has, given = table.targets[:, k] > 0, table.column(k) >= thresholds[k]
    whole, other = (has, given) if score_target.score == "recall" else (given, has)
    if not whole.any():
        return None
    of_whole = other[whole]
    interval = proportion_interval(of_whole, None if groups is None else groups[whole], confidence=confidence)
    return Score.of(float(of_whole.mean()), interval)
