"""`linnaeus evaluate` on 1,000,000 predictions of 1,000 classes: how long, how much memory, how large a page.

    python benchmarks/million_predictions.py --rows 1000000 --classes 1000
    python benchmarks/million_predictions.py --rows 100000 --classes 1000 --several    # three labels per image

Target: memory that does not grow with rows times classes, and a page below its limit of 15 MB. The file is made row
group by row group as float16 (2 GB), removed afterwards, and evaluated by the command in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS_AT_ONCE = 10_000
BOOST = 5.0


def make(path: Path, *, rows: int, classes: int, several: bool) -> None:
    rng = np.random.default_rng(0)
    names = [f"class {k}" for k in range(classes)]
    kinds = [("path", pa.string()), ("target", pa.string()), ("camera", pa.string())]
    schema = pa.schema([*kinds, *((f"probability:{name}", pa.float16()) for name in names)])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=["target", "camera"]) as writer:
        for start in range(0, rows, ROWS_AT_ONCE):
            num = min(ROWS_AT_ONCE, rows - start)
            given, probabilities = draw(rng, num, classes, several=several)
            words = [
                pa.array([f"{start + k}.jpg" for k in range(num)]),
                pa.array(["|".join(names[k] for k in np.flatnonzero(row)) for row in given]),
                pa.array([f"camera {k}" for k in rng.integers(0, 20, num)]),
            ]
            numbers = [pa.array(column) for column in np.ascontiguousarray(probabilities.T.astype(np.float16))]
            writer.write_table(pa.table([*words, *numbers], schema=schema))


def draw(rng: np.random.Generator, rows: int, classes: int, *, several: bool) -> tuple[np.ndarray, np.ndarray]:
    """bool [rows, classes], one true class of each row or three labels on average, and probabilities float32."""
    logits = rng.standard_normal((rows, classes), np.float32)
    if several:
        given = rng.random((rows, classes), np.float32) < 3 / classes
        return given, 1 / (1 + np.exp(4 - logits - 6 * given))
    given = np.zeros((rows, classes), np.bool_)
    given[np.arange(rows), rng.integers(0, classes, rows)] = True
    logits[given] += BOOST
    np.exp(logits, out=logits)
    return given, logits / logits.sum(axis=1, keepdims=True)


def watch(process: subprocess.Popen[bytes]) -> float:
    """The most anonymous memory, in GiB, of a process until it ends (Linux; 0 elsewhere)."""
    most = 0
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            lines = []
        most = max([most, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))])
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(process.returncode)
    return most / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--several", action="store_true", help="several labels per image")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "theirs.parquet", Path(folder) / "out"
        clock = time.perf_counter()
        make(path, rows=options.rows, classes=options.classes, several=options.several)
        print(f"made {path.stat().st_size / 1e9:.2f} GB in {time.perf_counter() - clock:.0f} s", flush=True)
        clock = time.perf_counter()
        command = [sys.executable, "-m", "linnaeus", "evaluate", "--predictions", str(path), "--out", str(out)]
        anonymous = watch(subprocess.Popen(command))
        seconds = time.perf_counter() - clock
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        sizes = ", ".join(f"{file.name} {file.stat().st_size / 1e6:.1f} MB" for file in sorted(out.iterdir()))
        print(
            f"evaluated in {seconds:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of processor time; at most "
            f"{used.ru_maxrss / 2**20:.2f} GiB resident, {anonymous:.2f} GiB of it no file's (the rest is shared "
            f"libraries); {sizes}"
        )


if __name__ == "__main__":
    main()
