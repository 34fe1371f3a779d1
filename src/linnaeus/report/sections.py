"""The sections of the page, in the order in which a person asks, and the parts that they stand in.

A section is one line here, a function that turns the facts into plain words, numbers and pictures, and a partial,
`templates/sections/NAME.html`, that says how they look and reads them as `section`. Where an evaluation says why it has
none of a section, the section says that sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from linnaeus.data.manifest import Task
from linnaeus.judging.evaluation import Evaluation
from linnaeus.report.advice import make_advice
from linnaeus.report.balancing import make_balancing
from linnaeus.report.baselines import make_baselines_section
from linnaeus.report.calibration import make_calibration
from linnaeus.report.co_occurrence import make_co_occurrence
from linnaeus.report.confused import make_confused
from linnaeus.report.curves import make_curves_section
from linnaeus.report.dataset import make_data_section
from linnaeus.report.ensemble import make_ensemble
from linnaeus.report.explained import make_explained
from linnaeus.report.facts import ReportFacts
from linnaeus.report.gallery import make_galleries
from linnaeus.report.headline import make_headline, make_scores
from linnaeus.report.label_issues import make_label_issues
from linnaeus.report.labels_gallery import make_label_galleries
from linnaeus.report.labels_headline import make_labels_headline, make_labels_scores
from linnaeus.report.labels_tables import make_label_mistakes, make_label_table
from linnaeus.report.ood import make_ood
from linnaeus.report.prediction_sets import make_prediction_sets
from linnaeus.report.provenance import make_plan, make_run
from linnaeus.report.ranking import make_ranking
from linnaeus.report.selective import make_selective
from linnaeus.report.slices import make_slices
from linnaeus.report.tables import make_class_table, make_confusion
from linnaeus.report.targets import make_targets
from linnaeus.report.thresholds import make_thresholds

_Source = TypeVar("_Source")


@dataclass(frozen=True)
class Section(Generic[_Source]):
    """One section.

    Attributes:
        name: of its partial, and of its anchor in the page.
        title: its line in the contents.
        make: what the partial shows; None where there is nothing to say, and then there is no section.
        task: "single" where images have one label, "multi" where they have several; None for both.
        field: the part of the evaluation that it shows, by its name there: what `omitted` says of it is said.
    """

    name: str
    title: str
    make: Callable[[_Source], object | None]
    task: Task | None = "single"
    field: str | None = None


@dataclass(frozen=True)
class Part:
    """A question and the sections that answer it. The heading of a part is a second-level one, sections have third."""

    name: str
    title: str
    sections: tuple[Section[ReportFacts], ...]


@dataclass(frozen=True)
class Shown:
    """A section as it stands on the page: `content` is for its `template`."""

    name: str
    title: str
    template: str
    content: object


def from_evaluation(make: Callable[[Evaluation], object | None]) -> Callable[[ReportFacts], object | None]:
    """The same section of a run, of which an evaluation is a part."""
    return lambda facts: make(facts.evaluation)


OPENING = (
    Section("result", "Result", make_headline),
    Section("labels_result", "Result", make_labels_headline, task="multi"),
)
"""What stands at the top, under the title of the page. One of them is there in every run."""

OF_EVALUATION = (
    Section("calibration", "Calibration", make_calibration, task=None),
    Section("selective", "Selective prediction", make_selective, task=None),
    Section("prediction_sets", "Prediction sets", make_prediction_sets, task=None, field="prediction_sets"),
    Section("ood", "Out of distribution", make_ood, task=None, field="ood"),
    Section("ranking", "ROC and precision-recall", make_ranking, task=None),
    Section("slices", "Slices", make_slices, task=None),
)
"""What an evaluation alone tells, for a page about predictions of any model."""

_CALIBRATION, _SELECTIVE, _PREDICTION_SETS, _OOD, _RANKING, _SLICES = (
    Section(each.name, each.title, from_evaluation(each.make), task=each.task, field=each.field)
    for each in OF_EVALUATION
)

PARTS = (
    Part(
        "trust",
        "Can I trust it?",
        (
            Section("scores", "Scores", make_scores),
            Section("scores", "Scores", make_labels_scores, task="multi"),
            Section("targets", "Operating point", from_evaluation(make_targets), task=None),
            _CALIBRATION,
            _SELECTIVE,
            _PREDICTION_SETS,
            _OOD,
            Section("ensemble", "Runs", from_evaluation(make_ensemble), task=None),
            Section("baselines", "Baselines", from_evaluation(make_baselines_section), task=None, field="baselines"),
        ),
    ),
    Part(
        "strengths",
        "What is it good and bad at?",
        (
            Section("classes", "Classes", from_evaluation(make_class_table)),
            Section("confusion", "Confusion", make_confusion),
            Section("label_scores", "Labels", from_evaluation(make_label_table), task="multi"),
            _RANKING,
            Section("label_mistakes", "Mistakes", make_label_mistakes, task="multi"),
            Section("balancing", "Balancing", make_balancing, task=None),
            _SLICES,
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
            Section("co_occurrence", "Co-occurrence", make_co_occurrence, task="multi"),
            Section("training", "Training", make_curves_section, task=None),
            Section("plan", "Plan", make_plan, task=None),
            Section("run", "Run", make_run, task=None),
        ),
    ),
)


def show_parts(parts: Sequence[Part], facts: ReportFacts) -> list[tuple[Part, list[Shown]]]:
    """Every part that has something to say, with its sections."""
    task, omitted = facts.manifest.task, facts.evaluation.omitted
    shown = [(part, show_sections(part.sections, facts, task=task, omitted=omitted)) for part in parts]
    return [(part, sections) for part, sections in shown if sections]


def show_sections(
    sections: Sequence[Section[_Source]], source: _Source, *, task: Task, omitted: Mapping[str, str]
) -> list[Shown]:
    """Those sections that have something to say, if only why they cannot.

    Args:
        source: what they are made of.
        task: whether images have one label or several.
        omitted: part of the evaluation -> why it has none.
    """
    found = []
    for section in sections:
        if section.task not in (None, task):
            continue
        content, template = section.make(source), section.name
        if content is None and section.field is not None and section.field in omitted:
            content, template = omitted[section.field], "omitted"
        if content is not None:
            found.append(Shown(section.name, section.title, f"sections/{template}.html", content))
    return found
