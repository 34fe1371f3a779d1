"""Folds: parts of the rows of which each is left out once. Beside `split`, in the life of an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from linnaeus.errors import ClassesError, SplitError


def stratified_folds(
    targets: npt.NDArray[np.int64],
    *,
    num_folds: int,
    seed: int,
    classes: tuple[str, ...],
    groups: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.int64]:
    """The fold of each row, with about the same fraction of every class in each; groups are never divided.

    Args:
        targets: int64 [N].
        num_folds: F, at least 2.
        seed: of the shuffle.
        classes: K names, for messages.
        groups: int64 [N], the group of each row; None where every row stands alone.

    Returns int64 [N], 0 to F - 1. Raises SplitError for fewer rows than folds, ClassesError for a class that has fewer
    rows (or groups) than folds, so that some fold would be without it.
    """
    if len(targets) < num_folds:
        raise SplitError(f"{len(targets)} images cannot be divided into {num_folds} folds. Take fewer with --folds.")
    units = np.arange(len(targets)) if groups is None else groups
    for k in np.unique(targets):
        count = len(np.unique(units[targets == k]))
        if count < num_folds:
            what = "images" if groups is None else "groups of images that belong together"
            raise ClassesError(
                f"Class {classes[k]} has {count} {what}, too few for {num_folds} folds: some would be without it. Take "
                f"--folds {max(2, count)} or leave the class out."
            )
    nothing = np.zeros(len(targets))
    folds = np.zeros(len(targets), np.int64)
    if groups is None:
        parts = StratifiedKFold(num_folds, shuffle=True, random_state=seed).split(nothing, targets)
    else:
        parts = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed).split(nothing, targets, groups)
    for fold, (_, left_out) in enumerate(parts):
        folds[left_out] = fold
    return folds
