"""Splitting whole groups: scenes, patients, duplicates. No group is divided, and class proportions hold as they can.

The grouped half of `split`. Three steps: groups are fixed so that every class stands in every split (`_cover`); groups
that are large or hold several classes are dealt one by one to the side that lacks them most, and dealt again where that
brings the proportions nearer; small groups of one class, which may be millions, are dealt at once. The measure is chi
square: squared distance from the fraction that is due, over that fraction, summed over the classes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnaeus.errors import ClassesError, SplitError

_REPAIRS = 1000
"""Steps of the search for a cover. Rare classes that share few groups may have none, which no number of steps finds."""
_SMALL = 0.05
"""A group of one class is small up to this part of what is due to the smaller side: any prefix of a random order is
then near enough."""
_SECOND_LOOKS, _MOST_SECOND_LOOKS = 4, 50_000

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Groups:
    """How many objects of which class each group has: entry e says that group_of[e] has count[e] of class_of[e].

    Entries lie group by group; those of group g are starts[g] to starts[g + 1].
    """

    group_of: _Ints
    class_of: _Ints
    count: _Ints
    starts: _Ints
    num_classes: int

    @property
    def num_groups(self) -> int:
        return len(self.starts) - 1

    def classes(self, group: int) -> _Ints:
        return self.class_of[self.starts[group] : self.starts[group + 1]]

    def sizes(self) -> _Floats:
        """float64 [G]: objects of each group."""
        return np.bincount(self.group_of, self.count, self.num_groups).astype(np.float64)

    def totals(self, chosen: npt.NDArray[np.bool_]) -> _Floats:
        """float64 [K]: objects of each class in the groups that bool [G] `chosen` names."""
        entries = chosen[self.group_of]
        return np.bincount(self.class_of[entries], self.count[entries], self.num_classes).astype(np.float64)


def divide_groups(
    groups: _Ints, targets: _Ints, *, fractions: list[float], most: list[int | None], names: tuple[str, ...], seed: int
) -> _Ints:
    """Deal whole groups to places: place 1 + k has about fractions[k] of the rows, place 0 what is left (training).

    Args:
        groups: int64 [N], any numbers. targets: int64 [N], classes 0..K-1, all of which occur.
        fractions: in (0, 1), their sum below 1; dealt in this order, each without regard to those after it.
        most: about so many rows at most in the place of that fraction; None for no bound.
        names: K class names, for the message.
        seed: the same seed deals the same.

    Returns:
        int64 [N] of places; in each place stands every class.

    Raises ClassesError for a class that occurs in fewer groups than there are places, SplitError if the groups that
    rare classes share cannot be dealt so that every place has every class.
    """
    _, compact = np.unique(groups, return_inverse=True)
    table = _tabulate(compact.reshape(-1), targets, len(names))
    rng = np.random.default_rng(seed)
    _require_enough_groups(table, len(fractions) + 1, names)
    fixed = _cover(table, len(fractions) + 1, names, rng)
    place = np.zeros(table.num_groups, np.int64)
    total = table.totals(np.ones(table.num_groups, bool))
    for number, (fraction, bound) in enumerate(zip(fractions, most, strict=True), 1):
        due = total * fraction
        if bound is not None and due.sum() > bound:
            due *= bound / due.sum()
        open_groups = (fixed < 0) & (place == 0)
        place[fixed == number] = number
        got = table.totals(fixed == number)
        place[_deal(table, open_groups, got=got, due=due, total=total, rng=rng)] = number
    return place[compact.reshape(-1)]


def _tabulate(groups: _Ints, targets: _Ints, num_classes: int) -> _Groups:
    pairs, count = np.unique(groups * num_classes + targets, return_counts=True)
    group_of, class_of = np.divmod(pairs, num_classes)
    starts = np.searchsorted(group_of, np.arange(group_of[-1] + 2))
    return _Groups(group_of, class_of, count.astype(np.int64), starts, num_classes)


def _require_enough_groups(table: _Groups, needed: int, names: tuple[str, ...]) -> None:
    occurrences = np.bincount(table.class_of, minlength=table.num_classes)
    small = np.flatnonzero(occurrences < needed)
    if len(small):
        listed = ", ".join(f"'{names[k]}' ({occurrences[k]})" for k in small[:20])
        more = f" and {len(small) - 20} more" if len(small) > 20 else ""
        raise ClassesError(
            f"Too few groups (scenes) with {listed}{more}: a group is never divided, so every class must occur in at "
            f"least {needed} of them, one for each split. Leave these classes out, or keep the most frequent only."
        )


def _cover(table: _Groups, num_places: int, names: tuple[str, ...], rng: np.random.Generator) -> _Ints:
    """int64 [G]: the place of each group that is fixed so that every place has every class, -1 for the others."""
    by_class = np.argsort(table.class_of, kind="stable")
    bounds = np.searchsorted(table.class_of[by_class], np.arange(table.num_classes + 1))
    members = [table.group_of[by_class[a:b]] for a, b in itertools.pairwise(bounds.tolist())]
    sizes = table.sizes()
    place = np.full(table.num_groups, -1, np.int64)
    present = np.zeros((num_places, table.num_classes), np.int64)

    def move(group: int, to: int) -> None:
        if place[group] >= 0:
            present[place[group], table.classes(group)] -= 1
        place[group] = to
        present[to, table.classes(group)] += 1

    def harm(group: int) -> int:
        return 0 if place[group] < 0 else int(np.sum(present[place[group], table.classes(group)] == 1))

    for k in np.argsort([len(groups) for groups in members], kind="stable").tolist():
        for to in range(num_places - 1, -1, -1):
            if present[to, k] == 0:
                free = members[k][place[members[k]] < 0]
                if len(free):  # of the smaller half, so that no split is filled up by what it must have
                    move(int(rng.choice(free[sizes[free] <= np.median(sizes[free])])), to)
    for _ in range(_REPAIRS):
        lacking = np.argwhere(present == 0)
        if len(lacking) == 0:
            return place
        to, k = lacking[rng.integers(len(lacking))].tolist()
        candidates = rng.permutation(members[k])[:20].tolist()
        if rng.random() < 0.9:  # as in WalkSAT (Selman, Kautz and Cohen, 1994): mostly the least harm, sometimes any
            candidates = [min(candidates, key=harm)]
        move(candidates[0], to)
    listed = ", ".join(f"'{names[k]}'" for k in sorted({int(k) for _, k in np.argwhere(present == 0)}))
    raise SplitError(
        f"The groups (scenes) cannot be divided so that every split has every class; {listed} would be missing from "
        "one. Rare classes share too few groups: leave some of them out."
    )


def _deal(
    table: _Groups,
    open_groups: npt.NDArray[np.bool_],
    *,
    got: _Floats,
    due: _Floats,
    total: _Floats,
    rng: np.random.Generator,
) -> npt.NDArray[np.bool_]:
    """bool [G]: the open groups that go to the place which has `got` and should have `due` of each class."""
    sizes = table.sizes()
    first = table.class_of[table.starts[:-1]]
    limit = np.maximum(1.0, _SMALL * np.minimum(due, total - due))
    small = open_groups & (np.diff(table.starts) == 1) & (sizes <= limit[first])
    singly = open_groups & ~small
    # What small groups can still make up is left to them: the others are dealt among themselves, in proportion.
    later, now = table.totals(small), table.totals(singly)
    missing = np.maximum(due - got, 0)
    fraction_now = np.divide(now, now + later, out=np.zeros_like(now), where=now + later > 0)
    taken = _deal_singly(table, singly, due=missing * fraction_now, available=now, rng=rng)

    missing -= table.totals(taken)
    order = rng.permutation(np.flatnonzero(small))
    order = order[np.argsort(first[order], kind="stable")]
    running = np.cumsum(sizes[order])
    before_class = np.concatenate([[0.0], np.cumsum(later)])[first[order]]
    middle = running - before_class - sizes[order] / 2
    taken[order[middle < missing[first[order]]]] = True
    return taken


def _deal_singly(
    table: _Groups,
    singly: npt.NDArray[np.bool_],
    *,
    due: _Floats,
    available: _Floats,
    rng: np.random.Generator,
) -> npt.NDArray[np.bool_]:
    """bool [G]: groups of `singly` taken so that their objects come near `due`, of those `available`, per class."""
    inside, outside = np.maximum(due, 0.5), np.maximum(available - due, 0.5)
    weight = 1 / inside + 1 / outside  # what one side has too much the other has too little
    over = -due.copy()
    takes = np.zeros(table.num_groups, bool)
    order = rng.permutation(np.flatnonzero(singly))
    order = order[np.argsort(-np.floor(np.log2(table.sizes()[order])), kind="stable")]  # large ones first
    seen = np.zeros_like(due)  # how much has been dealt; what is due of it grows with it
    part = np.divide(due, available, out=np.zeros_like(due), where=available > 0)
    for group in order.tolist():
        entries = slice(table.starts[group], table.starts[group + 1])
        k, count = table.class_of[entries], table.count[entries]
        seen[k] += count
        excess = over[k] + due[k] - seen[k] * part[k]
        if float(np.sum(count * (2 * excess + count) * weight[k])) < 0:
            takes[group] = True
            over[k] += count
    if len(order) <= _MOST_SECOND_LOOKS:
        for _ in range(_SECOND_LOOKS):
            changed = False
            for group in rng.permutation(order).tolist():
                entries = slice(table.starts[group], table.starts[group + 1])
                k, count = table.class_of[entries], table.count[entries]
                step = -count if takes[group] else count
                if float(np.sum(step * (2 * over[k] + step) * weight[k])) < -1e-9:
                    takes[group] ^= True
                    over[k] += step
                    changed = True
            if not changed:
                break
    return takes
