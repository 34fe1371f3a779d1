"""Labels that look wrong: the most suspicious ones with their pictures, and the command that puts them right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from linnaeus.data.manifest import TRAIN, VALIDATION
from linnaeus.errors import UnreadableImageError
from linnaeus.report.facts import ReportFacts
from linnaeus.report.gallery import data_uri, first_of_each_kind
from linnaeus.report.wording import count, listing, percent, plural

MOST_SHOWN, MOST_OF_A_KIND = 16, 3
LARGE_FRACTION = 0.15
"""Of the images: where more look wrong, most of that is the model's own doing, and only the top of the list of use."""
_NUM_PAIRS = 3


@dataclass(frozen=True)
class Suspect:
    """A picture with the label it has and the one it should perhaps have; one of them is empty for several labels."""

    uri: str | None
    coarse: bool
    given: str
    suggested: str
    confidence: str
    id: str


@dataclass(frozen=True)
class LabelIssues:
    """Everything the section shows.

    Attributes:
        number: of labels that look wrong, in words.
        fraction: of the images looked at that they are in.
        pairs: what is most often given for what, in words; None without any.
        large: whether that fraction is more than data usually has wrong.
        several: whether labels are false negatives or false positives, rather than one in the place of another.
        shown: how many suspects of how many, in words.
        more: whether there are more of them.
        suspects: the most suspicious ones.
    """

    number: str
    fraction: str
    pairs: str | None
    large: bool
    several: bool
    shown: str
    more: bool
    suspects: list[Suspect]


def make_label_issues(facts: ReportFacts) -> LabelIssues | None:
    """The most suspicious labels; None where no labels were looked at or none looks wrong."""
    issues, manifest = facts.label_issues, facts.manifest
    if issues is None or not len(issues):
        return None
    kinds = list(zip(issues["given"].tolist(), issues["suggested"].tolist(), strict=True))
    shown = issues.iloc[first_of_each_kind(kinds, at_most=MOST_SHOWN, of_a_kind=MOST_OF_A_KIND)]
    rows = pc.index_in(pa.array(shown["id"].tolist(), pa.large_string()), value_set=manifest.ids).to_pylist()
    suspects = [_suspect(item, row, facts.thumbnails) for item, row in zip(shown.to_dict("records"), rows, strict=True)]
    fraction = fraction_in_doubt(facts)
    return LabelIssues(
        number=plural(len(issues), "label"),
        fraction=percent(fraction),
        pairs=_most_frequent(issues),
        large=fraction > LARGE_FRACTION,
        several=manifest.task == "multi",
        shown=f"{len(shown)} of {count(len(issues))}" if len(issues) > len(shown) else "All of them",
        more=len(issues) > len(shown),
        suspects=suspects,
    )


def fraction_in_doubt(facts: ReportFacts) -> float:
    """Of the training and validation images, the fraction with a label that looks wrong; 0 where none was sought."""
    if facts.label_issues is None:
        return 0.0
    return facts.label_issues["id"].nunique() / max(1, len(facts.manifest.rows_of(TRAIN, VALIDATION)))


def _suspect(item: dict[Any, Any], row: int | None, thumbnails: Callable[[int], bytes]) -> Suspect:
    try:
        uri, coarse = (None, False) if row is None else data_uri(thumbnails(row))
    except UnreadableImageError:
        uri, coarse = None, False
    return Suspect(uri, coarse, item["given"], item["suggested"], percent(item["confidence"]), item["id"])


def _most_frequent(issues: pd.DataFrame) -> str | None:
    """The most frequent kinds of doubt, such as `shirt that may be t-shirt (9)`; those that occur twice at least."""
    doubts = Counter(zip(issues["given"].tolist(), issues["suggested"].tolist(), strict=True))
    words = []
    for (given, suggested), number in doubts.most_common(_NUM_PAIRS):
        if number == 1:
            break
        doubt = f"{given} that may be {suggested}" if given and suggested else ""
        doubt = doubt or (f"{given} that may not be there" if given else f"{suggested} that may be missing")
        words.append(f"{doubt} ({count(number)})")
    return listing(words, at_most=_NUM_PAIRS) if words else None
