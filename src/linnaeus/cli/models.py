"""`linnaeus models`: the backbones there are, and whether their weights can be had on this machine."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from linnaeus.errors import ModelError, nearest_name

_COUNTED = 100


def models(
    pattern: str = "*", /, *, weights: Annotated[Path | None, Parameter(name=["--weights", "-w"])] = None
) -> int:
    """List the pretrained backbones and the weights that are on this machine.

    Pass the name of a backbone to `linnaeus train` with `--backbone`.

    Example: linnaeus models "resnet*"

    Parameters
    ----------
    pattern
        Part of a name, or a pattern such as "efficientnet_b?".
    weights
        Another folder to look for weights in, besides the packages installed with Linnaeus and the Hugging Face cache.
    """
    from linnaeus.models.backbones import backbone_spec, count_backbone, timm_names  # takes seconds: timm

    names = timm_names()
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    found = [name for name in names if fnmatch.fnmatch(name, wanted)]
    if not found:
        raise ModelError(f"No architecture matches '{pattern}'.{nearest_name(pattern, names)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("backbone", no_wrap=True)
    table.add_column("input (px)", justify="right")
    counted = len(found) <= _COUNTED
    for heading in ("parameters (M)", "features") if counted else ():
        table.add_column(heading, justify="right")
    table.add_column("weights")
    for name in found:
        columns = [str(backbone_spec(name).input_size)]
        if counted:
            num_parameters, num_features = count_backbone(name)
            columns += [f"{num_parameters / 1e6:.1f}", f"{num_features:,}"]
        table.add_row(name, *columns, _weights_line(name, weights))
    console = Console()
    console.print(table)
    more = "" if counted else f" Parameters are shown for {_COUNTED} or fewer."
    console.print(f"{len(found):,} of {len(names):,} architectures.{more}", highlight=False)
    return 0


def _weights_line(name: str, folder: Path | None) -> str:
    from linnaeus.errors import WeightsNotFoundError
    from linnaeus.models.backbones import hub_repository
    from linnaeus.models.packaged import packaged_weights
    from linnaeus.models.weights import cached_weights, find_weights

    if folder is not None:
        try:
            return f"here: {find_weights(name, str(folder)).name}"
        except WeightsNotFoundError:
            pass
    if packaged_weights(name) is not None:
        return "here: packaged"
    if cached_weights(name) is not None:
        return "here: the hub's cache"
    return "on the hub (--allow-download)" if hub_repository(name) else "none published"
