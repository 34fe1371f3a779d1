"""Intake: from what the user named to rows that can be trained on, divided, with unreadable images set aside."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np

from linnaeus.atomic import write_whole
from linnaeus.config.settings import DataConfig
from linnaeus.data.cache.images import CachedImages
from linnaeus.data.copies import Copies
from linnaeus.data.corrections import apply_corrections
from linnaeus.data.manifest import SPLITS, TEST, TRAIN, UNASSIGNED, Manifest, concatenate
from linnaeus.data.sources import read_source, read_test_source
from linnaeus.data.sources.options import SourceOptions
from linnaeus.data.splits.stratified import assign_splits
from linnaeus.errors import ClassesError, NoImagesError, SplitError

_MOST_LABELS = 6
MOST_NOTES = 3
"""Of the reader's notes so many are printed before training. With what `describe_copies` finds, ten lines at most tell
what is wrong with the data; `linnaeus inspect` tells all."""


def read_manifest(config: DataConfig, manifest: Manifest | None = None) -> Manifest:
    """The rows of `config.source` (or the given ones), with those of `config.test_data` as the test split if it is
    named, and with the corrections of `config.corrections`.

    With a separate test set, test rows of the source itself are left out (UNASSIGNED).
    """
    found = _read_rows(config, manifest)
    for path in config.corrections:
        found = apply_corrections(found, Path(path).expanduser())
    return found


def _read_rows(config: DataConfig, manifest: Manifest | None) -> Manifest:
    options = source_options(config)
    found = read_source(config.source, format=config.format, options=options) if manifest is None else manifest
    if config.test_data is None:
        return found
    own = np.where(found.splits == TEST, UNASSIGNED, found.splits).astype(np.int8)
    rows = np.flatnonzero(found.splits != TEST)
    return concatenate(
        found.with_splits(own).take(rows), read_test_source(config.test_data, found.classes, options=options)
    )


def source_options(config: DataConfig) -> SourceOptions:
    """What the configuration says where a reader would guess."""
    return SourceOptions(
        image_column=config.image_column,
        label_columns=tuple(config.label_columns),
        image_root=None if config.image_root is None else Path(config.image_root).expanduser(),
        image_shape=None if config.image_shape is None else tuple(config.image_shape),
        classes=tuple(config.classes),
        top_classes=config.top_classes,
        box_padding=config.box_padding,
        min_box_size_px=config.min_box_size_px,
    )


def divide(manifest: Manifest, config: DataConfig, *, seed: int) -> Manifest:
    """Put every row in a split as the configuration says; splits that the data brought stay."""
    return assign_splits(
        manifest,
        validation_fraction=config.validation_fraction,
        validation_max=config.validation_max,
        test_fraction=config.test_fraction,
        seed=seed,
    )


def set_aside_unreadable(
    manifest: Manifest, cache: CachedImages, config: DataConfig, *, seed: int, original: Manifest
) -> Manifest:
    """The same rows, in which unreadable ones are UNASSIGNED and the others divided again as if those were not there.

    `original` is the manifest with only the splits that the data brought. Raises NoImagesError if nothing is readable,
    ClassesError if a class has too few readable images.
    """
    if cache.readable.all():
        return manifest
    if not cache.readable.any():
        first = next(iter(cache.problems.items()), (0, "no reason known"))
        raise NoImagesError(
            f"None of the {len(manifest):,} images can be read. The first, {manifest.ids[first[0]].as_py()}: {first[1]}"
        )
    rows = np.flatnonzero(cache.readable)
    divided = divide(original.take(rows), config, seed=seed)
    splits = np.full(len(manifest), UNASSIGNED, np.int8)
    splits[rows] = divided.splits
    return manifest.with_splits(splits)


def keep_together(
    manifest: Manifest, copies: Copies, cache: CachedImages, config: DataConfig, *, seed: int, original: Manifest
) -> Manifest:
    """The same rows, divided again with copies in one split if the division made here had parted any.

    `original` is the manifest with only the splits that the data brought; those stay. Where whole groups of copies
    cannot be divided (a class that is nothing but copies), the division stays as it is, with a note that says so.
    """
    ours = np.isin(original.splits, (TRAIN, UNASSIGNED)) & cache.readable
    parted = any(len(np.unique(manifest.splits[group[ours[group]]])) > 1 for group in copies.groups)
    if not parted:
        return manifest
    rows = np.flatnonzero(cache.readable)
    grouped = dataclasses.replace(original, groups=copies.groups_with(original.groups))
    try:
        divided = divide(grouped.take(rows), config, seed=seed)
    except (SplitError, ClassesError) as error:
        note = f"Copies stand in several splits, because they cannot be kept together: {error}"
        return dataclasses.replace(manifest, notes=(*manifest.notes, note))
    splits = np.full(len(manifest), UNASSIGNED, np.int8)
    splits[rows] = divided.splits
    return manifest.with_splits(splits)


def write_quarantine(path: Path, manifest: Manifest, cache: CachedImages) -> None:
    """CSV of the images that could not be decoded: id, uri, reason."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "uri", "reason"])
            for row, reason in sorted(cache.problems.items()):
                writer.writerow([manifest.ids[row].as_py(), manifest.uris[row].as_py(), reason])

    write_whole(path, write)


def read_quarantine(path: Path) -> list[tuple[str, str]]:
    """(id, reason) of each; empty if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["id"], row["reason"]) for row in csv.DictReader(file)]


def describe(manifest: Manifest, *, width: int, height: int) -> list[str]:
    """What was found, in a few lines for the terminal."""
    counts = manifest.class_counts()
    order = np.argsort(-counts, kind="stable")
    named = [f"{manifest.classes[k]} {counts[k]:,}" for k in order]
    if len(named) > 12:
        named = [*named[:8], f"... {len(named) - 11} more ...", *named[-3:]]
    splits = ", ".join(f"{len(manifest.rows(k)):,} {name}" for k, name in enumerate(SPLITS))
    several = manifest.task == "multi"
    what = "labels" if several else "classes"
    lines = [
        f"{len(manifest):,} images of {manifest.num_classes} {what}, {width} x {height} px (median): {splits}",
        f"{what.capitalize()}: {', '.join(named)}",
    ]
    if several:
        lines.append(_labels_per_image(manifest))
    told = " ".join(manifest.notes).lower()
    untold = {why: count for why, count in manifest.skipped.items() if why.lower() not in told}
    if untold:
        lines.append("Skipped: " + ", ".join(f"{count:,} {why}" for why, count in untold.items()))
    more = len(manifest.notes) - MOST_NOTES
    return [*lines, *manifest.notes[:MOST_NOTES], *([f"{more} more: linnaeus inspect"] if more > 0 else [])]


def _labels_per_image(manifest: Manifest) -> str:
    """How many labels images have, those without any among them, in a sentence."""
    numbers = np.bincount(manifest.targets.sum(axis=1, dtype=np.int64), minlength=2).tolist()
    if len(numbers) > _MOST_LABELS:
        numbers = [*numbers[:_MOST_LABELS], sum(numbers[_MOST_LABELS:])]
    words = ["no label", "1 label", *(f"{k} labels" for k in range(2, len(numbers)))]
    if len(numbers) > _MOST_LABELS:
        words[-1] += " or more"
    shown = [f"{number:,} with {word}" for number, word in zip(numbers, words, strict=True) if number]
    return f"Labels per image: {', '.join(shown)}{'' if numbers[0] else '; none is without'}"
