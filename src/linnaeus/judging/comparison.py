"""Is one set of predictions significantly better than another? Two models on the same images, compared image by image.

Brings images and classes into one order; the tests are those of `statistics.paired`. Takes predictions; knows nothing
of runs, models or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linnaeus.errors import ClassesError, DataError
from linnaeus.judging.evaluation import PairedDifference, ScoreName
from linnaeus.metrics.classification import FloatArray, IntArray, divide
from linnaeus.predictions import Predictions
from linnaeus.statistics.groups import grouping
from linnaeus.statistics.paired import Difference, PairedTest, compare_correct, paired_bootstrap, permutation_test

_NAMES_SHOWN = 3
_IN_WORDS: dict[ScoreName, str] = {"accuracy": "accuracy", "micro_f1": "micro F1"}


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    Attributes:
        score: which score is compared, "accuracy" or, where images have several labels, "micro_f1".
        first, second: that score of each, 0-1.
        difference: second less first.
        test: whether it is more than chance.
        confidence: level of the interval, and 1 less the level of the test.
        num_images: behind all of it.
        num_groups: of images that belong together; None where each is its own.
    """

    score: ScoreName
    first: float
    second: float
    difference: Difference
    test: PairedTest
    confidence: float
    num_images: int
    num_groups: int | None = None

    @property
    def significant(self) -> bool:
        """Whether p < 1 - confidence: the one rule by which two models are called different."""
        return self.test.p_value < 1 - self.confidence

    @property
    def paired_difference(self) -> PairedDifference:
        """What evaluation.json says of it."""
        low, high = self.difference.interval
        return PairedDifference(
            score=self.score,
            first=self.first,
            second=self.second,
            value=self.difference.value,
            low=low,
            high=high,
            p_value=self.test.p_value,
            significant=self.significant,
        )

    def describe(self, *, first: str, second: str) -> str:
        """One sentence for people; `first` and `second` name the models."""
        points, low, high = (f"{100 * v:+.1f}" for v in (self.difference.value, *self.difference.interval))
        name, p_value = _IN_WORDS[self.score], f"p = {self.test.p_value:.3g}"
        what = f"{name} {100 * self.second:.1f} % against {100 * self.first:.1f} % of {first}, {points} points"
        evidence = f"{100 * self.confidence:g} % interval {low} to {high}"
        if self.test.only_first is not None and self.test.only_second is not None:
            evidence += f"; right alone on {self.test.only_second:,} and {self.test.only_first:,} images"
        evidence += ", exact McNemar test" if self.test.name == "mcnemar" else ", permutation test"
        images = f"{self.num_images:,} images"
        if self.num_groups is not None:
            images += f" in {self.num_groups:,} groups"
        if not self.significant:
            verdict = f"On {images} they are not significantly different ({p_value})."
        elif self.difference.value > 0:
            verdict = f"On {images} {second} is significantly better ({p_value})."
        else:
            verdict = f"On {images} {second} is significantly worse ({p_value})."
        return f"{second}: {what} ({evidence}). {verdict}"


def compare_predictions(
    first: Predictions,
    second: Predictions,
    *,
    groups: IntArray | None,
    confidence: float,
    num_samples: int,
    seed: int,
    thresholds: tuple[FloatArray | float, FloatArray | float] = (0.5, 0.5),
) -> Comparison:
    """Compare two models on the same images: accuracy, or micro F1 where images have several labels.

    Args:
        first, second: of one split each; the same images in any order, the same classes in any order.
        groups: int64 [N], images that belong together, in the order of `first`; None where each is its own.
        confidence: level of interval and test, such as 0.95.
        num_samples, seed: of the bootstrap; the seed is also that of permutations.
        thresholds: of the first and the second, from which probability a label is given, in each one's own order of
            classes; used for several labels only.

    Raises DataError if images or targets differ, ClassesError if classes do.
    """
    aligned, order = align(first, second), class_order(first, second)
    together = grouping(groups, len(first))
    if first.task == "single":
        correct = [predictions.predicted == predictions.targets for predictions in (first, aligned)]
        columns = [np.stack([each.astype(np.float64), np.ones(len(each))], axis=1) for each in correct]
        test = compare_correct(correct[0], correct[1], groups=groups, seed=seed)
    else:
        second_thresholds = np.broadcast_to(thresholds[1], len(order))[order]
        given = [first.given_labels(thresholds[0]), aligned.given_labels(second_thresholds)]
        columns = [_f1_parts(first.targets.astype(np.uint8), labels) for labels in given]
        p_value = permutation_test(columns[0], columns[1], _ratio, groups=groups, seed=seed)
        test = PairedTest("permutation", p_value)
    difference = paired_bootstrap(
        columns[0], columns[1], _ratio, groups=groups, confidence=confidence, num_samples=num_samples, seed=seed
    )
    values = [float(_ratio(column.sum(axis=0)[None])[0]) for column in columns]
    return Comparison(
        score="accuracy" if first.task == "single" else "micro_f1",
        first=values[0],
        second=values[1],
        difference=difference,
        test=test,
        confidence=confidence,
        num_images=len(first),
        num_groups=None if together is None else len(together.sizes),
    )


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


def _f1_parts(targets: npt.NDArray[np.uint8], given: npt.NDArray[np.uint8]) -> FloatArray:
    """float64 [N, 2]: of each image, twice its labels that were found, and its own labels plus those it was given."""
    found = np.logical_and(targets, given).sum(axis=1)
    return np.stack([2.0 * found, targets.sum(axis=1, dtype=np.float64) + given.sum(axis=1)], axis=1)


def _ratio(sums: FloatArray) -> FloatArray:
    """float64 [R]: accuracy from sums of right answers and of images, or micro F1 from those of `_f1_parts`."""
    return divide(sums[:, 0], sums[:, 1])
