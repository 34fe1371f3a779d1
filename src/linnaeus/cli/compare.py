"""`linnaeus compare`: finished runs side by side, and which of their differences are significant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from linnaeus.atomic import write_whole
from linnaeus.config.settings import EvaluateConfig
from linnaeus.errors import ConfigError
from linnaeus.report.wording import CACHED_FEATURES, score_words

if TYPE_CHECKING:
    from linnaeus.runs.compare import RunComparison

MOST_PAIRS, MOST_SCORES = 15, 3
"""On a terminal; page and tables have them all."""


def compare(
    *runs: Annotated[Path, Parameter(required=True)],
    split: Literal["test", "validation", "out-of-fold"] = "test",
    html: Path | None = None,
    csv: Path | None = None,
    confidence: float = EvaluateConfig.model_fields["confidence"].default,
) -> int:
    """Compare trained models on the same images, and test which differences are significant.

    The runs must have the same images and classes. Every pair of runs is tested with McNemar's exact test or, where
    images have several labels or belong to groups, with a permutation test. p-values are corrected for the number of
    pairs (Holm's method).

    To choose between models, compare them on validation or out-of-fold images: test scores that were used to make a
    choice are too optimistic.

    Example: `linnaeus compare runs/a runs/b --split out-of-fold --html comparison.html`

    Parameters
    ----------
    runs
        Folders of finished runs.
    split
        Images to compare on: the test images; the validation images; or out-of-fold, all training and validation
        images, each predicted by a model that was not trained on it (needs runs with `--folds`, or heads trained with
        optimizer=lbfgs).
    html
        Also write a page.
    csv
        Also write the table of runs to this file, and the table of pairs beside it (NAME-pairs.csv).
    confidence
        Confidence level of all intervals and tests.
    """
    if not 0.5 < confidence < 1:
        raise ConfigError(f"--confidence is a level such as 0.95, not {confidence:g}.")
    from linnaeus.runs.compare import compare_runs  # takes seconds: torch

    found = compare_runs(runs, confidence=confidence, split=split)
    _show(found)
    if csv is not None:
        pairs = csv.with_name(f"{csv.stem}-pairs{csv.suffix}")
        write_whole(csv, lambda temporary: found.to_frame().to_csv(temporary, index=False))
        write_whole(pairs, lambda temporary: found.pairs_to_frame().to_csv(temporary, index=False))
        print(f"Tables   {csv}, {pairs}")
    if html is not None:
        from linnaeus.report.compare_page import write_compare_page

        write_compare_page(
            html,
            found.to_frame(),
            list(found.score_names),
            list(found.pairings),
            level=confidence,
            images=found.images_in_words,
        )
        print(f"Page     {html}")
    return 0


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """Each path -> what tells it apart on a terminal: its last part, or all of it where two end alike."""
    last = {name: Path(name).name for name in names}
    return last if len(set(last.values())) == len(names) else {name: name for name in names}


def _show(found: RunComparison) -> None:
    short = _short_names([each.name for each in found.candidates])
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    for name in found.score_names[:MOST_SCORES]:
        table.add_column(score_words(name), justify="right")
    for name in ("time", "parameters", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found.candidates:
        cells = []
        for name in found.score_names[:MOST_SCORES]:
            score = each.scores[name]
            cells.append(f"{score.value:.3f}\n[dim]{score.low:.3f}-{score.high:.3f}[/dim]")
        seconds, parameters, size = (each.facts[name] for name in ("seconds", "num_parameters", "num_bytes"))
        cached = each.facts["seconds_of_cached_features"]
        cells += [
            "" if seconds is None else f"{seconds:,.0f} s" + (f"\n[dim]+ {cached:,.0f} s[/dim]" if cached else ""),
            "" if parameters is None else f"{parameters / 1e6:.1f} M",
            "" if size is None else f"{size / 1e6:.1f} MB",
        ]
        table.add_row(escape(short[each.name]), *cells)
    console.print(table)
    if any(each.facts["seconds_of_cached_features"] for each in found.candidates):
        console.print(f"+: {CACHED_FEATURES}.", style="dim")
    console.print()
    for full in found.pairings[:MOST_PAIRS]:
        pair = replace(full, better=short[full.better], worse=short[full.worse])
        console.print(escape(pair.describe()), style="bold" if pair.significant else "", soft_wrap=True)
    if len(found.pairings) > MOST_PAIRS:
        console.print(f"... and {len(found.pairings) - MOST_PAIRS:,} more pairs. See all with --csv or --html.")
    num = len(found.candidates[0].predictions)
    pairs = "1 pair" if len(found.pairings) == 1 else f"{len(found.pairings):,} pairs"
    level = f"{100 * found.confidence:g} %"
    console.print(f"{num:,} {found.images_in_words}; {level} intervals; p values corrected for {pairs} (Holm).")
