"""The pictures behind the cells of the confusion matrix: shown when a cell is clicked, the worst mistakes first.

They are small, taken from the pixels the network saw where those are available, and bounded in number and bytes however
many test images there are.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from PIL import Image

from linnaeus.data.manifest import TEST
from linnaeus.errors import UnreadableImageError
from linnaeus.report.facts import ReportFacts
from linnaeus.report.gallery import PIXELATED_BELOW_PX, Picture, data_uri
from linnaeus.report.wording import percent

MOST_PICTURES, MOST_IN_A_CELL = 1000, 60
MOST_BYTES = 8_000_000
"""Of all of them as data URIs."""
SIDE_PX = 96
_QUALITY = 75


@dataclass(frozen=True)
class CellPictures:
    """`number` images of a class were taken for another (or the same); some of them, the most confident first."""

    number: int
    shown: list[Picture]


def make_cell_pictures(
    facts: ReportFacts, cells: Sequence[tuple[int, int]], *, at_most: int = MOST_PICTURES
) -> dict[str, CellPictures]:
    """Pictures of each cell (true, predicted), by the name `true-predicted` of their positions.

    Every cell gets its first picture before any gets its second, and mistakes come before right answers, until there
    are `at_most` of them or MOST_BYTES.
    """
    test = facts.predictions.of_split(TEST)
    rows = pc.index_in(test.ids, value_set=facts.manifest.ids).to_numpy(zero_copy_only=False)
    probabilities = test.probabilities.max(axis=1)
    order = np.argsort(-probabilities, kind="stable")
    members: dict[tuple[int, int], list[int]] = {cell: [] for cell in cells}
    for k in order.tolist():
        cell = (int(test.targets[k]), int(test.predicted[k]))
        if cell in members:
            members[cell].append(k)
    shown: dict[tuple[int, int], list[Picture]] = {cell: [] for cell in cells}
    number = size = 0
    for wrong in (True, False):
        of_kind = [cell for cell in cells if (cell[0] != cell[1]) == wrong]
        for turn in range(MOST_IN_A_CELL):
            for cell in of_kind:
                if turn < len(members[cell]) and number < at_most and size < MOST_BYTES:
                    k = members[cell][turn]
                    picture = _picture(facts, int(rows[k]), cell, float(probabilities[k]))
                    shown[cell].append(picture)
                    number, size = number + 1, size + len(picture.uri or "")
    return {f"{i}-{j}": CellPictures(len(members[i, j]), shown[i, j]) for i, j in cells}


def small_picture(facts: ReportFacts, row: int) -> tuple[str | None, bool]:
    """A data URI of a row at most SIDE_PX wide, and whether its pixels should show; None where it cannot be read."""
    try:
        if facts.fitted is None:
            return data_uri(facts.thumbnails(row))
        pixels = facts.fitted(row)
    except UnreadableImageError:
        return None, False
    image, file = Image.fromarray(pixels), io.BytesIO()
    small = max(image.size) <= PIXELATED_BELOW_PX
    if max(image.size) > SIDE_PX:
        image = image.resize((SIDE_PX, SIDE_PX * image.height // image.width), Image.Resampling.BOX, reducing_gap=2.0)
    image.save(file, "webp", lossless=small, quality=80 if small else _QUALITY, method=4 if small else 2)
    return data_uri(file.getvalue())


def _picture(facts: ReportFacts, row: int, cell: tuple[int, int], probability: float) -> Picture:
    uri, coarse = small_picture(facts, row)
    classes = facts.manifest.classes
    return Picture(
        uri, coarse, classes[cell[0]], classes[cell[1]], percent(probability), facts.manifest.ids[row].as_py()
    )
