"""Slices: parts of the test images on which the model fares worse than on the rest."""

from __future__ import annotations

from dataclasses import dataclass

from linnaeus.judging.evaluation import Evaluation, Slice, Slices
from linnaeus.report.wording import count, figure, percent, percent_range, plural

MOST_SLICES = 10


@dataclass(frozen=True)
class SliceRow:
    """One slice in words; `fraction` 0-1 is its score, `same` are other descriptions of its images."""

    column: str
    value: str
    same: list[str]
    images: str
    fraction: float
    score: str
    interval: str
    rest: str
    worse: bool


@dataclass(frozen=True)
class SlicesSection:
    """Slices, the worst first; `verdict` says how many are worse, `smallest` what was looked at, `score` heads them."""

    rows: list[SliceRow]
    verdict: str
    smallest: str
    score: str


def make_slices(evaluation: Evaluation) -> SlicesSection | None:
    """The slices, the worst first; None where nothing was known by which to divide the test images."""
    found = evaluation.slices
    if not found.slices:
        return None
    score = "F1 per image, %" if evaluation.test.several_labels else "% right"
    return SlicesSection(
        [_row(each) for each in found.slices[:MOST_SLICES]], _verdict(found), count(found.minimum_support), score
    )


def _row(each: Slice) -> SliceRow:
    images = count(each.num_images)
    return SliceRow(
        each.column,
        each.value,
        each.same_images,
        images if each.num_groups is None else f"{images} in {plural(each.num_groups, 'group')}",
        each.score.value,
        figure(each.score.value),
        percent_range(each.score.low, each.score.high),
        percent(each.rest),
        each.worse,
    )


def _verdict(found: Slices) -> str:
    worse = sum(each.worse for each in found.slices)
    if not worse:
        return f"none of {plural(found.num_tested, 'slice')} is significantly worse than the rest"
    return (
        f"{plural(worse, 'slice')} of {found.num_tested} {'is' if worse == 1 else 'are'} significantly worse than the "
        "rest"
    )
