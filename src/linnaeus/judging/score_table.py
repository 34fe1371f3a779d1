"""A table of probabilities that need not fit in memory: asked for by rows or by one column.

What a large evaluation reads instead of one array: predictions in memory, or a file of another model. Memory is then
that of a few numbers per image, one block of rows, and one column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from linnaeus.data.manifest import Task
from linnaeus.metrics.classification import FloatArray, IntArray
from linnaeus.metrics.multilabel import Labels
from linnaeus.metrics.operating_point import OperatingPoint, decide
from linnaeus.metrics.probabilities import NUM_BINS, bin_places, brier_scores, log_losses, true_ranks
from linnaeus.predictions import Predictions, probabilities_of

CELLS_AT_ONCE = 2_000_000
"""Of [rows, classes] in a block: 16 MB per array."""


@dataclass(frozen=True)
class ScoreTable:
    """Calibrated probabilities of N images and K classes.

    Attributes:
        classes: K names.
        targets: int64 [N], or uint8 [N, K] where images have several labels.
        rows: (start, stop) -> float64 [stop - start, K].
        column: class -> float64 [N].
        point: how probabilities become one answer.
    """

    classes: tuple[str, ...]
    targets: IntArray | Labels
    rows: Callable[[int, int], FloatArray]
    column: Callable[[int], FloatArray]
    point: OperatingPoint | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def task(self) -> Task:
        """ "single" for one label per image, "multi" for several."""
        return "multi" if self.targets.ndim == 2 else "single"

    @cached_property
    def answers(self) -> Answers:
        """`judge_answers` of this table, worked out once."""
        return judge_answers(self)

    @cached_property
    def label_facts(self) -> LabelFacts:
        """`judge_labels` of this table, worked out once."""
        return judge_labels(self)

    def blocks(self) -> Iterator[tuple[slice, FloatArray]]:
        """Consecutive rows with their probabilities, at most CELLS_AT_ONCE numbers at a time."""
        step = max(1, CELLS_AT_ONCE // len(self.classes))
        for start in range(0, len(self), step):
            stop = min(start + step, len(self))
            yield slice(start, stop), self.rows(start, stop)


def table_of(predictions: Predictions) -> ScoreTable:
    """The probabilities of predictions, worked out block by block."""
    logits, task, temperature = predictions.logits, predictions.task, predictions.temperature
    targets: IntArray | Labels
    targets = predictions.targets.astype(np.int64) if task == "single" else predictions.targets.astype(np.uint8)

    def rows(start: int, stop: int) -> FloatArray:
        return probabilities_of(logits[start:stop], task=task, temperature=temperature)

    table = ScoreTable(predictions.classes, targets, rows, lambda k: np.zeros(0), predictions.operating_point)
    if task == "multi":
        each = np.broadcast_to(np.asarray(temperature, np.float64), len(predictions.classes))

        def label(k: int) -> FloatArray:
            return probabilities_of(logits[:, k : k + 1], task="multi", temperature=float(each[k]))[:, 0]

        return ScoreTable(table.classes, targets, rows, label)
    scale = float(np.asarray(temperature))
    totals = np.empty(len(predictions))
    for part, _ in ScoreTable(table.classes, targets, lambda a, b: np.zeros(0), table.column).blocks():
        totals[part] = logsumexp(logits[part].astype(np.float64) / scale, axis=1)

    def column(k: int) -> FloatArray:
        return np.asarray(np.exp(logits[:, k].astype(np.float64) / scale - totals), np.float64)

    return ScoreTable(table.classes, targets, rows, column, predictions.operating_point)


@dataclass(frozen=True)
class Answers:
    """A few numbers per image, for one label per image.

    Attributes:
        targets, predicted: int64 [N].
        argmax: int64 [N], the most probable class, which would be predicted without an operating point.
        of_predicted: float64 [N], probability of what is predicted.
        confidence: float64 [N], probability of the most probable class.
        log_losses, briers: float64 [N].
        ranks: int64 [N], place of the true class.
    """

    targets: IntArray
    predicted: IntArray
    argmax: IntArray
    of_predicted: FloatArray
    confidence: FloatArray
    log_losses: FloatArray
    briers: FloatArray
    ranks: IntArray

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """bool [N]."""
        return np.asarray(self.predicted == self.targets, np.bool_)


def judge_answers(table: ScoreTable) -> Answers:
    """One pass over a table with one label per image."""
    num = len(table)
    predicted, argmax, ranks = (np.empty(num, np.int64) for _ in range(3))
    of_predicted, confidence, losses, briers = (np.empty(num) for _ in range(4))
    for part, probabilities in table.blocks():
        targets = table.targets[part].astype(np.int64)
        argmax[part] = probabilities.argmax(axis=1)
        predicted[part] = argmax[part] if table.point is None else decide(probabilities, table.point)
        of_predicted[part], confidence[part] = (
            np.take_along_axis(probabilities, answer[part][:, None], axis=1)[:, 0] for answer in (predicted, argmax)
        )
        losses[part] = log_losses(probabilities, targets)
        briers[part] = brier_scores(probabilities, targets)
        ranks[part] = true_ranks(probabilities, targets)
    return Answers(table.targets.astype(np.int64), predicted, argmax, of_predicted, confidence, losses, briers, ranks)


@dataclass(frozen=True)
class LabelFacts:
    """A few numbers per image, where images have several labels.

    Attributes:
        log_losses, briers: float64 [N].
        surplus: float64 [N, B], per reliability bin how many labels are there less the sum of their probabilities.
        counts, confidence, correct: float64 [B], the reliability diagram over all pairs of image and label.
        variance: float64 [B], sum of p (1 - p) over the same pairs.
    """

    log_losses: FloatArray
    briers: FloatArray
    surplus: FloatArray
    counts: FloatArray
    confidence: FloatArray
    correct: FloatArray
    variance: FloatArray


def judge_labels(table: ScoreTable) -> LabelFacts:
    """One pass over a table with several labels per image."""
    num, edges = len(table), np.linspace(0.0, 1.0, NUM_BINS + 1)
    losses, briers, surplus = np.empty(num), np.empty(num), np.zeros((num, NUM_BINS))
    sums = np.zeros((4, NUM_BINS))
    for part, probabilities in table.blocks():
        targets = table.targets[part]
        losses[part], briers[part] = log_losses(probabilities, targets), brier_scores(probabilities, targets)
        places = bin_places(probabilities, edges)
        own = places + NUM_BINS * np.arange(len(places))[:, None]
        gap = (targets - probabilities).reshape(-1)
        surplus[part] = np.bincount(own.reshape(-1), gap, NUM_BINS * len(places)).reshape(-1, NUM_BINS)
        flat = probabilities.reshape(-1)
        for row, weight in enumerate((np.ones(gap.shape), flat, targets.reshape(-1), flat * (1 - flat))):
            sums[row] += np.bincount(places.reshape(-1), weight, NUM_BINS)
    return LabelFacts(losses, briers, surplus, *sums)
