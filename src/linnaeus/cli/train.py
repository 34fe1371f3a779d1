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
        A folder with one folder per class, with or without train/, validation/ and test/ above them; a table, or a
        folder that holds one; arrays (.npy, .npz); any other layout that `--format` can name; or a built-in data set
        (`digits`).
    out
        Folder of the run. Default: the next free runs/NAME.
    recipe
        Name of a recipe (see `linnaeus recipes`) or the path of your own YAML file. By default the plan chooses one.
    backbone
        Pretrained timm architecture to build on, such as resnet50 (see `linnaeus models`). Several can be joined with
        +. `none` trains a network of our own from scratch. By default the plan chooses.
    weights
        Pretrained weights of the backbone: a file, a folder of files, or `none` to start from random weights. Default:
        the weights installed with Linnaeus, then the Hugging Face cache on this machine.
    allow_download
        Download the weights from the Hugging Face hub if they are not on this machine.
    folds
        Number of cross-validation folds. One head is trained per fold on the other folds; the averaged head is shipped,
        and every image gets an out-of-fold prediction.
    epochs
        Number of passes over the training images, in every phase.
    image_size
        Height and width in pixels that the network sees.
    seed
        Random seed.
    time_limit
        Time in which training ends, such as 90s, 10m or 1.5h.
    device
        Where to train: auto, cpu, cuda or mps.
    corrections
        File of label corrections written by `linnaeus review`, applied on top of the labels of the data. Repeat the
        option for several files.
    target
        Lowest acceptable recall or precision of one class, such as recall:Helicopter=0.9. Repeat the option for
        several.
    set_
        Any other setting, as section.field=value. Repeat the option for several.
    force
        Replace the run that is already in the folder.
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
