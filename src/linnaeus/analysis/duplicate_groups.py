"""Groups of duplicates: who is in them, in what way, with which labels, and which stand in two splits (leaks)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from linnaeus.analysis.duplicates import Unions, correlations, equal_groups, join_near_duplicates
from linnaeus.analysis.health import Health
from linnaeus.data.manifest import SPLITS, TEST, UNASSIGNED, VALIDATION, Manifest
from linnaeus.progress import SILENT, Progress

LEAST_PX = 32
"""Smaller images (digits, icons) have too few pixels to tell a copy from a likeness; only equal ones count there."""

_Rows = npt.NDArray[np.int64]


def find_groups(manifest: Manifest, health: Health, *, progress: Progress = SILENT) -> list[dict[str, Any]]:
    """Every group of duplicates; leaks first, then groups whose labels differ, then the larger ones.

    A group's `kind` is that of its loosest tie: "file" (equal bytes), "pixels" (equal when decoded) or "near". Each
    member's `relation` to the first says the same of that member: "first", "file", "pixels", "near" or "mirrored".
    """
    unions = Unions(len(manifest))
    for digests in (health.content, health.pixels):
        for group in equal_groups(digests):
            for row in group[1:].tolist():
                unions.join(int(group[0]), row)
    shown = np.flatnonzero(health.readable & (health.sizes.min(axis=1) >= LEAST_PX))
    join_near_duplicates(health.fingerprints, unions, rows=shown, progress=progress)
    groups = [_describe(manifest, health, rows) for rows in unions.groups()]
    return sorted(
        groups, key=lambda g: (not g["leak"], not g["labels_differ"], -len(g["members"]), g["members"][0]["row"])
    )


def _describe(manifest: Manifest, health: Health, rows: _Rows) -> dict[str, Any]:
    rows = rows[np.argsort(_held_out(manifest.splits[rows]), kind="stable")]
    relations = _relations(health, rows)
    labels = [labels_of(manifest, row) for row in rows.tolist()]
    splits = sorted({int(split) for split in manifest.splits[rows]} - {UNASSIGNED})
    found = set(relations[1:])
    kind = "near" if found & {"near", "mirrored"} else "pixels" if "pixels" in found else "file"
    return {
        "kind": kind,
        "leak": len(splits) > 1,
        "labels_differ": any(some != labels[0] for some in labels),
        "splits": [SPLITS[split] for split in splits],
        "members": [
            {
                "row": row,
                "id": manifest.ids[row].as_py(),
                "split": None if manifest.splits[row] == UNASSIGNED else SPLITS[manifest.splits[row]],
                "labels": own,
                "relation": relation,
            }
            for row, own, relation in zip(rows.tolist(), labels, relations, strict=True)
        ],
    }


def labels_of(manifest: Manifest, row: int) -> list[str]:
    """Names of the classes of one image."""
    if manifest.task == "single":
        return [manifest.classes[int(manifest.targets[row])]]
    return [manifest.classes[k] for k in np.flatnonzero(manifest.targets[row]).tolist()]


def _held_out(splits: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    return np.where(splits == UNASSIGNED, 0, splits).astype(np.int8)


def _relations(health: Health, rows: _Rows) -> list[str]:
    first, rest = int(rows[0]), rows[1:]
    same_file = (health.content[rest] == health.content[first]).all(axis=1) & health.content[first].any()
    same_pixels = (health.pixels[rest] == health.pixels[first]).all(axis=1) & health.pixels[first].any()
    plain, mirrored = correlations(health.fingerprints[first], health.fingerprints[rest])
    words = np.where(mirrored > plain, "mirrored", "near")
    words = np.where(same_file, "file", np.where(same_pixels, "pixels", words))
    return ["first", *map(str, words)]


def summarise_leaks(manifest: Manifest, groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Held-out images that have a copy in a split the model learns from or is chosen by.

    `test`: test images with a copy in training or validation; `validation`: validation images with one in training.
    Each with its number and its fraction of the split; `test_rows` names them.
    """
    affected: dict[int, list[int]] = {TEST: [], VALIDATION: []}
    leaks = [group for group in groups if group["leak"]]
    for group in leaks:
        for member in group["members"]:
            split = SPLITS.index(member["split"]) if member["split"] else UNASSIGNED
            if split in affected and any(SPLITS.index(other) < split for other in group["splits"]):
                affected[split].append(member["row"])
    return {
        "num_groups": len(leaks),
        **{
            SPLITS[split]: {
                "num_images": len(rows),
                "fraction": round(len(rows) / max(1, len(manifest.rows(split))), 6),
            }
            for split, rows in affected.items()
        },
        "test_rows": sorted(affected[TEST]),
    }
