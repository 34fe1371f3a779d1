"""`linnaeus explain`: pictures of where a model looks, and a table of what it saw."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from linnaeus.cli.main import OK, SOME_FAILED
from linnaeus.config.settings import RuntimeConfig
from linnaeus.errors import OutputError, UnreadableImageError

if TYPE_CHECKING:
    from linnaeus.analysis.explain import Explanation

LEAST_SIDE_PX = 224
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Row:
    """One line of the table; `error` instead of the rest where an image cannot be read."""

    path: Path
    label: str = ""
    probability: float = 0.0
    place: str = ""
    file: Path | None = None
    error: str = ""


def explain(
    model_or_run: Path,
    /,
    *images: Annotated[str, Parameter(required=True)],
    class_name: Annotated[str | None, Parameter(name="--class")] = None,
    out: Path = Path("explained"),
    device: Literal["auto", "cpu", "cuda", "mps"] = RuntimeConfig.model_fields["device"].default,
) -> int:
    """Show which parts of an image a trained model bases its prediction on.

    Writes one PNG per image and class, with the image beside its heat map, and prints a table. An image that cannot be
    read gets a row with an error message; all other images are still explained, and the exit status is 1.

    Example: `linnaeus explain runs/photos new/1.jpg --out explained/`

    Parameters
    ----------
    model_or_run
        Folder of a run, or a model folder copied from one.
    images
        Images, folders (including all folders below them), or patterns such as `'photos/*.jpg'`.
    class_name
        Explain this class. Default: the most probable class or, with several labels, every label that is predicted.
    out
        Folder for the PNG files.
    device
        Where the network runs.
    """
    from linnaeus.analysis.explain import METHOD_WORDS, explain_labels, place_of  # takes seconds: torch
    from linnaeus.bundle.files import bundle_folder, load_bundle
    from linnaeus.data.images.decode import read_image
    from linnaeus.deployment.predictor import expand_paths
    from linnaeus.machine import choose_device

    if out.exists() and not out.is_dir():
        raise OutputError(f"--out {out} is a file. Name a folder for the pictures.")
    bundle = load_bundle(bundle_folder(model_or_run), device=choose_device(device))
    labels = None if class_name is None else [class_name]
    rows: list[Row] = []
    taken: set[str] = set()
    method = None
    for path in expand_paths(images):
        try:
            if not path.is_file():
                raise UnreadableImageError("no images in this folder" if path.is_dir() else "no such file")
            picture = read_image(str(path))
        except UnreadableImageError as error:
            rows.append(Row(path, error=str(error).removeprefix(f"{path}: ")))
            continue
        for found in explain_labels(bundle, picture, labels=labels):
            file = out / _free_name(f"{path.stem}-{found.label}", taken)
            _write(file, found)
            rows.append(Row(path, found.label, found.probability, place_of(found.heat), file))
            method = METHOD_WORDS[found.method]
    _show(rows)
    if method is not None:
        print(f"\n{len(taken):,} picture{'' if len(taken) == 1 else 's'} in {out}. Heat maps by {method}.")
    num_failed = sum(bool(row.error) for row in rows)
    if num_failed:
        print(f"{num_failed:,} of {len(rows):,} could not be read.", file=sys.stderr)
    return SOME_FAILED if num_failed else OK


def _free_name(wanted: str, taken: set[str]) -> str:
    """A file name that no picture of this command has yet; class names may hold slashes and worse."""
    stem = re.sub(r"[^\w.-]+", "_", wanted).lstrip(".")[:_LONGEST_NAME] or "image"
    number, name = 2, f"{stem}.png"
    while name.casefold() in taken:
        number, name = number + 1, f"{stem}-{number}.png"
    taken.add(name.casefold())
    return name


def _write(path: Path, found: Explanation) -> None:
    """The picture as the network gets it, and beside it the same under its heat; small ones enlarged pixel by pixel."""
    import numpy as np
    from PIL import Image

    from linnaeus.analysis.explain import overlay
    from linnaeus.atomic import write_whole

    factor = -(-LEAST_SIDE_PX // found.fitted.shape[0])
    both = np.concatenate([found.fitted, overlay(found.fitted, found.heat)], axis=1)
    enlarged = both.repeat(factor, axis=0).repeat(factor, axis=1)
    write_whole(path, lambda temporary: Image.fromarray(enlarged).save(temporary, "png"))


def _show(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 200)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("path", "label", "%", "looks at", "picture"):
        table.add_column(name, overflow="fold", justify="right" if name == "%" else "left")
    for row in rows:
        cells = [row.label, f"{100 * row.probability:.1f}", row.place, str(row.file)]
        if row.error:
            table.add_row(Text(str(row.path)), Text(row.error, style="red"))
        else:
            table.add_row(Text(str(row.path)), *map(Text, cells))
    console.print(table)
