"""`linnaeus train`: images in, a tested model and a report out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from linnaeus.cli.bars import Bars
from linnaeus.cli.data_options import AS_IT_IS, DataOptions
from linnaeus.cli.summary import print_summary
from linnaeus.config.pages import overlay, settings_from
from linnaeus.errors import ConfigError
from linnaeus.progress import SILENT


def train(
    data: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    recipe: str | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    allow_download: Annotated[bool, Parameter(negative="")] = False,
    folds: int | None = None,
    epochs: float | None = None,
    image_size: int | None = None,
    seed: int | None = None,
    time_limit: str | None = None,
    device: str | None = None,
    data_options: DataOptions = AS_IT_IS,
    corrections: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    target: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    force: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a classifier on labelled images, test it and write a report.

    Example: linnaeus train photos/ --out runs/photos --time-limit 10m

    Parameters
    ----------
    data
        A folder of class folders, with or without train/, validation/ and test/; a table or a folder with one; arrays
        (.npy, .npz); any other layout that `--format` can name; or a built-in data set (`digits`).
    out
        Folder of the run; by default the next free runs/NAME.
    recipe
        Name of a recipe (`linnaeus recipes`) or a file of your own; by default the plan chooses.
    backbone
        A pretrained architecture of timm to build on, such as resnet50 (`linnaeus models`); several joined by +.
    weights
        Its weights: a file, a folder of them, or none to start from random ones; by default the hub's cache here.
    allow_download
        Fetch the weights from the hub if they are not on this machine.
    folds
        Train a head on the backbone's features without each of so many parts of the images, and average the heads.
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
    corrections
        Corrections that `linnaeus review` wrote, to put on top of the labels in the data; repeat it for several files.
    target
        A score wished for one class, such as recall:Helicopter=0.9; repeat it for several.
    set_
        Any other setting, as section.field=value; repeat it for several.
    force
        Replace a run that is in the folder already.
    """
    settings: dict[str, Any] = {"data": data_options.page(data)}
    given = {
        "data.corrections": list(corrections) or None,
        "model.name": backbone,
        "model.weights": weights,
        "model.allow_download": allow_download or None,
        "data.folds": folds,
        "image.size": image_size,
        "evaluate.targets": list(target) or None,
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
    from linnaeus.run.fit import fit

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
