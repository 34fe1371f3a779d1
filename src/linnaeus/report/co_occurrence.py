"""Which labels occur together, and how many an image has. For the report and the audit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnaeus.data.manifest import UNASSIGNED
from linnaeus.report.facts import ReportFacts
from linnaeus.report.wording import count, percent, plural, shorten

MOST_LABELS, MOST_ROOMY_LABELS, MOST_PER_IMAGE = 30, 12, 8


@dataclass(frozen=True)
class Cell:
    """Images that have two labels, or on the `diagonal` one; `shade` 0-1."""

    number: str
    shade: float
    diagonal: bool
    words: str


@dataclass(frozen=True)
class CoOccurrence:
    """A row and a column for each of the most frequent labels.

    Attributes:
        headings: (short, whole name).
        rows: cells.
        dense: small cells.
        left_out: labels that are not shown.
        per_image: (how many labels, images, fraction, width 0-1); empty where it is not known.
    """

    headings: list[tuple[str, str]]
    rows: list[list[Cell]]
    dense: bool
    left_out: int
    per_image: list[tuple[str, str, str, float]]


def make_co_occurrence(facts: ReportFacts) -> CoOccurrence:
    """Count the labels of the images that took part in the run."""
    manifest = facts.manifest
    targets = manifest.targets[manifest.splits != UNASSIGNED].astype(np.int64)
    table = co_occurrence_table((targets.T @ targets).tolist(), manifest.classes)
    return CoOccurrence(*table, per_image=_per_image(np.bincount(targets.sum(axis=1)).tolist()))


def co_occurrence_table(
    table: Sequence[Sequence[int]], classes: Sequence[str]
) -> tuple[list[tuple[str, str]], list[list[Cell]], bool, int]:
    """Headings, rows, whether they are dense, and how many labels are left out; see `CoOccurrence`.

    Args:
        table: [K][K] images that have label i and label j; the diagonal counts label i.
        classes: K names.
    """
    order = sorted(range(len(table)), key=lambda k: -table[k][k])[:MOST_LABELS]
    rows = [[_cell(table, classes, i, j) for j in order] for i in order]
    headings = [(shorten(classes[k], at_most=22), classes[k]) for k in order]
    return headings, rows, len(order) > MOST_ROOMY_LABELS, len(table) - len(order)


def _cell(table: Sequence[Sequence[int]], classes: Sequence[str], i: int, j: int) -> Cell:
    both, own = table[i][j], max(1, table[i][i])
    words = f"{count(both)} of {count(table[i][i])} {classes[i]} are {classes[j]} too ({percent(both / own)})"
    return Cell(
        number=count(both),
        shade=math.sqrt(both / own) if both else 0.0,
        diagonal=i == j,
        words=f"{count(both)} {classes[i]}" if i == j else words,
    )


def _per_image(numbers: Sequence[int]) -> list[tuple[str, str, str, float]]:
    total, words = max(1, sum(numbers)), ["no label", *(plural(k, "label") for k in range(1, len(numbers)))]
    if len(numbers) > MOST_PER_IMAGE:
        numbers = [*numbers[:MOST_PER_IMAGE], sum(numbers[MOST_PER_IMAGE:])]
        words[MOST_PER_IMAGE] += " or more"
    most = max(1, *numbers)
    return [
        (word, count(number), percent(number / total), number / most)
        for word, number in zip(words, numbers, strict=False)
    ]
