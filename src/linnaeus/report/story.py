"""The story of the page: its parts in the order in which a person asks, and the sections of each part.

A section is one line here, a function that turns the facts into plain words, numbers and pictures, and a partial,
`templates/sections/NAME.html`, that says how they look and reads them as `section`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from linnaeus.data.manifest import Task
from linnaeus.report.advice import make_advice
from linnaeus.report.balancing import make_balancing
from linnaeus.report.baselines import make_baselines_section
from linnaeus.report.confused import make_confused
from linnaeus.report.curves import make_curves_section
from linnaeus.report.dataset import make_data_section
from linnaeus.report.explained import make_explained
from linnaeus.report.facts import ReportFacts
from linnaeus.report.gallery import make_galleries
from linnaeus.report.headline import make_checks, make_headline
from linnaeus.report.label_issues import make_label_issues
from linnaeus.report.labels_gallery import make_label_galleries
from linnaeus.report.labels_headline import make_labels_checks, make_labels_headline
from linnaeus.report.labels_tables import make_label_mistakes, make_label_table
from linnaeus.report.labels_together import make_together
from linnaeus.report.limits import make_slices, make_sureness, make_wishes
from linnaeus.report.making import make_plan, make_run
from linnaeus.report.members import make_members
from linnaeus.report.ranking import make_ranking
from linnaeus.report.tables import make_class_table, make_confusion
from linnaeus.report.thresholds import make_thresholds


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes:
        name: of its partial, and of its anchor in the page.
        title: its line in the contents.
        make: what the partial shows; None where this run has nothing to say, and then there is no section.
        task: "single" where images have one label, "multi" where they have several; None speaks of both.
    """

    name: str
    title: str
    make: Callable[[ReportFacts], Any]
    task: Task | None = "single"


@dataclass(frozen=True)
class Part:
    """A question and the sections that answer it. The heading of a part is a second-level one, sections have third."""

    name: str
    title: str
    sections: tuple[Section, ...]


OPENING = (
    Section("result", "Result", make_headline),
    Section("labels_result", "Result", make_labels_headline, task="multi"),
)
"""What stands at the top, under the title of the page. One of them speaks in every run."""

STORY = (
    Part(
        "trust",
        "Can I trust it?",
        (
            Section("checks", "Scores", make_checks),
            Section("checks", "Scores", make_labels_checks, task="multi"),
            Section("wishes", "Wishes", make_wishes, task=None),
            Section("sureness", "How sure", make_sureness, task=None),
            Section("members", "Runs", make_members, task=None),
            Section("baselines", "Baselines", make_baselines_section, task=None),
        ),
    ),
    Part(
        "strengths",
        "What is it good and bad at?",
        (
            Section("classes", "Classes", make_class_table),
            Section("confusion", "Confusion", make_confusion),
            Section("label_scores", "Labels", make_label_table, task="multi"),
            Section("ranking", "Curves", make_ranking, task=None),
            Section("label_mistakes", "Mistakes", make_label_mistakes, task="multi"),
            Section("balancing", "Balancing", make_balancing, task=None),
            Section("slices", "Slices", make_slices, task=None),
            Section("thresholds", "Thresholds", make_thresholds, task="multi"),
        ),
    ),
    Part(
        "why",
        "Why?",
        (
            Section("explained", "Heat maps", make_explained, task=None),
            Section("confused", "Pairs", make_confused),
            Section("images", "Images", make_galleries),
            Section("label_images", "Images", make_label_galleries, task="multi"),
        ),
    ),
    Part(
        "next",
        "What should I do next?",
        (
            Section("advice", "Advice", make_advice, task=None),
            Section("labels", "Labels", make_label_issues, task=None),
        ),
    ),
    Part(
        "making",
        "How it was made",
        (
            Section("data", "Data", make_data_section, task=None),
            Section("together", "Labels together", make_together, task="multi"),
            Section("training", "Training", make_curves_section, task=None),
            Section("plan", "Plan", make_plan, task=None),
            Section("run", "Run", make_run, task=None),
        ),
    ),
)


def tell(parts: tuple[Part, ...], facts: ReportFacts) -> list[tuple[Part, list[tuple[Section, Any]]]]:
    """Every part that has something to say, each of its sections with what its partial shows."""
    tasks = (None, facts.manifest.task)
    told = [
        (
            part,
            [
                (section, made)
                for section in part.sections
                if section.task in tasks and (made := section.make(facts)) is not None
            ],
        )
        for part in parts
    ]
    return [(part, sections) for part, sections in told if sections]
