"""Splitting images with several labels, and groups of them: rare labels come into every part.

The half of `split` and `folds` for several labels. Iterative stratification: Sechidis, Tsoumakas and Vlahavas, "On the
Stratification of Multi-Label Data" (ECML PKDD 2011, algorithm 1). The label that fewest undealt images have is dealt
first, each image to the part that lacks that label most; images without labels fill up what is missing at the end.
Two things are added. Images with the very same labels can stand for each other, so whole parts of them are dealt at
once, which makes a million images a matter of seconds. And where a part got none of a label that is frequent enough
for all, one image is moved. A group (a scene, a patient, copies) is one unit, and is never divided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnaeus.errors import SplitError

Labels = npt.NDArray[np.uint8]
_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Units:
    """What is dealt whole. Entry e says that count[e] images of unit unit_of[e] have the label label_of[e].

    Entries lie unit by unit; those of unit u are starts[u] to starts[u + 1]. `sizes`: images of each unit.
    """

    unit_of: _Ints
    label_of: _Ints
    count: _Ints
    starts: _Ints
    sizes: _Ints
    num_labels: int

    def __len__(self) -> int:
        return len(self.sizes)

    def take(self, chosen: _Ints) -> _Units:
        """Those units, in ascending order."""
        new = np.full(len(self), -1, np.int64)
        new[chosen] = np.arange(len(chosen))
        entries = new[self.unit_of] >= 0
        unit_of = new[self.unit_of[entries]]
        return _units(unit_of, self.label_of[entries], self.count[entries], self.sizes[chosen], self.num_labels)

    def label_totals(self) -> _Floats:
        """float64 [K]: images with each label."""
        return np.bincount(self.label_of, self.count, self.num_labels).astype(np.float64)

    def label_units(self, place: _Ints, num_parts: int) -> _Ints:
        """int64 [P, K]: units with each label in each part."""
        cells = place[self.unit_of] * self.num_labels + self.label_of
        return np.bincount(cells, minlength=num_parts * self.num_labels).reshape(num_parts, self.num_labels)


def divide_labels(
    targets: Labels, *, fractions: list[float], most: list[int | None], seed: int, groups: _Ints | None = None
) -> _Ints:
    """Deal rows, or whole groups, to places: place 1 + k has about fractions[k] of the rows and of each label's images.

    Args:
        targets: uint8 [N, K] of 0 and 1; rows of zeros are dealt like the others.
        fractions: in (0, 1), their sum below 1; dealt in this order, each without regard to those after it.
        most: about so many rows at most in the place of that fraction; None for no bound.
        seed: the same seed deals the same.
        groups: int64 [N], any numbers; None where every row stands alone.

    Returns int64 [N] of places, 0 for what is left (training). A label that too few units have for all places stands in
    training first, then in the places in their order. Raises SplitError for fewer units than places.
    """
    units, unit_of_row = _tabulate(targets, groups)
    if len(units) <= len(fractions):
        raise SplitError(
            f"{len(units):,} images (or groups of them) cannot be divided into {len(fractions) + 1} splits; one is "
            "needed for each."
        )
    place = np.zeros(len(units), np.int64)
    total, num_rows = units.label_totals(), float(units.sizes.sum())
    for number, (fraction, bound) in enumerate(zip(fractions, most, strict=True), 1):
        undealt = np.flatnonzero(place == 0)
        rest = units.take(undealt)
        size = fraction * num_rows if bound is None else min(fraction * num_rows, bound)
        still_to_serve = len(fractions) - number + 1  # the places after this one, and training
        left = np.bincount(rest.label_of, minlength=rest.num_labels)  # units with each label
        kept_back = np.minimum(still_to_serve, np.maximum(left - 1, 1))
        least = np.stack([np.minimum(left, kept_back), np.clip(left - kept_back, 0, 1)])
        due = np.clip(total * (size / num_rows), least[1], np.maximum(rest.label_totals() - least[0], least[1]))
        due_rows = np.array([rest.sizes.sum() - size, size])
        rng = np.random.default_rng([seed, number])
        place[undealt[_deal(rest, np.stack([rest.label_totals() - due, due]), due_rows, least, rng) == 1]] = number
    _train_on_every_label(units, place)
    return place[unit_of_row]


def _train_on_every_label(units: _Units, place: _Ints) -> None:
    """Give training (place 0) one unit of each label it has none of, whatever a smaller part then lacks: a label that
    is never seen cannot be learned, and its test images would only count as mistakes.
    """
    for label in np.flatnonzero(np.bincount(units.label_of, minlength=units.num_labels)):
        with_label = units.unit_of[units.label_of == label]
        if not (place[with_label] == 0).any():
            num_labels = units.starts[with_label + 1] - units.starts[with_label]
            place[with_label[num_labels.argmin()]] = 0


def multilabel_folds(targets: Labels, *, num_folds: int, seed: int, groups: _Ints | None = None) -> _Ints:
    """The fold of each row, int64 [N] in 0 to F - 1, with about the same fraction of every label in each.

    Args:
        targets: uint8 [N, K] of 0 and 1.
        num_folds: F, at least 2.
        seed: the same seed deals the same.
        groups: int64 [N], never divided; None where every row stands alone.

    A label with fewer images (or groups with it) than folds is missing from some. Raises SplitError for fewer rows or
    groups than folds.
    """
    units, unit_of_row = _tabulate(targets, groups)
    if len(units) < num_folds:
        what = "images" if groups is None else "groups of images that belong together"
        raise SplitError(f"{len(units)} {what} cannot be divided into {num_folds} folds. Take fewer with --folds.")
    due = np.tile(units.label_totals() / num_folds, (num_folds, 1))
    due_rows = np.full(num_folds, units.sizes.sum() / num_folds)
    enough = np.bincount(units.label_of, minlength=units.num_labels) >= num_folds
    least = np.tile(enough.astype(np.int64), (num_folds, 1))
    return _deal(units, due, due_rows, least, np.random.default_rng(seed))[unit_of_row]


def scarce_labels(targets: Labels, *, needed: int, classes: tuple[str, ...], groups: _Ints | None = None) -> str | None:
    """Name the labels with fewer images (or groups with them) than `needed`, in a sentence; None if there are none."""
    units, _ = _tabulate(targets, groups)
    found = np.bincount(units.label_of, minlength=units.num_labels)
    few = np.flatnonzero(found < needed)
    if not len(few):
        return None
    named = ", ".join(f"'{classes[k]}' ({found[k]})" for k in few[:20])
    more = f" and {len(few) - 20} more" if len(few) > 20 else ""
    what = "images" if groups is None else "groups of images"
    return f"Too few {what} to stand in training, validation and test: {named}{more}; of such labels little can be said"


def _tabulate(targets: Labels, groups: _Ints | None) -> tuple[_Units, _Ints]:
    """The units, and int64 [N], the unit of each row."""
    rows, labels = np.nonzero(targets)
    num_rows, num_labels = targets.shape
    if groups is None:
        ones = np.ones(len(rows), np.int64)
        return _units(rows, labels, ones, np.ones(num_rows, np.int64), num_labels), np.arange(num_rows)
    _, unit_of_row = np.unique(groups, return_inverse=True)
    unit_of_row = unit_of_row.reshape(-1)
    pairs, count = np.unique(unit_of_row[rows] * num_labels + labels, return_counts=True)
    unit_of, label_of = np.divmod(pairs, num_labels)
    return _units(unit_of, label_of, count.astype(np.int64), np.bincount(unit_of_row), num_labels), unit_of_row


def _units(unit_of: _Ints, label_of: _Ints, count: _Ints, sizes: _Ints, num_labels: int) -> _Units:
    starts = np.searchsorted(unit_of, np.arange(len(sizes) + 1))
    return _Units(unit_of, label_of, count, starts, sizes, num_labels)


def _deal(units: _Units, due: _Floats, due_rows: _Floats, least: _Ints, rng: np.random.Generator) -> _Ints:
    """int64 [U]: the part of each unit.

    Args:
        due: float64 [P, K], images of each label that each part should have; their sum over parts is all of them.
        due_rows: float64 [P], images in all that each part should have.
        least: int64 [P, K], fewest units of each label in each part, where that can be.
    """
    place = _deal_alike(units, due_rows / due_rows.sum(), rng)
    dealt = place >= 0
    parts, labels = place[units.unit_of], units.label_of
    got = np.zeros_like(due)
    np.add.at(got, (parts[parts >= 0], labels[parts >= 0]), units.count[parts >= 0])
    got_rows = np.bincount(place[dealt], units.sizes[dealt], len(due))
    rest = np.flatnonzero(~dealt)
    place[rest] = _deal_iteratively(units.take(rest), due - got, due_rows - got_rows, rng)
    _mend(units, place, least, rng)
    return place


def _deal_alike(units: _Units, fractions: _Floats, rng: np.random.Generator) -> _Ints:
    """int64 [U]: of n units with the very same labels and size, floor(n * fraction) to each part; -1 for the others."""
    # A hash instead of the labels themselves: should two differ and agree in it, the fractions are merely less exact.
    weights = rng.integers(0, 2**64, units.num_labels + 1, np.uint64)
    running = np.cumsum(weights[units.label_of] * units.count.astype(np.uint64), dtype=np.uint64)
    running = np.concatenate([np.zeros(1, np.uint64), running])
    keys = running[units.starts[1:]] - running[units.starts[:-1]] + weights[-1] * units.sizes.astype(np.uint64)
    _, kind, number = np.unique(keys, return_inverse=True, return_counts=True)
    order = rng.permutation(len(units))
    order = order[np.argsort(kind[order], kind="stable")]
    position = np.arange(len(units)) - np.repeat(np.cumsum(number) - number, number)
    ends = np.cumsum(np.floor(number[:, None] * fractions + 1e-9).astype(np.int64), axis=1)  # [kinds, P]
    part = (position[:, None] >= ends[kind[order]]).sum(axis=1)
    place = np.empty(len(units), np.int64)
    place[order] = np.where(part < len(fractions), part, -1)
    return place


def _deal_iteratively(units: _Units, due: _Floats, due_rows: _Floats, rng: np.random.Generator) -> _Ints:
    """int64 [U]: algorithm 1 of the paper. Plain lists: an image is a microsecond, with arrays it would be ten."""
    num_parts = len(due)
    turn = rng.permutation(num_parts)  # parts that lack equally much are served in this order
    lacking, lacking_rows = due[turn].T.tolist(), due_rows[turn].tolist()
    order = rng.permutation(len(units))
    order = order[np.argsort(-units.sizes[order], kind="stable")]  # large ones first
    rank = np.empty(len(units), np.int64)
    rank[order] = np.arange(len(units))
    by_label = np.lexsort((rank[units.unit_of], units.label_of))
    bounds = np.searchsorted(units.label_of[by_label], np.arange(units.num_labels + 1)).tolist()
    members = units.unit_of[by_label]
    starts, labels, counts, sizes = (a.tolist() for a in (units.starts, units.label_of, units.count, units.sizes))
    undealt = np.diff(bounds).tolist()
    place = [-1] * len(units)

    def serve(unit: int, most_lacking: list[float]) -> None:
        best = 0
        for part in range(1, num_parts):
            if most_lacking[part] > most_lacking[best] or (
                most_lacking[part] == most_lacking[best] and lacking_rows[part] > lacking_rows[best]
            ):
                best = part
        place[unit] = best
        lacking_rows[best] -= sizes[unit]
        for entry in range(starts[unit], starts[unit + 1]):
            lacking[labels[entry]][best] -= counts[entry]
            undealt[labels[entry]] -= 1

    while any(undealt):
        rarest = min((number, label) for label, number in enumerate(undealt) if number)[1]
        for unit in members[bounds[rarest] : bounds[rarest + 1]].tolist():
            if place[unit] < 0:
                serve(unit, lacking[rarest])
    for unit in order.tolist():
        if place[unit] < 0:
            serve(unit, lacking_rows)
    return turn[np.array(place, np.int64)] if place else np.zeros(0, np.int64)


def _mend(units: _Units, place: _Ints, least: _Ints, rng: np.random.Generator) -> None:
    """Move single units to parts that have less than the least of a label, where no other part then has too little."""
    present = units.label_units(place, len(least))
    for part, label in np.argwhere(present < least).tolist():
        with_label = units.unit_of[units.label_of == label]
        for unit in rng.permutation(with_label[place[with_label] != part]).tolist():
            if present[part, label] >= least[part, label]:
                break
            has = units.label_of[units.starts[unit] : units.starts[unit + 1]]
            old = place[unit]
            if (present[old, has] > least[old, has]).all():
                present[old, has] -= 1
                present[part, has] += 1
                place[unit] = part
