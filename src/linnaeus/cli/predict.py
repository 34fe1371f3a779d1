"""`linnaeus predict`: a table on the screen, or a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from linnaeus.atomic import write_whole
from linnaeus.cli.bars import Bars
from linnaeus.cli.main import OK, SOME_FAILED
from linnaeus.config.settings import RuntimeConfig
from linnaeus.errors import ConfigError, OutputError

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 50
_PIPE_COLUMNS = 200
_FORMATS = (".csv", ".jsonl", ".parquet")


def predict(
    model_or_run: Path,
    /,
    *paths: Annotated[str, Parameter(required=True)],
    out: Path | None = None,
    top_k: int = 1,
    all_probabilities: Annotated[bool, Parameter(negative="")] = False,
    prediction_sets: Annotated[bool, Parameter(negative="")] = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = RuntimeConfig.model_fields["device"].default,
    batch_size: int = 64,
) -> int:
    """Classify images with a trained model.

    Prints a table, or writes it to a file with `--out`. Where images have several labels, all labels that reach their
    thresholds are listed. A file that cannot be read gets a row with an error message; all other images are still
    classified, and the exit status is 1.

    Example: `linnaeus predict runs/digits photos/ --out labels.csv --top-k 3`

    Parameters
    ----------
    model_or_run
        Folder of a run, or a model folder copied from one.
    paths
        Images, folders (including all folders below them), or patterns such as `'photos/*.jpg'`.
    out
        Write the table to this `.csv`, `.jsonl` or `.parquet` file instead of printing it.
    top_k
        Number of classes to list per image, the most probable first.
    all_probabilities
        Add one column per class with its probability.
    prediction_sets
        Add a column with the prediction set of each image: classes that include the true one with the probability
        `evaluate.coverage` of the configuration (for several labels: that fraction of the image's labels).
    device
        Where the network runs.
    batch_size
        Number of images per forward pass. Smaller batches need less memory.
    """
    if out is not None:
        _check_out(out)

    from linnaeus.bundle.files import bundle_folder, load_bundle  # takes seconds: torch
    from linnaeus.deployment.predictor import Predictor

    predictor = Predictor(load_bundle(bundle_folder(model_or_run)), device=device, batch_size=batch_size)
    table = predictor.predict(
        paths,
        top_k=top_k,
        all_probabilities=all_probabilities,
        prediction_sets=prediction_sets,
        progress=Bars(Console(stderr=True)),
    )
    num_failed = int((table["error"] != "").sum())
    if out is None:
        _show(table)
    else:
        write_table(table, out)
        print(f"{len(table):,} rows written to {out}")
    if num_failed:
        print(f"{num_failed:,} of {len(table):,} could not be read; see the column 'error'.", file=sys.stderr)
    return SOME_FAILED if num_failed else OK


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write CSV, JSON lines or Parquet by the extension, whole or not at all; missing values are empty or null.

    Several labels, and prediction sets, are a list in JSON and Parquet; in CSV they have `|` between them, as `linnaeus
    train` reads labels.
    """
    kind = path.suffix.lower()
    if kind == ".csv":
        lists = {
            name: table[name].map("|".join, na_action="ignore")
            for name in ("labels", "prediction_set")
            if name in table
        }
        table = table.assign(**lists)
        write_whole(path, lambda temporary: table.to_csv(temporary, index=False, lineterminator="\n"))
    elif kind == ".jsonl":
        write_whole(
            path,
            lambda temporary: table.to_json(
                temporary, orient="records", lines=True, force_ascii=False, double_precision=15, compression=None
            ),
        )
    else:
        write_whole(path, lambda temporary: table.to_parquet(temporary, index=False))


def _check_out(path: Path) -> None:
    """Refuse before the work what cannot be written after it."""
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"--out {path}: the name must end in one of {', '.join(_FORMATS)}.")
    if path.is_dir():
        raise OutputError(f"--out {path} is a folder. Name a file in it, such as {path / 'labels.csv'}.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        reason = "may not be written to" if folder.is_dir() else "is a file"
        raise OutputError(f"--out {path}: {folder} {reason}. Name a file in another folder.")


def _show(table: pd.DataFrame) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _PIPE_COLUMNS)
    page = Table(box=None, pad_edge=False, header_style="bold")
    page.add_column("path", overflow="fold")
    several = "labels" in table.columns
    if several:
        page.add_column("labels", overflow="fold")
    suffixes = ["", *(f"_{name.removeprefix('label_')}" for name in table.columns if name.startswith("label_"))]
    every = [name for name in table.columns if name.startswith("probability:")]
    for suffix in suffixes:
        first = "most likely" if several else "label"
        page.add_column(f"{suffix[1:]}." if suffix else first, overflow="fold")
        page.add_column("%", justify="right", no_wrap=True)
    more = [name for name in ("prediction_set", "ood") if name in table.columns]
    for name in more:
        page.add_column(name, overflow="fold")
    for name in every:
        page.add_column(Text(name.removeprefix("probability:")), justify="right", no_wrap=True)
    for row in table.head(MAX_ROWS).to_dict("records"):
        cells = [Text(row["path"])]
        if row["error"]:
            cells.append(Text(row["error"], style="red"))
        else:
            if several:
                cells.append(Text(", ".join(row["labels"])) if row["labels"] else Text("no label", style="dim"))
            for suffix in suffixes:
                cells += [Text(row[f"label{suffix}"]), Text(f"{100 * row[f'probability{suffix}']:.1f}")]
            if "prediction_set" in more:
                cells.append(Text(", ".join(row["prediction_set"])))
            if "ood" in more:
                cells.append(Text("out of distribution", style="yellow") if row["ood"] else Text(""))
            cells += [Text(f"{100 * row[name]:.1f}") for name in every]
        page.add_row(*cells)
    console.print(page)
    if len(table) > MAX_ROWS:
        console.print(f"... and {len(table) - MAX_ROWS:,} more. See all with --out labels.csv", highlight=False)
