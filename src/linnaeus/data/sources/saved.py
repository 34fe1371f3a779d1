"""The saved source: a data set that was read before and kept as one Parquet file, the manifest of a run among them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from linnaeus.data.manifest import Manifest
from linnaeus.data.sources.options import NO_OPTIONS, SourceOptions


def recognise_saved(path: Path) -> bool:
    """A Parquet file that says it is ours."""
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return False
    try:
        return b"linnaeus" in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException):
        return False


def read_saved(path: Path, options: SourceOptions = NO_OPTIONS) -> Manifest:
    """The manifest as it was saved. With `image_root`, images that were files are looked for there by their ids.

    Raises DataError if the file is damaged or another kind of Parquet.
    """
    found = Manifest.load(path)
    if options.image_root is None:
        return found
    root = options.image_root.resolve()
    moved = [
        uri if "://" in uri else f"{root}/{id.rpartition('#')[0] if found.boxes is not None else id}"
        for id, uri in zip(found.ids.to_pylist(), found.uris.to_pylist(), strict=True)
    ]
    return dataclasses.replace(found, uris=pa.array(moved, pa.large_string()))
