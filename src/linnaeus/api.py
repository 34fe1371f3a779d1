"""The Python face of Linnaeus, for notebooks: the words of the commands, pandas in and out.

import linnaeus
run = linnaeus.train("photos/")
run.evaluation.test.accuracy
model = linnaeus.load(run.path)
model.predict(["new.jpg"], top_k=3)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from linnaeus.bundle.files import bundle_folder, load_bundle
from linnaeus.config.pages import overlay
from linnaeus.data.manifest import SPLITS, UNASSIGNED, Manifest, manifest_from_columns
from linnaeus.data.sources import read_source
from linnaeus.deployment.predictor import Predictor
from linnaeus.errors import DataError, nearest_name
from linnaeus.progress import SILENT, Progress
from linnaeus.run import fit
from linnaeus.run.finished import Run

__all__ = ["Manifest", "Predictor", "Run", "load", "predict", "read", "resume", "train"]


def read(data: str | Path | pd.DataFrame) -> Manifest:
    """Read labelled images without training.

    Args:
        data: a folder, a built-in name, or a table with the columns `path` and `label`, and perhaps `split`
            (train, validation, test, or empty to let Linnaeus choose) and `weight` (how much an image counts in
            training's loss).

    Raises DataError, naming the column or row, if the table does not fit.
    """
    if not isinstance(data, pd.DataFrame):
        return read_source(str(data))
    for column in ("path", "label"):
        if column not in data.columns:
            raise DataError(
                f"The table has no column '{column}'.{nearest_name(column, map(str, data.columns))} "
                "It needs 'path' and 'label'."
            )
    table = data.reset_index(drop=True)
    for column in ("path", "label"):
        if table[column].isna().any():
            raise DataError(f"Row {_first(table[column].isna())} of the table has no {column}.")
    paths = [str(path) for path in table["path"]]
    if table["path"].duplicated().any():
        raise DataError(f"The table names {paths[_first(table['path'].duplicated())]} twice.")
    return manifest_from_columns(
        ids=paths,
        uris=[str(Path(path).expanduser().absolute()) for path in paths],
        labels=[str(label) for label in table["label"]],
        splits=_split_positions(table) if "split" in table.columns else None,
        weights=_weights(table) if "weight" in table.columns else None,
    )


def train(
    data: str | Path | pd.DataFrame,
    *,
    out: str | Path | None = None,
    recipe: str | None = None,
    epochs: float | None = None,
    settings: Mapping[str, Any] | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Train a classifier, test it and write a report, as `linnaeus train` does.

    Args:
        data: as for `read`.
        out: the run folder; by default the next free runs/NAME.
        recipe: name or file; by default the plan chooses.
        epochs: of every phase.
        settings: nested as in a recipe, such as {"seed": 1, "image": {"size": 64}}.
        force: replace a run that is in the folder already.
        progress: hears of every step.

    Raises the errors of `linnaeus.errors`.
    """
    table = isinstance(data, pd.DataFrame)
    source = "table" if table else str(data)
    return fit.fit(
        overlay({"data": {"source": source}}, settings or {}),
        recipe=recipe,
        epochs=epochs,
        manifest=read(data) if table else None,
        out=None if out is None else Path(out),
        force=force,
        progress=progress,
    )


def resume(run: str | Path, *, progress: Progress = SILENT) -> Run:
    """Go on with a run that was stopped, as `linnaeus resume` does; a finished run is returned as it is."""
    return fit.resume(Path(run), progress=progress)


def load(model: str | Path, *, device: str = "auto", batch_size: int = 64) -> Predictor:
    """Load a model from its folder, or from the folder of the run that made it.

    Raises BundleError if it is incomplete or damaged, DeviceError if there is no such device.
    """
    return Predictor(load_bundle(bundle_folder(Path(model))), device=device, batch_size=batch_size)


def predict(
    model: str | Path, paths: str | Path | Sequence[str | Path], *, top_k: int = 1, all_probabilities: bool = False
) -> pd.DataFrame:
    """Classify files, folders and globs: one row per file with path, label, probability and error.

    Where an image may have several labels, also the list `labels` of all that it is given. `all_probabilities` adds
    the probability of every class.
    """
    return load(model).predict(paths, top_k=top_k, all_probabilities=all_probabilities)


def _first(where: pd.Series) -> int:
    """Row number of the first True."""
    return int(np.flatnonzero(where.to_numpy())[0])


def _split_positions(table: pd.DataFrame) -> list[int]:
    known = {name: position for position, name in enumerate(SPLITS)} | {"val": 1, "valid": 1, "": UNASSIGNED}
    splits = [str(value).strip().lower() for value in table["split"].fillna("")]
    for row, split in enumerate(splits):
        if split not in known:
            raise DataError(f"Row {row} of the table has the split '{split}'; known are {', '.join(SPLITS)}.")
    return [known[split] for split in splits]


def _weights(table: pd.DataFrame) -> list[float]:
    weights = pd.to_numeric(table["weight"], errors="coerce").to_numpy(np.float64)
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"Row {row} of the table has the weight '{table['weight'][row]}', which is no number from 0 on."
        )
    return [float(weight) for weight in weights]
