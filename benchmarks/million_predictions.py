"""`linnaeus evaluate` on 1,000,000 predictions of 1,000 classes: how long, how much memory, how large a page.

    python benchmarks/million_predictions.py --rows 1000000 --classes 1000

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


def make(path: Path, *, rows: int, classes: int) -> None:
    rng = np.random.default_rng(0)
    names = [f"class {k}" for k in range(classes)]
    kinds = [("path", pa.string()), ("target", pa.string()), ("camera", pa.string())]
    schema = pa.schema([*kinds, *((f"probability:{name}", pa.float16()) for name in names)])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=["target", "camera"]) as writer:
        for start in range(0, rows, ROWS_AT_ONCE):
            num = min(ROWS_AT_ONCE, rows - start)
            targets = rng.integers(0, classes, num)
            logits = rng.standard_normal((num, classes), np.float32)
            logits[np.arange(num), targets] += BOOST
            np.exp(logits, out=logits)
            logits /= logits.sum(axis=1, keepdims=True)
            words = [
                pa.array([f"{start + k}.jpg" for k in range(num)]),
                pa.array([names[k] for k in targets]),
                pa.array([f"camera {k}" for k in rng.integers(0, 20, num)]),
            ]
            numbers = [pa.array(column) for column in np.ascontiguousarray(logits.T.astype(np.float16))]
            writer.write_table(pa.table([*words, *numbers], schema=schema))


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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "theirs.parquet", Path(folder) / "out"
        clock = time.perf_counter()
        make(path, rows=options.rows, classes=options.classes)
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
