"""Groups of duplicates: who is in them, in what way, with which labels, and which stand in two splits (leaks)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnaeus.analysis.audit_types import Duplicate, DuplicateGroup, LeakCount, Leaks, Relation, Tie
from linnaeus.analysis.duplicates import correlations, equal_groups, join_groups, near_duplicates
from linnaeus.analysis.health import Health
from linnaeus.data.manifest import SPLITS, TEST, UNASSIGNED, VALIDATION, Manifest
from linnaeus.progress import SILENT, Progress

LEAST_PX = 32
"""Smaller images (digits, icons) have too few pixels to tell a copy from a likeness; only equal ones count there."""

_Rows = npt.NDArray[np.int64]


def find_groups(manifest: Manifest, health: Health, *, progress: Progress = SILENT) -> list[DuplicateGroup]:
    """Every group of duplicates; leaks first, then groups whose labels differ, then the larger ones."""
    shown = np.flatnonzero(health.readable & (health.sizes.min(axis=1) >= LEAST_PX))
    alike = [
        *equal_groups(health.content),
        *equal_groups(health.pixels),
        *near_duplicates(health.fingerprints, rows=shown, progress=progress),
    ]
    groups = [_describe(manifest, health, rows) for rows in join_groups(alike)]
    return sorted(groups, key=lambda g: (not g.leak, not g.labels_differ, -len(g.members), g.members[0].row))


def _describe(manifest: Manifest, health: Health, rows: _Rows) -> DuplicateGroup:
    rows = rows[np.argsort(_held_out(manifest.splits[rows]), kind="stable")]
    relations = _relations(health, rows)
    labels = [labels_of(manifest, row) for row in rows.tolist()]
    splits = sorted({int(split) for split in manifest.splits[rows]} - {UNASSIGNED})
    found = set(relations[1:])
    kind: Tie = "near" if found & {"near", "mirrored"} else "pixels" if "pixels" in found else "file"
    return DuplicateGroup(
        kind=kind,
        leak=len(splits) > 1,
        labels_differ=any(some != labels[0] for some in labels),
        splits=[SPLITS[split] for split in splits],
        members=[
            Duplicate(
                row=row,
                id=manifest.ids[row].as_py(),
                split=None if manifest.splits[row] == UNASSIGNED else SPLITS[manifest.splits[row]],
                labels=own,
                relation=relation,
            )
            for row, own, relation in zip(rows.tolist(), labels, relations, strict=True)
        ],
    )


def labels_of(manifest: Manifest, row: int) -> list[str]:
    """Names of the classes of one image."""
    if manifest.task == "single":
        return [manifest.classes[int(manifest.targets[row])]]
    return [manifest.classes[k] for k in np.flatnonzero(manifest.targets[row]).tolist()]


def _held_out(splits: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    return np.where(splits == UNASSIGNED, 0, splits).astype(np.int8)


def _relations(health: Health, rows: _Rows) -> list[Relation]:
    first, rest = int(rows[0]), rows[1:]
    same_file = (health.content[rest] == health.content[first]).all(axis=1) & health.content[first].any()
    same_pixels = (health.pixels[rest] == health.pixels[first]).all(axis=1) & health.pixels[first].any()
    plain, mirrored = correlations(health.fingerprints[first], health.fingerprints[rest])
    ties: tuple[Relation, ...] = ("file", "pixels", "mirrored", "near")
    chosen = np.select([same_file, same_pixels, mirrored > plain], [0, 1, 2], 3)
    return ["first", *(ties[k] for k in chosen.tolist())]


def summarise_leaks(manifest: Manifest, groups: list[DuplicateGroup]) -> Leaks:
    """Held-out images with a duplicate in a split that is used for training or for choosing the model."""
    affected: dict[int, list[int]] = {TEST: [], VALIDATION: []}
    leaks = [group for group in groups if group.leak]
    for group in leaks:
        for member in group.members:
            split = SPLITS.index(member.split) if member.split else UNASSIGNED
            if split in affected and any(SPLITS.index(other) < split for other in group.splits):
                affected[split].append(member.row)

    def count(split: int) -> LeakCount:
        num = len(affected[split])
        return LeakCount(num_images=num, fraction=round(num / max(1, len(manifest.rows(split))), 6))

    return Leaks(
        num_groups=len(leaks), test=count(TEST), validation=count(VALIDATION), test_rows=sorted(affected[TEST])
    )
