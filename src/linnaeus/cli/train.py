"""`linnaeus train`: images in, a tested model and a report out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from linnaeus.cli.bars import Bars
from linnaeus.cli.summary import print_summary
from linnaeus.config import overlay, settings_from
from linnaeus.errors import ConfigError
from linnaeus.progress import SILENT


def train(
    data: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    recipe: str | None = None,
    epochs: int | None = None,
    image_size: int | None = None,
    seed: int | None = None,
    time_limit: str | None = None,
    device: str | None = None,
    test: str | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    force: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a classifier on labelled images, test it and write a report.

    Example: linnaeus train photos/ --out runs/photos --time-limit 10m

    Parameters
    ----------
    data
        A folder of class folders, a folder with train/, validation/ and test/ of class folders, or a built-in data
        set (`digits`).
    out
        Folder of the run; by default the next free runs/NAME.
    recipe
        Name of a recipe (`linnaeus recipes`) or a file of your own; by default the plan chooses.
    epochs
        Passes over the training images, in every phase.
    image_size
        Side in pixels that the network sees.
    seed
        Everything random follows from it.
    time_limit
        Training ends within this time: 90s, 10m, 1.5h.
    device
        auto, cpu, cuda or mps.
    test
        A separate test set with the same classes.
    set_
        Any other setting, as section.field=value; repeat it for several.
    force
        Replace a run that is in the folder already.
    """
    settings: dict[str, Any] = {"data": {"source": data}}
    given = {
        "data.test": test,
        "image.size": image_size,
        "runtime.device": device,
        "seed": seed,
        "time_limit_seconds": None if time_limit is None else parse_seconds(time_limit),
    }
    for name, value in given.items():
        if value is not None:
            section, _, field = name.rpartition(".")
            settings = overlay(settings, {section: {field: value}} if section else {field: value})
    settings = overlay(settings, settings_from(set_))

    from linnaeus.machine import is_main_process  # takes seconds: torch
    from linnaeus.pipeline import fit

    progress = Bars() if is_main_process() else SILENT
    run = fit(settings, recipe=recipe, epochs=epochs, out=out, force=force, progress=progress)
    if is_main_process():
        print_summary(run)
    return 0


def parse_seconds(text: str) -> float:
    """ "90", "90s", "10m" or "1.5h" as seconds; raises ConfigError for anything else or nothing positive."""
    factors = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, factor = (text[:-1], factors[text[-1]]) if text[-1:] in factors else (text, 1.0)
    try:
        seconds = float(number) * factor
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"--time-limit takes a time such as 90s, 10m or 1.5h, not '{text}'.")
    return seconds
