"""What the network looked at in its most confident mistakes, beside the training images most like each."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from linnaeus.analysis.errors import ExplainedError
from linnaeus.analysis.explain import Pixels, overlay
from linnaeus.report.cell_pictures import small_picture
from linnaeus.report.facts import ReportFacts
from linnaeus.report.gallery import Picture, data_uri
from linnaeus.report.wording import percent, plural

LARGEST_SIDE_PX = 160
_QUALITY = 80


@dataclass(frozen=True)
class Card:
    """One mistake: what it was, the picture as the network saw it, its heat (None: cannot be shown), and neighbours.

    `place` says where most of the heat lies. A neighbour's `probability` is its similarity, in words.
    """

    true: str
    verdict: str
    probability: str
    id: str
    seen: Picture
    heat: Picture | None
    place: str
    neighbours: list[Picture]
    same: str


@dataclass(frozen=True)
class ExplainedSection:
    """The cards, and how their heat was found (empty without any)."""

    cards: list[Card]
    method: str


def make_explained(facts: ReportFacts) -> ExplainedSection | None:
    """The mistakes that were explained; None without any."""
    if not facts.explained or facts.fitted is None:
        return None
    cards = [_card(facts, facts.fitted(error.row), error) for error in facts.explained]
    return ExplainedSection(cards, next((error.method for error in facts.explained if error.method), ""))


def _card(facts: ReportFacts, pixels: Pixels, error: ExplainedError) -> Card:
    manifest, mistake = facts.manifest, error.mistake
    label, id = manifest.classes[mistake.label], manifest.ids[error.row].as_py()
    true = _labels(facts, error.row)
    if manifest.task == "single":
        verdict = label
    else:
        verdict = f"{label} given wrongly" if mistake.given else f"{label} not given"
    neighbours = []
    for row, similarity in error.neighbours:
        uri, coarse = small_picture(facts, row)
        words = f"{similarity:.2f}"
        neighbours.append(Picture(uri, coarse, _labels(facts, row), None, words, manifest.ids[row].as_py()))
    return Card(
        true=true,
        verdict=verdict,
        probability=percent(mistake.probability),
        id=id,
        seen=_picture(pixels, "as the model saw it", id),
        heat=None if error.heat is None else _picture(overlay(pixels, error.heat), "heat map", id),
        place=error.place,
        neighbours=neighbours,
        same=_same(facts, error),
    )


def _labels(facts: ReportFacts, row: int) -> str:
    manifest = facts.manifest
    if manifest.task == "single":
        return manifest.classes[int(manifest.targets[row])]
    return ", ".join(name for name, has in zip(manifest.classes, manifest.targets[row], strict=True) if has) or "none"


def _same(facts: ReportFacts, error: ExplainedError) -> str:
    """How many neighbours carry the label at issue: if most do, the training labels taught this answer."""
    if not error.neighbours:
        return ""
    targets = [facts.manifest.targets[row] for row, _ in error.neighbours]
    label = error.mistake.label
    has = sum(bool(t == label if facts.manifest.task == "single" else t[label]) for t in targets)
    name = facts.manifest.classes[label]
    return f"{has} of {plural(len(targets), 'neighbour')} {'is' if has == 1 else 'are'} {name}"


def _picture(pixels: Pixels, words: str, id: str) -> Picture:
    image, file = Image.fromarray(pixels), io.BytesIO()
    small = max(image.size) <= LARGEST_SIDE_PX
    if not small:
        image.thumbnail((LARGEST_SIDE_PX, LARGEST_SIDE_PX))
    coarse_small = max(pixels.shape[:2]) <= LARGEST_SIDE_PX // 2
    image.save(file, "webp", lossless=coarse_small, quality=_QUALITY)
    uri, coarse = data_uri(file.getvalue())
    return Picture(uri, coarse, words, None, None, id)
