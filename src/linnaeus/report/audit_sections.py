"""The sections of the audit page as plain words, numbers and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from linnaeus.analysis.audit_types import (
    Audit,
    DuplicateGroup,
    LargeImage,
    NamedImage,
    Quartiles,
)
from linnaeus.errors import UnreadableImageError
from linnaeus.report.co_occurrence import CoOccurrence, co_occurrence_table
from linnaeus.report.gallery import data_uri
from linnaeus.report.wording import count, listing, percent, plural

MOST_GROUPS, MOST_MEMBERS, MOST_LOOKS, MOST_FILES = 40, 6, 12, 50
_SPLITS = {"train": "Training", "validation": "Validation", "test": "Test", "unassigned": "Not divided yet"}
_KINDS = {"file": "the same file", "pixels": "the same pixels", "near": "near copies"}
_RELATIONS = {"first": "", "file": "same file", "pixels": "same pixels", "near": "near copy", "mirrored": "mirrored"}

Thumbnails = Callable[[int], bytes]


@dataclass(frozen=True)
class AuditTile:
    """One figure at the top; `calm` where there is nothing to worry about."""

    name: str
    value: str
    words: str
    calm: bool


@dataclass(frozen=True)
class Part:
    """One split: its fraction of all images is 0-1."""

    name: str
    style: str
    num_images: str
    fraction: float


@dataclass(frozen=True)
class ClassBars:
    """Images of one class per split, and widths 0-1 of the largest class."""

    name: str
    numbers: list[str]
    widths: list[float]
    total: str


@dataclass(frozen=True)
class Member:
    """One image of a group, or a gallery."""

    uri: str | None
    coarse: bool
    title: str
    words: str
    id: str


@dataclass(frozen=True)
class Group:
    """Images that show the same picture."""

    kind: str
    leak: str | None
    labels_differ: bool
    members: list[Member]
    more: str | None


def make_tiles(audit: Audit) -> list[AuditTile]:
    """Unreadable files, images in duplicates, leaks into test, imbalance."""
    unreadable, groups, leaks = len(audit.unreadable), audit.duplicates, audit.leaks.test
    copies = sum(len(group.members) for group in groups)
    ratio = audit.imbalance.ratio
    return [
        AuditTile("Unreadable", count(unreadable), "files that cannot be decoded", not unreadable),
        AuditTile("With duplicates", count(copies), f"images, in {plural(len(groups), 'group')}", not copies),
        AuditTile(
            "Leaks into test",
            percent(leaks.fraction) if "test" in audit.counts else "–",
            f"{plural(leaks.num_images, 'test image')} with a copy in training or validation"
            if "test" in audit.counts
            else "the data has no test split",
            not leaks.num_images,
        ),
        AuditTile(
            "Imbalance",
            "–" if ratio is None else f"{ratio:,.0f} : 1" if ratio >= 100 else f"{ratio:.3g} : 1",
            "images of the most frequent class to those of the rarest",
            ratio is not None and ratio < 3,
        ),
    ]


def make_data(audit: Audit) -> dict[str, Any]:
    """Images by split and class."""
    counts, classes = audit.counts, audit.classes
    totals = {name: sum(counts[split][name] for split in counts) for name in classes}
    largest, whole = max([1, *totals.values()]), max(1, sum(audit.splits.values()))
    parts = [
        Part(_SPLITS[split], _SPLITS[split].split()[0].lower(), count(number), number / whole)
        for split, number in audit.splits.items()
    ]
    rows = [
        ClassBars(
            name,
            [count(counts[split][name]) for split in counts],
            [counts[split][name] / largest for split in counts],
            count(totals[name]),
        )
        for name in classes
    ]
    skipped = [(reason, count(number)) for reason, number in audit.skipped.items() if number]
    return {"parts": parts, "rows": rows, "skipped": skipped, "notes": audit.notes}


def make_cooccurrence(audit: Audit) -> CoOccurrence | None:
    """How often labels occur together, and how many an image has; None for one label per image."""
    table: list[list[int]] | None = audit.cooccurrence
    return None if table is None else CoOccurrence(*co_occurrence_table(table, audit.classes), per_image=[])


def make_shapes(audit: Audit) -> dict[str, Any]:
    """Sizes, aspect ratios, file sizes as quartiles; the most frequent sizes, formats and modes as bars."""
    sizes = audit.sizes
    spreads = [
        ("Width", "px", sizes.width, "{:,.0f}"),
        ("Height", "px", sizes.height, "{:,.0f}"),
        ("Width : height", "", audit.aspect_ratio, "{:.2f}"),
        ("File", "kB", audit.file_bytes, "{:,.1f}"),
    ]
    quartiles = [
        (name, unit, [pattern.format(value / (1000 if unit == "kB" else 1)) for value in _five(spread)])
        for name, unit, spread, pattern in spreads
        if spread
    ]
    common = {f"{size.width} × {size.height}": size.num_images for size in sizes.common}
    tallies = [("Size in pixels", common), ("Format", audit.formats), ("Colour mode", audit.modes)]
    return {
        "quartiles": quartiles,
        "num_different": count(sizes.num_different),
        "more_sizes": max(0, sizes.num_different - len(common)),
        "tallies": [(name, _bars(tally)) for name, tally in tallies if tally],
    }


def _five(spread: Quartiles) -> tuple[float, ...]:
    return spread.min, spread.lower_quartile, spread.median, spread.upper_quartile, spread.max


def _bars(tally: Mapping[str, int]) -> list[tuple[str, str, float]]:
    most = max(tally.values())
    return [(name, count(number), number / most) for name, number in tally.items()]


def make_files(audit: Audit) -> list[dict[str, Any]]:
    """Tables of unreadable, wrongly named and very large files."""

    def table(title: str, note: str, rows: list[tuple[str, str]]) -> dict[str, Any]:
        more = len(rows) - MOST_FILES
        return {"title": title, "note": note, "rows": rows[:MOST_FILES], "more": count(more) if more > 0 else None}

    unreadable, wrong, large = audit.unreadable, audit.wrong_extension, audit.very_large
    tables = [
        table(
            f"{plural(len(unreadable), 'image')} cannot be read",
            "They are excluded from training, and never filled up or replaced by others.",
            [(item.id, item.reason) for item in unreadable],
        ),
        table(
            f"{plural(len(wrong), 'file')} {'has' if len(wrong) == 1 else 'have'} a wrong extension",
            "Their content has another format than their names say. Linnaeus reads them; other programs may fail.",
            [(item.id, f"{item.found}, called {item.extension}") for item in wrong],
        ),
        table(
            f"{plural(len(large), 'image')} suspiciously large",
            "Far more pixels than the others. A small file with very many pixels may be a decompression bomb.",
            [(item.id, _large_words(item)) for item in large],
        ),
    ]
    return [one for one in tables if one["rows"]]


def _large_words(image: LargeImage) -> str:
    pixels = f"{image.width:,} × {image.height:,} px" if image.width else "too large to open"
    return f"{pixels} in {image.file_bytes / 1e6:,.1f} MB"


def make_groups(audit: Audit, thumbnails: Thumbnails) -> dict[str, Any]:
    """Groups of duplicates with pictures; leaks come first, as in audit.json."""
    groups, leaks = audit.duplicates, audit.leaks
    kinds = [
        f"{count(number)} of {words}"
        for kind, words in _KINDS.items()
        if (number := sum(group.kind == kind for group in groups))
    ]
    shown = [_group(group, thumbnails) for group in groups[:MOST_GROUPS]]
    return {
        "shown": shown,
        "num": plural(len(groups), "group"),
        "kinds": listing(kinds, at_most=3) if kinds else "",
        "num_leaks": leaks.num_groups,
        "test": plural(leaks.test.num_images, "test image"),
        "test_fraction": percent(leaks.test.fraction),
        "validation": plural(leaks.validation.num_images, "validation image"),
        "num_contradictions": count(sum(group.labels_differ for group in groups)),
        "more": count(len(groups) - len(shown)) if len(groups) > len(shown) else None,
    }


def _group(group: DuplicateGroup, thumbnails: Thumbnails) -> Group:
    members = group.members
    if group.leak:  # one of each split is always to be seen
        members = sorted(members, key=lambda m: [x.split for x in members].index(m.split) != members.index(m))
    shown = [
        _member(
            member,
            thumbnails,
            title=listing(member.labels, at_most=3) if member.labels else "no label",
            words=", ".join(part for part in (member.split, _RELATIONS[member.relation]) if part),
        )
        for member in members[:MOST_MEMBERS]
    ]
    more = len(members) - len(shown)
    return Group(
        kind=_KINDS[group.kind],
        leak=" and ".join(group.splits) if group.leak else None,
        labels_differ=group.labels_differ,
        members=shown,
        more=count(more) if more else None,
    )


def make_looks(audit: Audit, thumbnails: Thumbnails) -> list[dict[str, Any]]:
    """Galleries of blank, very dark and very blurred images."""
    kinds: tuple[tuple[str, Sequence[NamedImage]], ...] = (
        ("Blank", audit.blank),
        ("Very dark", audit.very_dark),
        ("Very blurred", audit.very_blurred),
    )
    galleries = []
    for title, items in kinds:
        if items:
            shown = [_member(item, thumbnails, title="", words="") for item in items[:MOST_LOOKS]]
            more = len(items) - len(shown)
            galleries.append(
                {
                    "title": title,
                    "num": plural(len(items), "image"),
                    "items": shown,
                    "more": count(more) if more else None,
                }
            )
    return galleries


def _member(item: NamedImage, thumbnails: Thumbnails, *, title: str, words: str) -> Member:
    try:
        uri, coarse = data_uri(thumbnails(item.row))
    except UnreadableImageError:
        return Member(None, False, title, words, item.id)
    return Member(uri, coarse, title, words, item.id)


def make_shortcuts(audit: Audit) -> list[dict[str, Any]]:
    """Properties that predict the label: how often, and how often the most frequent class would be right."""
    return [
        {
            "property": shortcut.property,
            "label": shortcut.label,
            "accuracy": percent(shortcut.accuracy),
            "width": shortcut.accuracy,
            "baseline": percent(shortcut.baseline),
        }
        for shortcut in audit.shortcuts
    ]
