"""What balancing did to rare classes and to common ones: two models, with and without it, on the same images.

A function of predictions; knows nothing of how classes were balanced.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from linnaeus.judging.comparison import mcnemar_test
from linnaeus.metrics.classification import balanced_accuracy_score, macro_f1_score
from linnaeus.metrics.multilabel import average_precisions, mean_average_precision
from linnaeus.predictions import Predictions


def balance_effect(balanced: Predictions, plain: Predictions, *, train_counts: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Compare the rarest third of the classes and the commonest third (one class at least) with and without balancing.

    Args:
        balanced, plain: of the same images in the same order, of validation. Of a single label the likeliest class is
            looked at; of several labels how well each ranks the images, so that no threshold decides.
        train_counts: int64 [K], training images of each class.

    Returns "num_images", "scores" (name -> {"without", "with"}: accuracy, balanced accuracy and macro F1, or mean
    average precision), and for "rare" and "common" the "classes", "train_images", and either "num_images", "recall" and
    "precision" of these classes taken together ({"without", "with"}, 0-1 or null), and of the images the number right
    "only_with" and "only_without" balancing and the "p_value" of McNemar's exact test; or, for several labels,
    "average_precision", the mean over those labels that some image has.
    """
    order = np.argsort(train_counts, kind="stable")
    size = max(1, len(order) // 3)
    pair = {"without": plain, "with": balanced}
    single = plain.task == "single"
    describe = _single if single else _multi
    return {
        "num_images": len(plain),
        "scores": _scores_single(pair) if single else _scores_multi(pair),
        **{
            name: {
                "classes": [plain.classes[k] for k in classes],
                "train_images": int(train_counts[classes].sum()),
                **describe(pair, classes),
            }
            for name, classes in (("rare", order[:size]), ("common", order[::-1][:size]))
        },
    }


def _single(pair: dict[str, Predictions], classes: npt.NDArray[np.int64]) -> dict[str, Any]:
    targets = pair["with"].targets
    own = np.isin(targets, classes)
    right = {name: predictions.predicted == targets for name, predictions in pair.items()}
    answered = {name: np.isin(predictions.predicted, classes) for name, predictions in pair.items()}
    test = mcnemar_test(right["without"][own], right["with"][own])
    return {
        "num_images": int(own.sum()),
        "recall": {name: _share(right[name][own]) for name in pair},
        "precision": {name: _share(right[name][answered[name]]) for name in pair},
        "only_with": test.only_second,
        "only_without": test.only_first,
        "p_value": test.p_value,
    }


def _multi(pair: dict[str, Predictions], classes: npt.NDArray[np.int64]) -> dict[str, Any]:
    labels = pair["with"].targets.astype(np.uint8)
    there = classes[labels[:, classes].any(axis=0)]
    precisions = {name: average_precisions(labels, predictions.logits) for name, predictions in pair.items()}
    return {
        "average_precision": {
            name: float(values[there].mean()) if len(there) else None for name, values in precisions.items()
        }
    }


def _scores_single(pair: dict[str, Predictions]) -> dict[str, dict[str, float]]:
    targets, num_classes = pair["with"].targets.astype(np.int64), len(pair["with"].classes)
    return {
        "accuracy": {name: float((p.predicted == targets).mean()) for name, p in pair.items()},
        "balanced_accuracy": {
            name: balanced_accuracy_score(targets, p.predicted, num_classes) for name, p in pair.items()
        },
        "macro_f1": {name: macro_f1_score(targets, p.predicted, num_classes) for name, p in pair.items()},
    }


def _scores_multi(pair: dict[str, Predictions]) -> dict[str, dict[str, float]]:
    labels = pair["with"].targets.astype(np.uint8)
    return {"mean_average_precision": {name: mean_average_precision(labels, p.logits) for name, p in pair.items()}}


def _share(right: npt.NDArray[np.bool_]) -> float | None:
    return float(right.mean()) if len(right) else None
