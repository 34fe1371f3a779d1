"""What a finished run prints: its scores, its weakest classes, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from linnaeus.judging.evaluation import Evaluation, Scores
from linnaeus.report.wording import images_words, p_words, score_words
from linnaeus.run_folder import RunDir

if TYPE_CHECKING:
    from linnaeus.run.finished import Run

_SCORES = ("accuracy", "balanced_accuracy", "macro_precision", "macro_f1")
_SCORES_OF_SEVERAL = ("micro_f1", "macro_f1", "mean_average_precision", "hamming_accuracy", "subset_accuracy")
_WEAKEST = 3


def print_summary(run: Run, *, console: Console | None = None) -> None:
    """Print a short table of the test scores and the next commands to try."""
    console = console or Console(highlight=False)
    evaluation = run.evaluation
    test, seconds = evaluation.test, evaluation.seconds
    interval = f"{100 * evaluation.confidence:g} % interval"
    table = Table("test score", "value", interval, box=None, pad_edge=False, header_style="bold")
    for name in _SCORES_OF_SEVERAL if test.several_labels else _SCORES:
        score = test.score(name)
        table.add_row(score_words(name), f"{score.value:.2%}", f"{score.low:.2%} - {score.high:.2%}")
    console.print()
    console.print(table)
    if test.num_groups is not None:
        console.print(f"{images_words(test.num_images, test.num_groups)}; intervals resample whole groups.")
    if test.several_labels:
        _print_labels(test, console)
    else:
        _print_classes(test, console)
    _print_label_issues(run, console)
    _print_tta(evaluation, console)
    cached = seconds.cached_features
    console.print(
        f"Training took {seconds.train or 0:.0f} s, everything {seconds.total or 0:.0f} s"
        + (f", with cached features that had taken {cached:.0f} s." if cached else ".")
    )
    console.print()
    console.print(f"Report   {escape(str(run.report))}", soft_wrap=True)
    console.print(f"Model    {escape(str(run.path / 'model'))}", soft_wrap=True)
    console.print("Next     ", end="")
    console.print(f"linnaeus predict {escape(str(run.path))} IMAGES... --out predictions.csv", soft_wrap=True)


def _print_label_issues(run: Run, console: Console) -> None:
    if not RunDir(run.path).label_issues.is_file():
        return
    number = len(run.label_issues)
    if not number:
        console.print("No label looks wrong.")
        return
    words = "1 label looks wrong" if number == 1 else f"{number:,} labels look wrong"
    console.print(f"{words}: linnaeus review {escape(str(run.path))}", soft_wrap=True)


def _print_tta(evaluation: Evaluation, console: Console) -> None:
    """What test-time augmentation would bring, and its price."""
    found = evaluation.tta
    if found is not None and found.significant and found.value > 0:
        console.print(
            f"Averaging each image with its horizontal flip would raise validation {score_words(found.score)} from "
            f"{found.first:.1%} to {found.second:.1%} ({p_words(found.p_value)}) and double the time of every "
            "prediction: --set evaluate.tta=flip",
            soft_wrap=True,
        )


def _print_classes(test: Scores, console: Console) -> None:
    """The classes with the lowest recall."""
    imperfect = [(name, row) for name, row in (test.per_class or {}).items() if row.support and row.recall < 1]
    imperfect.sort(key=lambda item: item[1].recall)
    weakest = [f"{escape(name)} {row.recall:.0%} of {row.support}" for name, row in imperfect[:_WEAKEST]]
    lowest = f"Lowest recall: {', '.join(weakest)}." if weakest else "Every one was right."
    console.print(f"{test.num_images:,} test images, used once. {lowest}", soft_wrap=True)


def _print_labels(test: Scores, console: Console) -> None:
    """The labels with the lowest F1, and how many images have how many wrong labels."""
    imperfect = [(name, row) for name, row in (test.per_class or {}).items() if row.support and row.f1 < 1]
    imperfect.sort(key=lambda item: item[1].f1)
    weakest = [f"{escape(name)} {row.f1:.0%} ({row.support})" for name, row in imperfect[:_WEAKEST]]
    lowest = f"Lowest F1: {', '.join(weakest)}." if weakest else "Every label of every one was right."
    console.print(f"{test.num_images:,} test images, used once. {lowest}", soft_wrap=True)
    wrong = [*(test.wrong_labels or []), 0, 0]
    more = f"one in {wrong[1]:,}, more in {sum(wrong[2:]):,}"
    console.print(f"Wrong labels: none in {wrong[0]:,} images, {more}.", soft_wrap=True)
