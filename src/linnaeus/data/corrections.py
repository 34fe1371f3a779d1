"""Corrections: what a person decided about labels, as a small CSV beside a run, and what it makes of a manifest.

Between sources and split in the life of an image: source -> manifest -> CORRECTIONS -> split. The data itself is never
written to; `linnaeus train --corrections corrections.csv` puts the decisions on top of it. Knows nothing of pages or
models.

    id         of the image, as in the manifest; for a new image its path
    given      the labels it had
    decision   accept, relabel, exclude, skip, or label (an image that is not in the data yet)
    labels     the labels it should have
    time       of the decision, ISO 8601, UTC

`given` and `labels` hold a class name, or where images have several labels a JSON list of names.
"""

from __future__ import annotations

import csv
import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from linnaeus.atomic import write_whole
from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, Manifest, Task, concatenate
from linnaeus.errors import ClassesError, DataError, nearest_name
from linnaeus.run_folder import RunDir

COLUMNS = ("id", "given", "decision", "labels", "time")
ACCEPT, RELABEL, EXCLUDE, SKIP, LABEL = "accept", "relabel", "exclude", "skip", "label"
DECISIONS = (ACCEPT, RELABEL, EXCLUDE, SKIP, LABEL)
_DONE = {ACCEPT: "found right", RELABEL: "relabelled", EXCLUDE: "excluded", SKIP: "skipped", LABEL: "new"}


@dataclass(frozen=True)
class Correction:
    """One row of the file; `given` and `labels` as the file spells them."""

    id: str
    given: str
    decision: str
    labels: str
    time: str


def spell_labels(names: Sequence[str], task: Task) -> str:
    """Class names as a cell of the file: the name, or where images have several labels a JSON list."""
    if task == "multi":
        return json.dumps(list(names), ensure_ascii=False)
    return names[0] if names else ""


def write_corrections(path: Path, corrections: Iterable[Correction]) -> None:
    """Write the CSV, whole or not at all. Raises OutputError if it cannot be written."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(dataclasses.astuple(correction) for correction in corrections)

    write_whole(path, write)


def read_corrections(path: Path) -> list[Correction]:
    """The decisions in a file, in order; `given` and `time` may be left out.

    Raises DataError, naming file and row, where it cannot be read, lacks a column, holds a decision that does not exist
    or decides about an image twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            names = list(reader.fieldnames or [])
            rows = list(reader)
    except OSError as error:
        raise DataError(f"Cannot read the corrections {path}: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file of corrections: {error}") from error
    for name in ("id", "decision", "labels"):
        if name not in names:
            raise DataError(
                f"{path} has no column '{name}'.{nearest_name(name, names)} Corrections have the columns "
                f"{', '.join(COLUMNS)}."
            )
    found: dict[str, Correction] = {}
    for number, row in enumerate(rows, start=2):
        if row["decision"] not in DECISIONS:
            raise DataError(
                f"{path}, line {number}: there is no decision '{row['decision']}'."
                f"{nearest_name(row['decision'], DECISIONS)} Decisions: {', '.join(DECISIONS)}."
            )
        if row["id"] in found:
            raise DataError(f"{path}, line {number}: {row['id']} has a decision already, in a line above.")
        found[row["id"]] = Correction(**{name: row.get(name, "") for name in COLUMNS})
    return list(found.values())


def apply_corrections(manifest: Manifest, path: Path) -> Manifest:
    """The manifest with the decisions of a file: labels changed, excluded rows left out, new images added for training.

    Where the file lies in a run, every row comes into the split it had there: scores before and after are then of the
    same images, and new images, which were chosen for being hard, only train. What was done is a note of the manifest,
    with numbers. Raises DataError where ids fit no row, naming them, or a file of a new image is gone; ClassesError,
    with the nearest name, where there is no such class.
    """
    corrections = [correction for correction in read_corrections(path) if correction.decision != SKIP]
    ids = pa.array([correction.id for correction in corrections], pa.large_string())
    rows = pc.index_in(ids, value_set=manifest.ids).fill_null(-1).to_numpy(zero_copy_only=False)
    new = [c for c, row in zip(corrections, rows.tolist(), strict=True) if row < 0 and c.decision == LABEL]
    strangers = [c.id for c, row in zip(corrections, rows.tolist(), strict=True) if row < 0 and c.decision != LABEL]
    if strangers:
        more = f" and {len(strangers) - 3:,} more" if len(strangers) > 3 else ""
        raise DataError(
            f"{len(strangers):,} of {len(corrections):,} corrections in {path} are of images that are not in the data: "
            f"{', '.join(strangers[:3])}{more}. Corrections belong to the data that the reviewed run was trained on."
        )
    manifest, same_splits = _with_splits_of_run(manifest, path)
    targets, excluded, counts = manifest.targets.copy(), np.zeros(len(manifest), np.bool_), Counter[str]()
    tested = 0
    for correction, row in zip(corrections, rows.tolist(), strict=True):
        if row < 0:
            continue
        if correction.decision == EXCLUDE:
            excluded[row] = True
        elif correction.decision in (RELABEL, LABEL):
            target = _target(correction, manifest, path)
            tested += int(manifest.splits[row] == TEST and not np.array_equal(target, targets[row]))
            targets[row] = target
        counts[RELABEL if correction.decision == LABEL else correction.decision] += 1
    corrected = dataclasses.replace(manifest, targets=targets)
    if excluded.any():
        skipped = {**manifest.skipped, "excluded by corrections": int(excluded.sum())}
        corrected = dataclasses.replace(corrected.take(np.flatnonzero(~excluded)), skipped=skipped)
    if new:
        corrected = concatenate(corrected, _new_rows(new, corrected, path))
        counts[LABEL] = len(new)
    done = ", ".join(f"{counts[decision]:,} {words}" for decision, words in _DONE.items() if counts[decision])
    note = f"Corrections from {path}: {done or 'none'}."
    if same_splits:
        note += " Every image stays in the split it had in that run."
    if tested:
        note += f" {tested:,} of them changed labels of test images, so scores differ from those before."
    return dataclasses.replace(corrected, notes=(*corrected.notes, note))


def _with_splits_of_run(manifest: Manifest, path: Path) -> tuple[Manifest, bool]:
    """The manifest in the splits of the run that the file lies in, if it lies in one, and whether it does."""
    file = RunDir(path.parent).manifest
    if not file.is_file():
        return manifest, False
    before = Manifest.load(file)
    rows = pc.index_in(manifest.ids, value_set=before.ids).fill_null(-1).to_numpy(zero_copy_only=False)
    theirs = np.where(rows >= 0, before.splits[rows], UNASSIGNED)
    return manifest.with_splits(np.where(theirs != UNASSIGNED, theirs, manifest.splits)), True


def _target(correction: Correction, manifest: Manifest, path: Path) -> int | npt.NDArray[np.uint8]:
    """The position of its class, or uint8 [K] of 0 and 1."""
    names = [correction.labels]
    if manifest.task == "multi" and correction.labels not in manifest.classes:
        try:
            names = json.loads(correction.labels)
        except ValueError:
            names = [correction.labels]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(
                f"{path}: the labels of {correction.id} should be a JSON list of names, not {correction.labels}."
            )
    for name in names:
        if name not in manifest.classes:
            raise ClassesError(
                f"{path}: {correction.id} is labelled '{name}', which is no class of the data."
                f"{nearest_name(name, manifest.classes)}"
            )
    if manifest.task == "single":
        return manifest.classes.index(names[0])
    return np.isin(np.array(manifest.classes, dtype=object), names).astype(np.uint8)


def _new_rows(new: list[Correction], manifest: Manifest, path: Path) -> Manifest:
    if manifest.boxes is not None:
        raise DataError(f"{path} labels whole new images, but the samples of the data are boxes in images.")
    gone = [correction.id for correction in new if not Path(correction.id).is_file()]
    if gone:
        raise DataError(f"{path} labels {len(gone):,} new images that are not there, such as {gone[0]}.")
    ids = pa.array([correction.id for correction in new], pa.large_string())
    first = 0 if manifest.groups is None or not len(manifest) else int(manifest.groups.max()) + 1
    targets = np.resize(manifest.targets, (len(new), *manifest.targets.shape[1:]))
    for row, correction in enumerate(new):
        targets[row] = _target(correction, manifest, path)
    return Manifest(
        ids=ids,
        uris=ids,
        targets=targets,
        splits=np.full(len(new), TRAIN, np.int8),
        classes=manifest.classes,
        task=manifest.task,
        groups=None if manifest.groups is None else np.arange(first, first + len(new)),
    )
