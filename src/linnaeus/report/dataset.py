"""What the data is: images by split and class, what was passed over, what could not be read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnaeus.data.manifest import TEST, TRAIN, VALIDATION
from linnaeus.report.facts import ReportFacts
from linnaeus.report.gallery import Picture, make_samples
from linnaeus.report.wording import count, plural

MOST_PROBLEMS = 20
_NAMES = {TRAIN: "Training", VALIDATION: "Validation", TEST: "Test"}
_RESIZED = {
    "squash": "stretched to",
    "crop": "the centre cut out and brought to",
    "pad": "shown whole on a grey square of",
    "letterbox": "shown whole, and never enlarged, on a grey square of",
}


@dataclass(frozen=True)
class Split:
    """One part of the data. `fraction`: of all its images, 0-1."""

    name: str
    style: str
    num_images: str
    fraction: float


@dataclass(frozen=True)
class ClassRow:
    """Images of one class per split. `widths` are fractions 0-1 of the largest class."""

    name: str
    numbers: tuple[str, str, str]
    widths: tuple[float, float, float]
    total: str


@dataclass(frozen=True)
class DataSection:
    """Everything the section shows. `words`: "class" and "classes", or "label" and "labels"."""

    words: tuple[str, str]
    total: str
    num_classes: str
    splits: list[Split]
    rows: list[ClassRow]
    smallest: tuple[str, str]
    largest: tuple[str, str]
    size: str | None
    samples: list[Picture]
    skipped: list[tuple[str, str]]
    problems: list[tuple[str, str]]
    num_problems: str | None
    more_problems: str | None


def make_data_section(facts: ReportFacts) -> DataSection:
    """Count the manifest's images by split and class."""
    manifest = facts.manifest
    counts = np.stack([manifest.class_counts(manifest.rows(split)) for split in _NAMES])  # [3, K]
    totals, per_split = counts.sum(axis=0), np.array([len(manifest.rows(split)) for split in _NAMES])
    largest = max(int(totals.max()), 1)
    rows = [
        ClassRow(
            name=name,
            numbers=(count(int(column[0])), count(int(column[1])), count(int(column[2]))),
            widths=(column[0] / largest, column[1] / largest, column[2] / largest),
            total=count(int(column.sum())),
        )
        for name, column in zip(manifest.classes, counts.T, strict=True)
    ]
    whole = max(int(per_split.sum()), 1)
    splits = [
        Split(name, name.lower(), count(int(number)), float(number) / whole)
        for name, number in zip(_NAMES.values(), per_split, strict=True)
    ]
    num_problems = len(facts.problems)
    return DataSection(
        words=("label", "labels") if manifest.task == "multi" else ("class", "classes"),
        total=plural(int(per_split.sum()), "image"),
        num_classes=count(manifest.num_classes),
        splits=splits,
        rows=rows,
        smallest=(manifest.classes[int(totals.argmin())], count(int(totals.min()))),
        largest=(manifest.classes[int(totals.argmax())], count(int(totals.max()))),
        size=_size(facts),
        samples=make_samples(facts),
        skipped=[(reason, count(number)) for reason, number in facts.manifest.skipped.items() if number],
        problems=list(facts.problems[:MOST_PROBLEMS]),
        num_problems=plural(num_problems, "image") if num_problems else None,
        more_problems=count(num_problems - MOST_PROBLEMS) if num_problems > MOST_PROBLEMS else None,
    )


def _size(facts: ReportFacts) -> str:
    image = facts.config.image
    return f"{_RESIZED[image.resize]} {image.size} × {image.size} pixels"
