"""Where the model is right and wrong: the confusion matrix, the most confused pairs, and the scores of each class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnaeus.judging.evaluation import Evaluation, Scores
from linnaeus.report.cell_pictures import CellPictures, make_cell_pictures
from linnaeus.report.facts import ReportFacts
from linnaeus.report.headline import SMALL_CLASS
from linnaeus.report.wording import count, figure, percent, plural, shorten

MOST_MATRIX_CLASSES = 30
MOST_ROOMY_CLASSES = 12
MOST_WIDE_CLASSES = 4
LONGEST_HEADING = 22
LONGEST_UPRIGHT_HEADING = 3
NUM_PAIRS = 10
NUM_PAIRS_WITHOUT_MATRIX = 30


@dataclass(frozen=True)
class Cell:
    """One cell of the confusion matrix; `shade` 0-1, `right` on the diagonal."""

    number: str
    fraction: str
    shade: float
    right: bool
    words: str


@dataclass(frozen=True)
class Pair:
    """Images of one class that were predicted as another.

    `fraction`: of the true class; `width`: 0-1 of the worst pair; `i` and `j` are the positions of the classes.
    """

    true: str
    predicted: str
    number: str
    fraction: str
    width: float
    i: int
    j: int


@dataclass(frozen=True)
class Matrix:
    """Rows of cells under headings; each heading is (short, whole name). `upright`: column headings need no turning."""

    headings: list[tuple[str, str]]
    rows: list[list[Cell]]
    wide: bool
    dense: bool
    upright: bool


@dataclass(frozen=True)
class Pairs:
    """The most confused pairs, and a caption that says how many of all mistakes they make up."""

    pairs: list[Pair]
    caption: str


@dataclass(frozen=True)
class ClassRow:
    """One row of the per-class table: (0-1, words) of each score, and images."""

    name: str
    scores: list[tuple[float, str]]
    support: int
    images: str
    few: bool


@dataclass(frozen=True)
class Confusion:
    """The section; `matrix` is None for more than MOST_MATRIX_CLASSES classes."""

    matrix: Matrix | None
    pairs: Pairs
    num_classes: str
    cells: dict[str, CellPictures]


@dataclass(frozen=True)
class ClassTable:
    """The section: a row per class, and below how many test images a score is a rough one."""

    rows: list[ClassRow]
    small_class: int


def make_confusion(facts: ReportFacts) -> Confusion:
    """The matrix where it can be read, and the most confused pairs."""
    test = facts.evaluation.test
    matrix, pairs = make_matrix(test), make_pairs(test)
    cells = [(pair.i, pair.j) for pair in pairs.pairs]
    if matrix is not None:
        cells = [(int(i), int(j)) for i, j in np.argwhere(np.array(test.confusion))]
    return Confusion(matrix, pairs, count(facts.manifest.num_classes), make_cell_pictures(facts, cells))


def make_class_table(evaluation: Evaluation) -> ClassTable:
    """The scores of each class."""
    return ClassTable(make_class_scores(evaluation.test, few=SMALL_CLASS), SMALL_CLASS)


def make_matrix(test: Scores) -> Matrix | None:
    """The confusion matrix, or None for several labels and for more than MOST_MATRIX_CLASSES classes."""
    names = list(test.per_class or {})
    if test.confusion is None or len(names) > MOST_MATRIX_CLASSES:
        return None
    rows = []
    for i, (name, numbers) in enumerate(zip(names, test.confusion, strict=True)):
        total = sum(numbers)
        rows.append([_cell(number, total, name, names[j], right=i == j) for j, number in enumerate(numbers)])
    headings = [(shorten(name, at_most=LONGEST_HEADING), name) for name in names]
    wide, longest = len(names) <= MOST_WIDE_CLASSES, max(len(short) for short, _ in headings)
    return Matrix(
        headings,
        rows,
        wide=wide,
        dense=len(names) > MOST_ROOMY_CLASSES,
        upright=wide or longest <= LONGEST_UPRIGHT_HEADING,
    )


def _cell(number: int, total: int, true: str, predicted: str, *, right: bool) -> Cell:
    fraction = number / total if total else 0.0
    # The square root keeps a few mistakes visible beside many right answers.
    words = f"{count(number)} of {count(total)} {true} predicted as {predicted} ({percent(fraction)})"
    shown = f"{100 * fraction:.0f}" if fraction >= 0.005 else "<1"
    return Cell(count(number), shown, math.sqrt(fraction), right, words)


def make_pairs(test: Scores) -> Pairs:
    """The pairs of (true, predicted) classes with most mistakes, worst first; more of them where there is no matrix."""
    names = list(test.per_class or {})
    confusion: npt.NDArray[np.int64] = np.array(test.confusion)
    totals, wrong = confusion.sum(axis=1), confusion * (1 - np.eye(len(names), dtype=np.int64))
    limit = NUM_PAIRS if len(names) <= MOST_MATRIX_CLASSES else NUM_PAIRS_WITHOUT_MATRIX
    cells = [(int(wrong[i, j]), int(wrong[i, j]) / int(totals[i]), i, j) for i, j in np.argwhere(wrong)]
    cells.sort(key=lambda cell: (-cell[0], -cell[1], cell[2], cell[3]))
    pairs = [
        Pair(names[i], names[j], count(number), percent(fraction), number / cells[0][0], i, j)
        for number, fraction, i, j in cells[:limit]
    ]
    mistakes, shown = int(wrong.sum()), sum(cell[0] for cell in cells[:limit])
    if shown == mistakes:
        return Pairs(pairs, "Confused pairs, all of them")
    return Pairs(pairs, f"Most confused pairs: {percent(shown / mistakes)} of {plural(mistakes, 'wrong answer')}")


def make_class_scores(test: Scores, *, few: int) -> list[ClassRow]:
    """One row per class, in the order of the classes; `few` marks those with fewer test images."""
    return [
        ClassRow(
            name=name,
            scores=[(value, figure(value)) for value in (row.precision, row.recall, row.specificity, row.f1)],
            support=row.support,
            images=count(row.support),
            few=row.support < few,
        )
        for name, row in (test.per_class or {}).items()
    ]
