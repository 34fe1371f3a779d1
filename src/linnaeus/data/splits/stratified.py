"""Splitting: which rows train, which validate, which test. Stratified, seeded, and kept where the data says so.

Between manifest and decode in the life of an image. Knows nothing of pixels. Everything is done on whole columns, so
that ten million rows divide in seconds.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, VALIDATION, Manifest
from linnaeus.data.splits.grouped import divide_groups
from linnaeus.data.splits.multilabel import divide_labels, scarce_labels
from linnaeus.errors import ClassesError, SplitError

MIN_VALIDATION_PER_CLASS = 50
"""The cap on validation images never goes below this many per class."""

_Counts = npt.NDArray[np.int64]


def assign_splits(
    manifest: Manifest, *, validation_fraction: float, validation_max: int, test_fraction: float, seed: int
) -> Manifest:
    """Put every row in exactly one split.

    Validation and test rows that the data brought stay; a split that it did not bring is drawn, class by class in
    proportion, from its other rows, and what is left trains.

    Args:
        manifest: of its groups, if it has any, none is divided; fractions and cap then hold as nearly as whole groups
            allow, and as several labels per image allow. Splits that the data brought stay even where they divide a
            group.
        validation_fraction, test_fraction: in (0, 1), fractions of the rows drawn from.
        validation_max: no more validation rows than this, or 50 per class if that is more.
        seed: the same seed draws the same test rows, whatever the validation fraction.

    Where images have several labels, those with too few images for every split are named in a note of the manifest.

    Raises ClassesError for fewer than two classes or a class in too few rows or groups to stand in every split,
    SplitError if the fractions leave nothing to train on, or groups cannot be divided.
    """
    if manifest.task == "single" and manifest.num_classes < 2:
        raise ClassesError(f"A classifier needs at least two classes; the data has {manifest.num_classes}.")
    splits = np.where(manifest.splits == UNASSIGNED, TRAIN, manifest.splits).astype(np.int8)
    fractions = {TEST: test_fraction, VALIDATION: validation_fraction}
    wanted = [split for split in fractions if not (splits == split).any()]
    if sum(fractions[split] for split in wanted) >= 1:
        raise SplitError(
            f"Fractions of {validation_fraction:g} for validation and {test_fraction:g} for test leave no training "
            "images."
        )
    pool = np.flatnonzero(splits == TRAIN)
    cap = max(validation_max, MIN_VALIDATION_PER_CLASS * manifest.num_classes)
    if manifest.task == "multi":
        return _assign_several(
            manifest, splits, pool, fractions={split: fractions[split] for split in wanted}, cap=cap, seed=seed
        )
    counts = manifest.class_counts(pool)
    _require_enough(manifest, counts, wanted)
    if manifest.groups is not None and wanted:
        places = divide_groups(
            manifest.groups[pool],
            manifest.targets[pool].astype(np.int64),
            fractions=[fractions[split] for split in wanted],
            most=[cap if split == VALIDATION else None for split in wanted],
            names=manifest.classes,
            seed=seed,
        )
        splits[pool] = np.array([TRAIN, *wanted], np.int8)[places]
        return manifest.with_splits(splits)

    shuffled = np.random.default_rng(seed).permutation(pool)
    by_class = shuffled[np.argsort(manifest.targets[shuffled], kind="stable")]
    place_in_class = np.arange(len(pool)) - np.repeat(np.cumsum(counts) - counts, counts)
    taken = np.zeros_like(counts)
    for position, split in enumerate(wanted):
        total = round(fractions[split] * len(pool))
        if split == VALIDATION:
            total = min(total, cap)
        still_to_serve = len(wanted) - position  # the splits after this one, training among them, one row each
        drawn = apportion(counts, total, ceiling=counts - taken - still_to_serve)
        first, beyond = np.repeat(taken, counts), np.repeat(taken + drawn, counts)
        splits[by_class[(first <= place_in_class) & (place_in_class < beyond)]] = split
        taken = taken + drawn
    return manifest.with_splits(splits)


def _assign_several(
    manifest: Manifest, splits: npt.NDArray[np.int8], pool: _Counts, *, fractions: dict[int, float], cap: int, seed: int
) -> Manifest:
    """Draw the splits named in `fractions` from the rows `pool`, where images have several labels."""
    targets = manifest.targets[pool].astype(np.uint8)
    groups = None if manifest.groups is None else manifest.groups[pool]
    if fractions:
        places = divide_labels(
            targets,
            fractions=list(fractions.values()),
            most=[cap if split == VALIDATION else None for split in fractions],
            seed=seed,
            groups=groups,
        )
        splits[pool] = np.array([TRAIN, *fractions], np.int8)[places]
    scarce = scarce_labels(targets, needed=1 + len(fractions), classes=manifest.classes, groups=groups)
    notes = manifest.notes if scarce is None or scarce in manifest.notes else (*manifest.notes, scarce)
    return dataclasses.replace(manifest.with_splits(splits), notes=notes)


def apportion(counts: _Counts, total: int, *, ceiling: _Counts) -> _Counts:
    """Divide `total` seats in proportion to `counts` by largest remainders (Hamilton's method; ties by position).

    Args:
        counts: int64 [K], positive.
        total: how many seats; more are given if each class's one seat takes more, fewer if the ceilings allow no more.
        ceiling: int64 [K], at least 1: the most seats of each class.

    Returns:
        int64 [K], between 1 and `ceiling`.
    """
    quotas = total * (counts / counts.sum())
    seats: _Counts = np.clip(np.floor(quotas).astype(np.int64), 1, ceiling)
    missing = total - int(seats.sum())
    while missing != 0:
        step = 1 if missing > 0 else -1
        open_classes = np.flatnonzero(seats < ceiling if step > 0 else seats > 1)
        if len(open_classes) == 0:
            break
        most_deserving = np.argsort(-step * (quotas - seats)[open_classes], kind="stable")
        chosen = open_classes[most_deserving[: abs(missing)]]
        seats[chosen] += step
        missing -= step * len(chosen)
    return seats


def _require_enough(manifest: Manifest, counts: _Counts, wanted: list[int]) -> None:
    needed = 1 + len(wanted)
    small = np.flatnonzero(counts < needed)
    if len(small) == 0:
        return
    named = ", ".join(f"'{manifest.classes[k]}' ({counts[k]})" for k in small[:20])
    more = f" and {len(small) - 20} more" if len(small) > 20 else ""
    purposes = ["training", *("validation" if split == VALIDATION else "test" for split in reversed(wanted))]
    raise ClassesError(
        f"Too few images in {named}{more}: every class needs at least {needed}, "
        f"one each for {' and '.join(purposes)}. Add images, or take these classes out of the data."
    )
