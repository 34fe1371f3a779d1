"""The image cache of CIFAR-10 from its 60,000 image files: seconds to build, and to open again.

    LINNAEUS_DATA=FOLDER python benchmarks/cache_cifar10.py

FOLDER/cifar10 holds train/ and test/ folders of class folders. Claim: built in under 60 s, reopened in under 1 s, on 2
cores. The cache goes to a temporary folder; reading the folder's names is timed apart. Reopening is the median of 3.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from linnaeus.data.cache.images import CachedImages, open_cache
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.sources import read_source

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def main() -> None:
    data = Path(os.environ["LINNAEUS_DATA"]) / "cifar10"
    manifest, seconds = timed(lambda: read_source(str(data)))
    print(f"{len(manifest):,} files listed in {seconds:.2f} s")
    with tempfile.TemporaryDirectory() as folder:

        def open_here() -> CachedImages:
            return open_cache(manifest, ImageSpec(32, 32), folder=Path(folder))

        cached, seconds = timed(open_here)
        assert cached.readable.all(), cached.problems
        print(
            f"built in {seconds:.1f} s ({len(manifest) / seconds:,.0f} images/s, {len(os.sched_getaffinity(0))} cores)"
        )
        again = [timed(open_here)[1] for _ in range(3)]
        print(f"reopened in {statistics.median(again):.2f} s (of 3: {', '.join(f'{s:.2f}' for s in sorted(again))})")


if __name__ == "__main__":
    main()
