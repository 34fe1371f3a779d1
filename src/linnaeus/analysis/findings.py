"""Findings: what matters of an audit in a few sentences, the gravest first. Terminal and page begin with them."""

from __future__ import annotations

from linnaeus.analysis.audit_types import Audit, Finding, Level, PageSection

IMBALANCED = 3.0
_OF_OBJECTS = ("width", "height", "aspect ratio")
"""Properties that say something of the object itself where a sample is a box around one."""


def make_findings(audit: Audit) -> list[Finding]:
    """What matters in all else that the audit holds; one that says so where nothing does."""
    found = [*_leaks(audit), *_labels(audit), *_files(audit), *_shortcuts(audit), *_imbalance(audit), *_looks(audit)]
    order: dict[Level, int] = {"serious": 0, "look": 1, "fine": 2}
    found.sort(key=lambda finding: order[finding.level])
    if not found:
        found = [_finding("fine", "Nothing found", "Every check passed.", "data")]
    return found


def _finding(level: Level, what: str, sentence: str, section: PageSection) -> Finding:
    return Finding(level=level, what=what, sentence=sentence, section=section)


def _leaks(audit: Audit) -> list[Finding]:
    test, validation = audit.leaks.test, audit.leaks.validation
    found = []
    if test.num_images:
        words = f"{_images(test.num_images, 'test image')} ({test.fraction:.1%})"
        has = "has a copy" if test.num_images == 1 else "have copies"
        sentence = f"{words} {has} in training or validation: scores are too optimistic."
        found.append(_finding("serious", "Leaks into the test set", sentence, "duplicates"))
    if validation.num_images:
        words = f"{_images(validation.num_images, 'validation image')} ({validation.fraction:.1%})"
        has = "has a copy" if validation.num_images == 1 else "have copies"
        sentence = f"{words} {has} in training: the choice of the best epoch is biased."
        found.append(_finding("look", "Leaks into validation", sentence, "duplicates"))
    return found


def _labels(audit: Audit) -> list[Finding]:
    groups = audit.duplicates
    differ = [group for group in groups if group.labels_differ]
    found = []
    if differ:
        num = sum(len(group.members) for group in differ)
        sentence = (
            f"{_images(num, 'image')} in {_images(len(differ), 'group')} show the same picture under different labels."
        )
        found.append(_finding("serious", "Labels that contradict each other", sentence, "duplicates"))
    if groups:
        kinds = {kind: sum(group.kind == kind for group in groups) for kind in ("file", "pixels", "near")}
        words = {"file": "equal files", "pixels": "equal pixels", "near": "near copies"}
        parts = ", ".join(f"{number:,} of {words[kind]}" for kind, number in kinds.items() if number)
        num = sum(len(group.members) for group in groups)
        sentence = f"{_images(num, 'image')} in {_images(len(groups), 'group')} ({parts})."
        found.append(_finding("look", "Duplicates", sentence, "duplicates"))
    return found


def _files(audit: Audit) -> list[Finding]:
    found = []
    unreadable, wrong, large = audit.unreadable, audit.wrong_extension, audit.very_large
    if unreadable:
        kinds: dict[str, int] = {}
        for item in unreadable:
            kinds[item.kind] = kinds.get(item.kind, 0) + 1
        parts = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items(), key=lambda kind: -kind[1]))
        sentence = (
            f"{_images(len(unreadable), 'image')} ({parts}), such as {unreadable[0].id}. Training leaves them out."
        )
        found.append(_finding("serious", "Unreadable", sentence, "files"))
    if wrong:
        one = wrong[0]
        sentence = (
            f"{_images(len(wrong), 'file')} of another format than the name says, such as {one.id} "
            f"({one.found}). Linnaeus reads them; other programs may not."
        )
        found.append(_finding("look", "Wrong extensions", sentence, "files"))
    if large:
        first = large[0]
        size = f"{first.width} x {first.height} px" if first.width else "too large to open"
        sentence = f"{_images(len(large), 'image')}, such as {first.id} ({size})."
        found.append(_finding("look", "Suspiciously large", sentence, "files"))
    return found


def _shortcuts(audit: Audit) -> list[Finding]:
    """Serious, except for size and shape of a box: those of an object are knowledge, and only worth a look."""
    found = []
    for shortcut in audit.shortcuts[:3]:
        whom = "the class" if shortcut.label is None else f"'{shortcut.label}'"
        sentence = (
            f"The {shortcut.property} alone predicts {whom} for {shortcut.accuracy:.0%} of the images "
            f"(always answering the most frequent: {shortcut.baseline:.0%}). "
        )
        if audit.num_scenes is not None and shortcut.property in _OF_OBJECTS:
            sentence += "Boxes are as large as their objects, which is no mistake if it holds for new images too."
            found.append(_finding("look", "Size tells the class", sentence, "shortcuts"))
        else:
            sentence += "A model may learn this shortcut instead of the content."
            found.append(_finding("serious", "A shortcut", sentence, "shortcuts"))
    return found


def _imbalance(audit: Audit) -> list[Finding]:
    imbalance = audit.imbalance
    ratio, most, least = imbalance.ratio, imbalance.largest, imbalance.smallest
    if ratio is not None and ratio < IMBALANCED:
        return []
    times = "no images" if ratio is None else f"{_images(least.num_images, 'image')}, {ratio:,.0f} times fewer"
    sentence = f"{most.name} has {_images(most.num_images, 'image')}, {least.name} {times}."
    return [_finding("look", "Imbalance", sentence, "data")]


def _looks(audit: Audit) -> list[Finding]:
    kinds = (("Blank", audit.blank), ("Very dark", audit.very_dark), ("Very blurred", audit.very_blurred))
    return [
        _finding("look", what, f"{_images(len(images), 'image')}, such as {images[0].id}.", "looks")
        for what, images in kinds
        if images
    ]


def _images(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
