"""What balancing did to rare classes and to common ones: two models, with and without it, on the same images.

A function of predictions; knows nothing of how classes were balanced.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnaeus.judging.evaluation import BalancedClasses, Balancing, WithAndWithout
from linnaeus.metrics.classification import IntArray, balanced_accuracy_score, macro_f1_score
from linnaeus.metrics.multilabel import average_precisions, mean_average_precision
from linnaeus.predictions import Predictions
from linnaeus.statistics.paired import compare_correct


def balance_effect(
    balanced: Predictions,
    plain: Predictions,
    *,
    train_counts: npt.NDArray[np.int64],
    groups: IntArray | None,
    seed: int,
) -> Balancing:
    """Compare the rarest third of the classes and the most frequent third (one class at least) with and without
    balancing.

    Args:
        balanced, plain: of the same images in the same order, of validation. Of a single label the most probable class
            is looked at; of several labels how well each ranks the images, so that no threshold decides.
        train_counts: int64 [K], training images of each class.
        groups: int64 [N], images that belong together; None where each is its own.
        seed: of the paired test, where there are groups.
    """
    order = np.argsort(train_counts, kind="stable")
    size = max(1, len(order) // 3)
    thirds = []
    for classes in (order[:size], order[::-1][:size]):
        names, count = [plain.classes[k] for k in classes], int(train_counts[classes].sum())
        if plain.task == "single":
            thirds.append(_single(names, count, balanced, plain, classes, groups=groups, seed=seed))
        else:
            thirds.append(_multi(names, count, balanced, plain, classes))
    return Balancing(
        num_images=len(plain),
        scores=_scores_single(balanced, plain) if plain.task == "single" else _scores_multi(balanced, plain),
        rare=thirds[0],
        common=thirds[1],
    )


def _single(
    names: list[str],
    train_images: int,
    balanced: Predictions,
    plain: Predictions,
    classes: npt.NDArray[np.int64],
    *,
    groups: IntArray | None,
    seed: int,
) -> BalancedClasses:
    own = np.isin(balanced.targets, classes)
    correct = [predictions.predicted == balanced.targets for predictions in (plain, balanced)]
    answered = [np.isin(predictions.predicted, classes) for predictions in (plain, balanced)]
    test = compare_correct(correct[0][own], correct[1][own], groups=None if groups is None else groups[own], seed=seed)
    return BalancedClasses(
        classes=names,
        train_images=train_images,
        num_images=int(own.sum()),
        recall=_pair(_fraction(correct[0][own]), _fraction(correct[1][own])),
        precision=_pair(_fraction(correct[0][answered[0]]), _fraction(correct[1][answered[1]])),
        only_with=test.only_second,
        only_without=test.only_first,
        p_value=test.p_value,
    )


def _multi(
    names: list[str], train_images: int, balanced: Predictions, plain: Predictions, classes: npt.NDArray[np.int64]
) -> BalancedClasses:
    labels = balanced.targets.astype(np.uint8)
    there = classes[labels[:, classes].any(axis=0)]
    means = [
        float(average_precisions(labels, predictions.logits)[there].mean()) if len(there) else None
        for predictions in (plain, balanced)
    ]
    return BalancedClasses(classes=names, train_images=train_images, average_precision=_pair(*means))


def _scores_single(balanced: Predictions, plain: Predictions) -> dict[str, WithAndWithout]:
    targets, num_classes = balanced.targets.astype(np.int64), len(balanced.classes)
    without, having = plain.predicted, balanced.predicted
    return {
        "accuracy": _pair(_fraction(without == targets), _fraction(having == targets)),
        "balanced_accuracy": _pair(
            *(balanced_accuracy_score(targets, predicted, num_classes) for predicted in (without, having))
        ),
        "macro_f1": _pair(*(macro_f1_score(targets, predicted, num_classes) for predicted in (without, having))),
    }


def _scores_multi(balanced: Predictions, plain: Predictions) -> dict[str, WithAndWithout]:
    labels = balanced.targets.astype(np.uint8)
    values = [mean_average_precision(labels, predictions.logits) for predictions in (plain, balanced)]
    return {"mean_average_precision": _pair(*values)}


def _pair(without: float | None, having: float | None) -> WithAndWithout:
    return WithAndWithout(without=without, with_balancing=having)


def _fraction(correct: npt.NDArray[np.bool_]) -> float | None:
    return float(correct.mean()) if len(correct) else None
