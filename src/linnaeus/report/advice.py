"""What to do next, concrete and counted: each rule looks at the facts, and speaks only where they support it.

A rule returns a recommendation or None; `RULES` has them in the order of what usually brings most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from linnaeus.config.pages import recipe_names
from linnaeus.data.manifest import TRAIN
from linnaeus.report.facts import ReportFacts
from linnaeus.report.label_issues import LARGE_FRACTION, fraction_in_doubt
from linnaeus.report.wording import count, listing, p_words, percent, plural, score_words

FEW_TRAINING_IMAGES = 20
"""A class with fewer is named whatever its score."""
SMALL_FRACTION = 0.5
"""... and one with less than this fraction of the median class, if it is also found less often than the others."""
RECALL_GAP = 0.05
UNEVEN, RARE_GAP = 3.0, 0.05
"""Classes this many times apart, and balanced accuracy this much below accuracy."""
BY_HEART = 0.15
"""Training accuracy this much above validation accuracy."""
WIDE_INTERVAL = 0.05
PAIR_FRACTION, PAIR_IMAGES = 0.2, 10
"""A pair of classes behind this fraction of the mistakes, and this many."""
REVIEWED_AT_ONCE = 100
"""So many labels a person looks through in a sitting."""
SMALL_DATA, LARGE_IMAGES_PX = 20_000, 64
"""Fewer training images of at least this size are better served by a pretrained backbone."""
_MOST_CLASSES = 3


@dataclass(frozen=True)
class Recommendation:
    """What to do, why, and a command that begins it, if there is one."""

    action: str
    reason: str
    command: str | None = None


def recommend(facts: ReportFacts) -> list[Recommendation]:
    """Everything the facts support, what usually brings most first; often nothing."""
    return [found for rule in RULES if (found := rule(facts)) is not None]


def make_advice(facts: ReportFacts) -> list[Recommendation]:
    """The section; it is there even if there is nothing to recommend, which is worth saying."""
    return recommend(facts)


def divide_anew(facts: ReportFacts) -> Recommendation | None:
    """Test images with copies in training make the score look better than it is."""
    test, rest = facts.evaluation.test, facts.evaluation.test_without_duplicates
    if rest is None:
        return None
    copies = test.num_images - rest.num_images
    return Recommendation(
        f"Take {plural(copies, 'copy', 'copies')} out of the test set",
        f"{percent(copies / test.num_images)} of the test images are duplicates or near duplicates of images the model "
        f"was trained or selected on; without them {score_words(test.main)} is "
        f"{percent(rest.score(test.main).value)}, not {percent(test.score(test.main).value)}.",
        f"linnaeus inspect {facts.config.data.source}",
    )


def relabel(facts: ReportFacts) -> Recommendation | None:
    """Labels that look wrong to models that have not seen them."""
    issues = facts.label_issues
    if issues is None or not len(issues):
        return None
    if fraction_in_doubt(facts) > LARGE_FRACTION and len(issues) > REVIEWED_AT_ONCE:
        return Recommendation(
            f"Look through the {REVIEWED_AT_ONCE} most suspicious labels",
            f"{count(len(issues))} look wrong, in {percent(fraction_in_doubt(facts))} of the images. The model is "
            "often unsure and also suspects correct labels: only the top of the list is worth reviewing.",
            "linnaeus review RUN",
        )
    kinds = issues.groupby(["given", "suggested"]).size().sort_values(ascending=False, kind="stable")
    (given, suggested), number = kinds.index[0], int(kinds.iloc[0])
    often = (
        f" Most often ({count(number)}) {given} that may be {suggested}." if given and suggested and number > 1 else ""
    )
    return Recommendation(
        f"Relabel these {count(len(issues))}" if len(issues) > 1 else "Relabel this one",
        f"These labels of training and validation images look wrong; see below, and label_issues.csv.{often}"
        if len(issues) > 1
        else "It looks wrong; see below.",
        "linnaeus review RUN",
    )


def mend_files(facts: ReportFacts) -> Recommendation | None:
    """Images that could not be read were left out."""
    if not facts.problems:
        return None
    number = len(facts.problems)
    return Recommendation(
        f"Repair {plural(number, 'unreadable file')}",
        f"{'It was' if number == 1 else 'They were'} left out; quarantine.csv has "
        f"{'its name and the reason' if number == 1 else 'their names and the reasons'}.",
    )


def train_longer(facts: ReportFacts) -> Recommendation | None:
    """The last epoch was the best, and validation was still improving over the last third of them."""
    history = facts.history
    if "validation_loss" not in history or len(history) < 3 or facts.config.phases[-1].monitor == "last":
        return None
    losses = history["validation_loss"].to_numpy(dtype=float)
    phase = history["phase"].to_numpy()
    losses = losses[phase == phase[-1]]
    if len(losses) < 3 or not np.isfinite(losses).all() or facts.kept_epoch != int(history["epoch"].iloc[-1]):
        return None
    third = max(1, len(losses) // 3)
    if not losses[-1] < 0.97 * losses[-1 - third] or losses[-1] != losses.min():
        return None
    epochs = 2 * math.ceil(float(history["epoch"].iloc[-1]))
    return Recommendation(
        "Train longer",
        f"The last epoch was the best: validation loss still fell from {losses[-1 - third]:.3f} to {losses[-1]:.3f} "
        f"over the last {plural(third, 'epoch')}.",
        f"linnaeus train {facts.config.data.source} --epochs {epochs}",
    )


def collect_more(facts: ReportFacts) -> Recommendation | None:
    """Classes with few training images, and those with clearly fewer than others that are also found less often."""
    train, test = facts.manifest.class_counts(facts.manifest.rows(TRAIN)), facts.evaluation.test.per_class or {}
    recalls = {name: row.recall for name, row in test.items() if row.support}
    mean = float(np.mean(list(recalls.values()))) if recalls else 0.0
    median = float(np.median(train))
    wanted = []
    for name, number in zip(facts.manifest.classes, train.tolist(), strict=True):
        recall = recalls.get(name)
        poor = recall is not None and recall < mean - RECALL_GAP
        if (number < FEW_TRAINING_IMAGES and recall != 1) or (number < SMALL_FRACTION * median and poor):
            wanted.append((number, name, recall))
    if not wanted:
        return None
    wanted.sort(key=lambda item: (item[0], item[1]))
    lines = [
        f"{name}: {plural(number, 'training image')}" + ("" if recall is None else f", recall {percent(recall)}")
        for number, name, recall in wanted[:_MOST_CLASSES]
    ]
    one, many = ("label", "labels") if facts.manifest.task == "multi" else ("class", "classes")
    rest = len(wanted) - _MOST_CLASSES
    more = f"; and {count(rest)} more {one if rest == 1 else many}" if rest > 0 else ""
    names = [name for _, name, _ in wanted]
    return Recommendation(
        f"Collect more of {listing(names, at_most=_MOST_CLASSES)}",
        f"{'; '.join(lines)}{more}. The median {one} has {count(round(median))}.",
    )


def help_slice(facts: ReportFacts) -> Recommendation | None:
    """Images of one kind score significantly worse."""
    worst = next((each for each in facts.evaluation.slices.slices if each.worse), None)
    if worst is None:
        return None
    score = "F1 per image" if facts.evaluation.test.several_labels else "right"
    return Recommendation(
        f"Collect more images with {worst.column} {worst.value}",
        f"The {plural(worst.num_images, 'test image')} of that kind score significantly worse "
        f"({p_words(worst.p_value)}, corrected for the number of slices): {percent(worst.score.value)} {score}, "
        f"against {percent(worst.rest)} for the rest.",
    )


def weigh_rare_classes(facts: ReportFacts) -> Recommendation | None:
    """Scores of rare classes are lower, and there is a recipe for that."""
    test, train = facts.evaluation.test, facts.manifest.class_counts(facts.manifest.rows(TRAIN))
    present = train[train > 0]
    recipe = "best-imbalanced"
    if test.accuracy is None or test.balanced_accuracy is None or not len(present) or recipe not in recipe_names():
        return None
    gap, uneven = test.accuracy.value - test.balanced_accuracy.value, present.max() / present.min()
    if gap < RARE_GAP or uneven < UNEVEN:
        return None
    return Recommendation(
        "Give rare classes more weight",
        f"The most frequent class has {uneven:.0f} times the training images of the rarest, and balanced accuracy is "
        f"{100 * gap:.0f} points below accuracy.",
        f"linnaeus train {facts.config.data.source} --recipe {recipe}",
    )


def vary_more(facts: ReportFacts) -> Recommendation | None:
    """The model overfits its training images."""
    history = facts.history
    if not {"train_accuracy", "validation_accuracy"} <= set(history) or history.empty:
        return None
    kept = history[history["epoch"] == facts.kept_epoch]
    row = (kept if len(kept) else history).iloc[-1]
    train, validation = float(row["train_accuracy"]), float(row["validation_accuracy"])
    if not train - validation >= BY_HEART:
        return None
    return Recommendation(
        "Add images, or use stronger augmentation",
        f"Training accuracy is {percent(train)}, but validation accuracy {percent(validation)}: the "
        "model overfits. More images, or stronger augmentation, help more than a longer training.",
    )


def tell_pair_apart(facts: ReportFacts) -> Recommendation | None:
    """One pair of classes, both ways, makes up much of the mistakes."""
    test, names = facts.evaluation.test, list(facts.evaluation.test.per_class or {})
    if test.confusion is None or len(names) < 3:
        return None
    confusion = np.array(test.confusion)
    wrong = np.triu(confusion + confusion.T, k=1)
    total = int(wrong.sum())
    i, j = np.unravel_index(int(wrong.argmax()), wrong.shape)
    number = int(wrong[i, j])
    if number < PAIR_IMAGES or number < PAIR_FRACTION * total:
        return None
    return Recommendation(
        f"Tell {names[i]} from {names[j]}",
        f"They account for {count(number)} of {plural(total, 'mistake')} ({percent(number / total)}). If you cannot "
        "tell them apart in the images above either, merge or redefine them; if you can, collect more of both.",
    )


def test_on_more(facts: ReportFacts) -> Recommendation | None:
    """The interval of the score is wide."""
    test = facts.evaluation.test
    score = test.score(test.main)
    width = score.high - score.low
    if width < WIDE_INTERVAL:
        return None
    times = (width / WIDE_INTERVAL) ** 2
    number, what = (test.num_images, "image") if test.num_groups is None else (test.num_groups, "group")
    return Recommendation(
        f"Label about {count(math.ceil(number * (times - 1) / 10) * 10)} more test {what}s",
        f"With {plural(number, what)} the interval is {100 * width:.1f} points wide; it falls with the square root of "
        f"their number, so this would make it about {100 * WIDE_INTERVAL:.0f}.",
    )


def take_a_backbone(facts: ReportFacts) -> Recommendation | None:
    """A network of ours learned from scratch from few, large images."""
    size, train = facts.config.image.size, len(facts.manifest.rows(TRAIN))
    ours = facts.config.model.name in ("speed_cnn", "mish_cnn")
    if not ours or not isinstance(size, int) or size < LARGE_IMAGES_PX or train >= SMALL_DATA:
        return None
    return Recommendation(
        "Build on a pretrained backbone",
        f"The network was trained from scratch on {plural(train, 'image')}. With so few images of {size} px, a "
        "pretrained backbone is usually far better.",
        f"linnaeus train {facts.config.data.source} --backbone resnet50 --allow-download",
    )


def augment_at_test_time(facts: ReportFacts) -> Recommendation | None:
    """Validation says that test-time augmentation is worth its time."""
    found = facts.evaluation.tta
    if found is None or not found.significant or found.value <= 0:
        return None
    return Recommendation(
        "Turn on test-time augmentation",
        f"Averaging each image with its horizontal flip raises validation {score_words(found.score)} from "
        f"{percent(found.first)} to {percent(found.second)}, which is significantly better "
        f"({p_words(found.p_value)}). Every prediction then "
        "takes twice as long.",
        f"linnaeus train {facts.config.data.source} --backbone {facts.config.model.name} --set evaluate.tta=flip",
    )


RULES: tuple[Callable[[ReportFacts], Recommendation | None], ...] = (
    divide_anew,
    relabel,
    take_a_backbone,
    collect_more,
    help_slice,
    weigh_rare_classes,
    tell_pair_apart,
    train_longer,
    vary_more,
    augment_at_test_time,
    mend_files,
    test_on_more,
)
