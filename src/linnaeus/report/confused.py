"""The most confused pairs of classes with their pictures."""

from __future__ import annotations

from dataclasses import dataclass

from linnaeus.report.cell_pictures import make_cell_pictures
from linnaeus.report.facts import ReportFacts
from linnaeus.report.gallery import Picture
from linnaeus.report.tables import make_pairs

NUM_PAIRS, NUM_PICTURES = 5, 8


@dataclass(frozen=True)
class PicturedPair:
    """Test images of `true` that were predicted as `predicted`: their number, fraction of the class, some of them."""

    true: str
    predicted: str
    number: str
    fraction: str
    shown: list[Picture]


def make_confused(facts: ReportFacts) -> list[PicturedPair] | None:
    """The worst pairs; None where none is confused."""
    pairs = make_pairs(facts.evaluation.test).pairs[:NUM_PAIRS]
    if not pairs:
        return None
    cells = make_cell_pictures(facts, [(pair.i, pair.j) for pair in pairs], at_most=NUM_PAIRS * NUM_PICTURES)
    return [
        PicturedPair(p.true, p.predicted, p.number, p.fraction, cells[f"{p.i}-{p.j}"].shown[:NUM_PICTURES])
        for p in pairs
    ]
