"""`linnaeus ensemble`: several finished runs in, one model and a paired test out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from linnaeus.cli.bars import Bars


def ensemble(
    *runs: Annotated[Path, Parameter(required=True)],
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    average_weights: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Combine several trained models into an ensemble.

    The predicted probabilities of the runs are averaged. Which runs are included, and with which weight, is chosen
    greedily on the validation images. On the test images, which must be the same for all runs, a paired test shows
    whether the ensemble is significantly better than the best single run. The folder it writes contains a model that
    `linnaeus predict` can load.

    Example: `linnaeus ensemble runs/a runs/b runs/c --out runs/abc`

    Parameters
    ----------
    runs
        Folders of finished runs on the same images.
    out
        Folder to write. Default: the next free runs/ensemble.
    average_weights
        Average the weights of the networks instead of their probabilities. The result is one network, as fast as a
        single run; the runs must have started from the same weights.
    force
        Replace the run that is already in the folder.
    """
    from linnaeus.runs import ensemble  # takes seconds: torch

    if average_weights:
        result = ensemble.combine_weights(runs, out=out, force=force, progress=Bars())
    else:
        result = ensemble.combine(runs, out=out, force=force, progress=Bars())
    console = Console(highlight=False)
    table = Table("run", "weight", box=None, pad_edge=False, header_style="bold")
    for name, weight in result.weights.items():
        table.add_row(escape(name), f"{weight:.0%}" if weight else "left out")
    console.print(table)
    console.print(escape(result.comparison.describe(first=str(result.best), second="the ensemble")), soft_wrap=True)
    console.print(f"Report   {escape(str(result.path / 'report.html'))}", soft_wrap=True)
    console.print(f"Model    {escape(str(result.path / 'model'))}", soft_wrap=True)
    console.print(f"Next     linnaeus predict {escape(str(result.path))} IMAGES...", soft_wrap=True)
    return 0
