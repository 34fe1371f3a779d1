"""A few numbers per image that say how confident its answer is and whether it is right.

Between a table of probabilities and what is made of single images: selective prediction, slices, the detector of what
is out of distribution. Knows nothing of models or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnaeus.judging.score_table import ScoreTable
from linnaeus.metrics.classification import FloatArray
from linnaeus.metrics.multilabel import image_f1


@dataclass(frozen=True)
class ImageScores:
    """Of N images.

    Attributes:
        confidence: float64 [N], 0-1: probability of the answer; for several labels the probability that all labels are
            as predicted, if they were independent.
        correct: bool [N]: whether the answer is right; for several labels, whether all of them are.
        score: float64 [N], 0-1: 1 where the answer is right; for several labels, F1 of the image's labels.
    """

    confidence: FloatArray
    correct: npt.NDArray[np.bool_]
    score: FloatArray


def score_images(table: ScoreTable, *, thresholds: tuple[float, ...] | None) -> ImageScores:
    """One pass over a table; `thresholds`: of several labels."""
    if thresholds is None:
        answers = table.answers
        return ImageScores(answers.of_predicted, answers.correct, answers.correct.astype(np.float64))
    confidence, score = np.empty(len(table)), np.empty(len(table))
    correct = np.empty(len(table), np.bool_)
    for part, probabilities in table.blocks():
        targets = table.targets[part]
        predicted = (probabilities >= np.array(thresholds)).astype(np.uint8)
        confidence[part] = np.where(predicted > 0, probabilities, 1 - probabilities).prod(axis=1)
        correct[part] = (predicted == targets).all(axis=1)
        score[part] = image_f1(targets.astype(np.uint8), predicted)
    return ImageScores(confidence, correct, score)
