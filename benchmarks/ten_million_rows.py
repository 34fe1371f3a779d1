"""Ten million rows in a Manifest: memory, and seconds to divide them.

    python benchmarks/ten_million_rows.py [ROWS]

Claim: 10,000,000 rows of 100 classes with their ids and paths take under 2 GB at their most, and are divided stratified
in under 30 s. Paths are made up, no file is opened. Also told: saving, reading again, and the same rows in groups of
about three. The peak is that of the whole process, Python and libraries included, in which each step runs after the
others.
"""

from __future__ import annotations

import dataclasses
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, VALIDATION, Manifest
from linnaeus.data.splits.stratified import assign_splits

T = TypeVar("T")
NUM_CLASSES = 100


def timed(words: str, work: Callable[[], T]) -> T:
    start = time.perf_counter()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"{words}: {time.perf_counter() - start:.1f} s, peak so far {peak / 1e9:.2f} GB", flush=True)
    return result


def make_manifest(num_rows: int) -> Manifest:
    """A long tail of classes: the commonest has about 30 times the images of the rarest."""
    fractions = 1.0 / np.arange(3, NUM_CLASSES + 3)
    targets = np.random.default_rng(0).choice(NUM_CLASSES, num_rows, p=fractions / fractions.sum())
    numbers = pa.array(np.arange(num_rows)).cast(pa.large_string())

    def around(start: str) -> pa.LargeStringArray:
        parts = [pa.scalar(text, pa.large_string()) for text in (start, ".jpg", "")]
        return pc.binary_join_element_wise(parts[0], numbers, parts[1], parts[2])

    return Manifest(
        ids=around("images/"),
        uris=around("/data/photos/images/"),
        targets=targets,
        splits=np.full(num_rows, UNASSIGNED, np.int8),
        classes=tuple(f"class {k}" for k in range(NUM_CLASSES)),
    )


def divide(manifest: Manifest) -> Manifest:
    return assign_splits(manifest, validation_fraction=0.15, validation_max=2500, test_fraction=0.15, seed=0)


def make_divide_and_save(num_rows: int, path: Path) -> str:
    """Returns the fingerprint; nothing else is left in memory."""
    manifest = timed(f"{num_rows:,} rows made", lambda: make_manifest(num_rows))
    divided = timed("divided, stratified (claim: under 30 s and 2 GB)", lambda: divide(manifest))
    print(", ".join(f"{len(divided.rows(split)):,}" for split in (TRAIN, VALIDATION, TEST)))
    timed("saved", lambda: divided.save(path))
    print(f"{path.stat().st_size / 1e6:.0f} MB on disk")
    return timed("fingerprint", lambda: divided.fingerprint)


def main() -> None:
    num_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.parquet"
        fingerprint = make_divide_and_save(num_rows, path)
        manifest = timed("read again", lambda: Manifest.load(path))
    assert manifest.fingerprint == fingerprint
    groups = np.random.default_rng(1).integers(0, num_rows // 3, num_rows)
    unassigned = np.full(num_rows, UNASSIGNED, np.int8)
    grouped = dataclasses.replace(manifest, splits=unassigned, groups=groups, targets=manifest.targets[groups])
    timed("divided, stratified, groups whole", lambda: divide(grouped))


if __name__ == "__main__":
    main()
