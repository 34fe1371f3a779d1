"""What a finished run prints: its scores, its weakest classes, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from linnaeus.report.wording import score_words
from linnaeus.run_folder import RunDir

if TYPE_CHECKING:
    from linnaeus.run.finished import Run

_SCORES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_precision": "mean precision",
    "macro_f1": "macro F1",
}
_SCORES_OF_SEVERAL = {
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "mean_average_precision": "mean average precision",
    "label_accuracy": "label accuracy",
    "exact_match": "all labels right",
}
_WEAKEST = 3


def print_summary(run: Run, *, console: Console | None = None) -> None:
    """Print a short table of the test scores and the next commands to try."""
    console = console or Console(highlight=False)
    evaluation = run.evaluation
    test, seconds = evaluation["test"], evaluation["seconds"]
    confidence = 100 * run.config.evaluate.confidence
    table = Table("test score", "value", f"{confidence:g} % interval", box=None, pad_edge=False, header_style="bold")
    several = "micro_f1" in test
    for key, words in (_SCORES_OF_SEVERAL if several else _SCORES).items():
        score = test[key]
        table.add_row(words, f"{score['value']:.2%}", f"{score['low']:.2%} - {score['high']:.2%}")
    console.print()
    console.print(table)
    if several:
        _print_labels(test, console)
    else:
        _print_classes(test, console)
    _print_label_issues(run, console)
    _print_offers(evaluation, console)
    at_hand = seconds.get("features_at_hand")
    console.print(
        f"Training took {seconds['train']:.0f} s, everything {seconds['total']:.0f} s"
        + (f", with features at hand that had taken {at_hand:.0f} s." if at_hand else ".")
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


def _print_offers(evaluation: Mapping[str, Any], console: Console) -> None:
    """What would be better still, and its price."""
    offer = evaluation.get("offers", {}).get("mirror_views")
    if offer is not None and offer["helps"]:
        console.print(
            f"Mirror views would raise validation {score_words(offer['score'])} from {offer['now']:.1%} to "
            f"{offer['then']:.1%} and double the time of every prediction: --set evaluate.views=mirror",
            soft_wrap=True,
        )


def _print_classes(test: Mapping[str, Any], console: Console) -> None:
    """The classes with the lowest recall."""
    imperfect = [item for item in test["per_class"].items() if item[1]["support"] and item[1]["recall"] < 1]
    imperfect.sort(key=lambda item: item[1]["recall"])
    weakest = [f"{escape(name)} {scores['recall']:.0%} of {scores['support']}" for name, scores in imperfect[:_WEAKEST]]
    lowest = f"Lowest recall: {', '.join(weakest)}." if weakest else "Every one was right."
    console.print(f"{test['num_images']:,} test images, looked at once. {lowest}", soft_wrap=True)


def _print_labels(test: Mapping[str, Any], console: Console) -> None:
    """The labels with the lowest F1, and how many images have how many wrong labels."""
    imperfect = [item for item in test["per_class"].items() if item[1]["support"] and item[1]["f1"] < 1]
    imperfect.sort(key=lambda item: item[1]["f1"])
    weakest = [f"{escape(name)} {scores['f1']:.0%} ({scores['support']})" for name, scores in imperfect[:_WEAKEST]]
    lowest = f"Lowest F1: {', '.join(weakest)}." if weakest else "Every label of every one was right."
    console.print(f"{test['num_images']:,} test images, looked at once. {lowest}", soft_wrap=True)
    wrong: list[int] = [*test["wrong_labels"], 0, 0]
    more = f"one in {wrong[1]:,}, more in {sum(wrong[2:]):,}"
    console.print(f"Wrong labels: none in {wrong[0]:,} images, {more}.", soft_wrap=True)
