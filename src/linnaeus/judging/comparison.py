"""Is one set of answers really better than another? Paired tests of two models on the same images.

Two accuracies with their own intervals hide what counts: both models see the same images and mostly err on the same
ones. What tells them apart are the images on which they differ. Takes predictions or plain arrays; knows nothing of
runs, models or files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linnaeus.errors import ClassesError, DataError
from linnaeus.metrics.classification import FloatArray, divide
from linnaeus.predictions import Predictions
from linnaeus.statistics.intervals import Interval

SumsToScore = Callable[[FloatArray], FloatArray]
"""Scores float64 [R] from sums over images float64 [R, C]."""

_CELLS_AT_ONCE = 4_000_000  # of [resamples, images]: 32 MB per array
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class McNemar:
    """Images on which exactly one of two models is right.

    Attributes:
        only_first: how many the first alone gets right.
        only_second: how many the second alone gets right.
        p_value: chance, 0-1, of a split at least as uneven if each of these images were a fair coin.
    """

    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True)
class Difference:
    """Score of the second less score of the first, with its interval.

    Attributes:
        value: measured, -1 to 1.
        interval: both ends.
    """

    value: float
    interval: Interval

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval.low > 0 or self.interval.high < 0


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    Attributes:
        score: which score is compared, "accuracy" or, where images have several labels, "micro_f1".
        first, second: that score of each, 0-1.
        difference: second less first.
        mcnemar: of images whose class is right; None where images have several labels.
        confidence: level of the interval, and 1 less the level of the test.
        num_images: behind all of it.
    """

    score: str
    first: float
    second: float
    difference: Difference
    mcnemar: McNemar | None
    confidence: float
    num_images: int

    @property
    def beyond_noise(self) -> bool:
        """Whether the two differ by more than chance: by McNemar's test, or by the interval where there is none."""
        if self.mcnemar is None:
            return self.difference.beyond_noise
        return self.mcnemar.p_value < 1 - self.confidence

    def describe(self, *, first: str, second: str) -> str:
        """One sentence for people; `first` and `second` name the models."""
        points, low, high = (f"{100 * v:+.1f}" for v in (self.difference.value, *self.difference.interval))
        name = {"accuracy": "accuracy", "micro_f1": "micro F1"}[self.score]
        what = f"{name} {100 * self.second:.1f} % against {100 * self.first:.1f} % of {first}, {points} points"
        evidence = f"{100 * self.confidence:g} % interval {low} to {high}"
        if self.mcnemar is not None:
            evidence += f"; right alone on {self.mcnemar.only_second:,} and {self.mcnemar.only_first:,} images"
            evidence += f", exact McNemar test p = {self.mcnemar.p_value:.3g}"
        if not self.beyond_noise:
            verdict = f"On {self.num_images:,} images this is within what chance would do: no proof of a difference."
        elif self.difference.value > 0:
            verdict = f"{second} is really better."
        else:
            verdict = f"{second} is really worse."
        return f"{second}: {what} ({evidence}). {verdict}"


def mcnemar_test(first_right: npt.NDArray[np.bool_], second_right: npt.NDArray[np.bool_]) -> McNemar:
    """The exact, two-sided test of whether two models are right equally often.

    McNemar, Psychometrika 12 (1947), 153-157, in its exact form: among the n images on which one alone is right, the
    smaller side m is binomial with share 1/2, so p = min(1, 2 P(X <= m)). 1 where they never differ.

    Args:
        first_right, second_right: bool [N], of the same images in the same order.

    Raises ValueError if the lengths differ.
    """
    if first_right.shape != second_right.shape or first_right.ndim != 1:
        raise ValueError(f"{first_right.shape} and {second_right.shape} must be two equally long columns")
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    total = only_first + only_second
    ways = above = 1  # of k = 0; whole numbers of any size, so nothing is rounded
    for k in range(1, min(only_first, only_second) + 1):
        ways = ways * (total - k + 1) // k
        above += ways
    return McNemar(only_first, only_second, min(1.0, 2 * above / 2**total))


def paired_bootstrap(
    first: FloatArray, second: FloatArray, score: SumsToScore, *, confidence: float, num_samples: int, seed: int
) -> Difference:
    """The difference of a score between two models, with an interval from resampled images.

    Both are scored on the same resamples, so what makes an image hard for both cancels out. The interval is the normal
    one at the spread over resamples (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 6 and 8),
    to which the spread of one more differing image is added, so that two models that never differ on a few images are
    not called equal for certain; for accuracy this is nearly the interval of Agresti and Min, Statistics in Medicine 24
    (2005), 729-740. It holds the true difference about as often as it says (tests/judging/test_comparison.py).

    Args:
        first, second: float64 [N, C], what each image adds to the sums behind the score, such as 1 where it is right.
        score: from sums over R resamples float64 [R, C] to scores float64 [R].
        confidence: level of the interval, such as 0.95.
        num_samples: R; fewer are drawn at a time where there are many images.
        seed: the resamples follow from it.

    Raises ValueError if the shapes differ or there are no images.
    """
    if first.shape != second.shape or first.ndim != 2 or not len(first):
        raise ValueError(f"{first.shape} and {second.shape} must be two equally large tables of at least one image")
    num_images = len(first)
    generator = np.random.default_rng(seed)
    differences = []
    step = max(1, _CELLS_AT_ONCE // num_images)
    for start in range(0, num_samples, step):
        size = min(step, num_samples - start)
        drawn = generator.integers(0, num_images, (size, num_images)) + num_images * np.arange(size)[:, None]
        weights = np.bincount(drawn.reshape(-1), minlength=size * num_images).reshape(size, num_images)
        differences.append(score(weights @ second) - score(weights @ first))
    value = float((score(second.sum(axis=0)[None]) - score(first.sum(axis=0)[None]))[0])
    variance = float(np.concatenate(differences).var()) + 1 / num_images**2
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(variance)
    return Difference(value, Interval(max(-1.0, value - half), min(1.0, value + half)))


def compare_predictions(
    first: Predictions,
    second: Predictions,
    *,
    confidence: float,
    num_samples: int,
    seed: int,
    thresholds: tuple[FloatArray | float, FloatArray | float] = (0.5, 0.5),
) -> Comparison:
    """Compare two models on the same images: accuracy, or micro F1 where images have several labels.

    Args:
        first, second: of one split each; the same images in any order, the same classes in any order.
        confidence: level of interval and test, such as 0.95.
        num_samples, seed: of the bootstrap.
        thresholds: of the first and the second, from which probability a label is given, in each one's own order of
            classes; used for several labels only.

    Raises DataError if images or targets differ, ClassesError if classes do.
    """
    aligned, order = align(first, second), class_order(first, second)
    if first.task == "single":
        right = [p.predicted == p.targets for p in (first, aligned)]
        columns = [r.astype(np.float64)[:, None] for r in right]
        score, name, mcnemar = _share(len(first)), "accuracy", mcnemar_test(right[0], right[1])
    else:
        second_thresholds = np.broadcast_to(thresholds[1], len(order))[order]
        given = [first.given_labels(thresholds[0]), aligned.given_labels(second_thresholds)]
        columns = [_f1_parts(first.targets.astype(np.uint8), labels) for labels in given]
        score, name, mcnemar = _f1, "micro_f1", None
    difference = paired_bootstrap(
        columns[0], columns[1], score, confidence=confidence, num_samples=num_samples, seed=seed
    )
    values = [float(score(column.sum(axis=0)[None])[0]) for column in columns]
    return Comparison(name, values[0], values[1], difference, mcnemar, confidence, len(first))


def align(first: Predictions, second: Predictions) -> Predictions:
    """`second` with the images and the classes in the order of `first`.

    Raises DataError if they are not of the same images with the same targets, ClassesError if they are not of the same
    classes; both name what differs.
    """
    order = class_order(first, second)
    if len(second) != len(first):
        raise DataError(
            f"They are not of the same images: {len(first):,} in one, {len(second):,} in the other. Compare models on "
            "the same test set."
        )
    places = pa.compute.index_in(first.ids, value_set=second.ids)
    if places.null_count or len(pa.compute.unique(second.ids)) != len(second):
        strange = first.ids.filter(pa.compute.is_null(places)).to_pylist()[:_NAMES_SHOWN]
        raise DataError(
            f"They are not of the same images: one has {', '.join(strange) or 'an image twice'}, the other has not. "
            "Compare models on the same test set."
        )
    taken = second.take(places.to_numpy(zero_copy_only=False).astype(np.int64))
    if taken.task == "multi":
        targets: npt.NDArray[np.int64] | npt.NDArray[np.uint8] = taken.targets[:, order]
    else:
        positions = np.empty(len(order), np.int64)
        positions[order] = np.arange(len(order))
        targets = positions[taken.targets.astype(np.int64)]
    wrong = np.flatnonzero(np.reshape(targets != first.targets, (len(first), -1)).any(axis=1))
    if len(wrong):
        raise DataError(
            f"They are not of the same images: {first.ids[int(wrong[0])]} has another label in one than in the other, "
            f"one of {len(wrong):,} such images. Compare models on the same test set."
        )
    return Predictions(
        ids=taken.ids,
        logits=np.ascontiguousarray(taken.logits[:, order]),
        targets=targets,
        classes=first.classes,
        splits=taken.splits,
        manifest_fingerprint=first.manifest_fingerprint,
        temperature=tuple(taken.temperature[k] for k in order)
        if isinstance(taken.temperature, tuple)
        else taken.temperature,
        operating_point=None if taken.operating_point is None else taken.operating_point.reordered(order.tolist()),
    )


def class_order(first: Predictions, second: Predictions) -> npt.NDArray[np.int64]:
    """int64 [K]: for each class of `first` its place among those of `second`. Raises ClassesError if they differ."""
    if first.task != second.task:
        raise ClassesError("One has a single label per image, the other several.")
    left, right = set(first.classes) - set(second.classes), set(second.classes) - set(first.classes)
    if left or right:
        raise ClassesError(
            f"They are not of the same classes: only one has {_some(left)}, only the other {_some(right)}."
        )
    return np.array([second.classes.index(name) for name in first.classes], np.int64)


def _some(names: set[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in sorted(names)[:_NAMES_SHOWN])
    return f"{shown} ..." if len(names) > _NAMES_SHOWN else shown or "none"


def _share(num_images: int) -> SumsToScore:
    return lambda sums: sums[:, 0] / num_images


def _f1_parts(targets: npt.NDArray[np.uint8], given: npt.NDArray[np.uint8]) -> FloatArray:
    """float64 [N, 2]: of each image, twice its labels that were found, and its own labels plus those it was given."""
    hits = np.logical_and(targets, given).sum(axis=1)
    return np.stack([2.0 * hits, targets.sum(axis=1, dtype=np.float64) + given.sum(axis=1)], axis=1)


def _f1(sums: FloatArray) -> FloatArray:
    return divide(sums[:, 0], sums[:, 1])
