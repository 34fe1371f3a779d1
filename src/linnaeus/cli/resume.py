"""`linnaeus resume`: go on with a run that was stopped."""

from __future__ import annotations

from pathlib import Path

from linnaeus.cli.bars import Bars
from linnaeus.cli.summary import print_summary
from linnaeus.progress import SILENT


def resume(run: Path, /) -> int:
    """Resume a run that was stopped by Ctrl-C, a time limit of the cluster or a power cut.

    Training continues from the last checkpoint with the settings in config.yaml. On a CPU the resulting weights are
    exactly those of an uninterrupted run.

    Example: linnaeus resume runs/photos

    Parameters
    ----------
    run
        Folder of the run.
    """
    from linnaeus.machine import is_main_process
    from linnaeus.run import fit  # takes seconds: torch

    progress = Bars() if is_main_process() else SILENT
    finished = fit.resume(run, progress=progress)
    if is_main_process():
        print_summary(finished)
    return 0
