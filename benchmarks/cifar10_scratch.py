"""CIFAR-10 from its 60,000 image files, from scratch: test accuracy, time and memory of our own recipe.

    LINNAEUS_DATA=FOLDER python benchmarks/cifar10_scratch.py --out cifar10.json

FOLDER/cifar10 holds train/ and test/ folders of class folders. Claims, on 2 cores with AMX: 94.0 % mean test accuracy
within 15 minutes of training, 86 % within 3, and less than 3 GB of memory at the peak.

Every run is what `linnaeus train FOLDER/cifar10 --recipe best-scratch-small --time-limit 15m --seed K` does, report
included, in a process of its own: `--seeds` full runs, then one that may train for `--budget-86` only. The runs share a
cache in a temporary folder, so only the first one decodes. The columns:

    test       fraction of test images that are right, looked at once, by the weights that were best in validation
    train s    training with its validations; reading, the cache and planning are `prepare s`, the rest is in `total s`
    to 86 % s  training until validation accuracy (on images set aside from training) first was 0.86
    peak MB    resident memory of that process at its highest, pages of the mapped cache included
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from linnaeus.cli.train import parse_seconds

RECIPE = "best-scratch-small"
GOAL, GOAL_SECONDS, C1_SCORE, MAX_BYTES = 0.94, 900.0, 0.86, 3e9


@dataclass(frozen=True)
class Result:
    """One run; `to_86_seconds` is None where validation never came that far."""

    name: str
    seed: int
    time_limit_seconds: float
    num_train: int
    num_test: int
    epochs: int
    accuracy: float
    low: float
    high: float
    prepare_seconds: float
    train_seconds: float
    total_seconds: float
    to_86_seconds: float | None
    peak_bytes: int
    precision: str


@dataclass(frozen=True)
class Verdict:
    """A target, and what became of it."""

    target: str
    measured: str
    met: bool


def train_once(name: str, source: str, out: str, *, seed: int, limit: float, epochs: int | None) -> Result:
    """Runs in a process of its own, so that time and memory are this run's alone."""
    from linnaeus.data.manifest import TRAIN
    from linnaeus.run.fit import fit

    settings = {"data": {"source": source}, "seed": seed, "time_limit_seconds": limit}
    run = fit(settings, recipe=RECIPE, epochs=epochs, out=Path(out))
    evaluation, history = run.evaluation, run.history
    accuracy, seconds = evaluation.test.score("accuracy"), evaluation.seconds
    there = history[history["validation_accuracy"] >= C1_SCORE]
    return Result(
        name=name,
        seed=seed,
        time_limit_seconds=limit,
        num_train=len(run.manifest.rows(TRAIN)),
        num_test=evaluation.test.num_images,
        epochs=len(history),
        accuracy=accuracy.value,
        low=accuracy.low,
        high=accuracy.high,
        prepare_seconds=seconds.prepare or 0.0,
        train_seconds=seconds.train or 0.0,
        total_seconds=seconds.total or 0.0,
        to_86_seconds=None if there.empty else float(there["seconds"].iloc[0]),
        peak_bytes=peak_bytes(),
        precision=run.bundle.provenance["environment"]["precision"],
    )


def peak_bytes() -> int:
    """Highest resident memory of this process; on Linux without what getrusage carries over from the parent."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe_machine() -> dict[str, Any]:
    """Runs in a process of its own too: the parent never loads torch."""
    import torch

    from linnaeus.machine import usable_cores
    from linnaeus.version import __version__

    capabilities = torch.cpu.get_capabilities()
    return {
        "processor": capabilities.get("cpu_name", "unknown"),
        "architecture": capabilities.get("architecture", "unknown"),
        "cores": usable_cores(),
        "amx_bf16": bool(capabilities.get("amx_bf16")),
        "avx512_bf16": bool(capabilities.get("avx512_bf16")),
        "torch": torch.__version__,
        "linnaeus": __version__,
        "load_before": round(os.getloadavg()[0], 2),
    }


def in_child(work: Any, *args: Any, **options: Any) -> Any:
    """Call `work` in a fresh process; if that dies, say so instead of waiting."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args, **options).result()


def verdicts(full: list[Result], short: Result | None, machine: dict[str, Any]) -> list[Verdict]:
    found = []
    where = "" if machine["amx_bf16"] else " (the target is for a processor with AMX, which this one has not)"
    if full:
        mean, slowest = statistics.mean(r.accuracy for r in full), max(r.train_seconds for r in full)
        target = f"{GOAL:.1%} mean test accuracy within {GOAL_SECONDS:.0f} s of training"
        measured = f"{mean:.2%} over {len(full)} seeds, the slowest {slowest:.0f} s{where}"
        found.append(Verdict(target, measured, met=mean >= GOAL and slowest <= GOAL_SECONDS))
    if short is not None:
        allowed, seconds = short.time_limit_seconds, short.train_seconds
        target = f"{C1_SCORE:.0%} test accuracy within {allowed:.0f} s of training"
        measured = f"{short.accuracy:.2%} in {seconds:.0f} s{where}"
        found.append(Verdict(target, measured, met=short.accuracy >= C1_SCORE and seconds <= allowed))
    peak = max(r.peak_bytes for r in [*full, *([short] if short else [])])
    target = f"peak memory under {MAX_BYTES / 1e9:.0f} GB"
    return [*found, Verdict(target, f"{peak / 1e9:.2f} GB", met=peak < MAX_BYTES)]


def spread(values: list[float], form: str) -> str:
    """Mean and sample standard deviation, and the range."""
    deviation = format(statistics.stdev(values), form) if len(values) > 1 else "unknown"
    return f"{statistics.mean(values):{form}} +- {deviation} ({min(values):{form}} to {max(values):{form}})"


HEADER = f"{'run':10s} {'epochs':>6s} {'test':>8s} {'95 % interval':>18s} {'train s':>8s} {'to 86 % s':>9s}"
HEADER += f" {'prepare s':>9s} {'total s':>8s} {'peak MB':>8s}"


def line_of(result: Result) -> str:
    interval = f"{result.low:.2%} to {result.high:.2%}"
    reached = "never" if result.to_86_seconds is None else f"{result.to_86_seconds:.1f}"
    line = f"{result.name:10s} {result.epochs:6d} {result.accuracy:8.2%} {interval:>18s} {result.train_seconds:8.1f}"
    return (
        f"{line} {reached:>9s} {result.prepare_seconds:9.1f} {result.total_seconds:8.1f} {result.peak_bytes / 1e6:8.0f}"
    )


def print_summary(full: list[Result], judged: list[Verdict]) -> None:
    if full:
        print(f"\nover {len(full)} seeds, mean +- standard deviation (range):")
        print(f"  test accuracy     {spread([r.accuracy for r in full], '.2%')}")
        print(f"  training          {spread([r.train_seconds for r in full], '.1f')} s")
        reached = [r.to_86_seconds for r in full if r.to_86_seconds is not None]
        if len(reached) == len(full):
            print(f"  86 % validation   {spread(reached, '.1f')} s")
        else:
            print(f"  86 % validation   reached by {len(reached)} of {len(full)}")
        print(f"  peak memory       {spread([r.peak_bytes / 1e6 for r in full], '.0f')} MB")
    print()
    for verdict in judged:
        print(f"{'MET    ' if verdict.met else 'NOT MET'} {verdict.target}: {verdict.measured}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="default $LINNAEUS_DATA/cifar10")
    parser.add_argument("--seeds", type=int, default=3, help="full runs, with seeds 0, 1, 2 ...; 0 for none")
    parser.add_argument("--epochs", type=int, help="of the full runs; by default the plan's")
    parser.add_argument("--time-limit", default="15m", help="of each full run's training, for which it is planned")
    parser.add_argument("--budget-86", default="3m", help="training time of the last run; 0 for no such run")
    parser.add_argument("--out", type=Path, help="also write everything to this JSON file, after every run")
    arguments = parser.parse_args()
    source = str((arguments.data or Path(os.environ["LINNAEUS_DATA"]) / "cifar10").resolve())
    limit = parse_seconds(arguments.time_limit)

    jobs = [(f"seed {seed}", seed, limit, arguments.epochs) for seed in range(arguments.seeds)]
    if arguments.budget_86 != "0":
        jobs.append((f"{arguments.budget_86} only", 0, parse_seconds(arguments.budget_86), None))
    if not jobs:
        parser.error("nothing to run: --seeds 0 and --budget-86 0")

    machine = in_child(describe_machine)
    extension = "AMX" if machine["amx_bf16"] else "AVX512-BF16, no AMX" if machine["avx512_bf16"] else "no bfloat16"
    print(
        f"{machine['processor']} ({machine['architecture']}, {extension}), {machine['cores']} cores, load "
        f"{machine['load_before']}; torch {machine['torch']}, linnaeus {machine['linnaeus']}, recipe {RECIPE}"
    )
    print(HEADER, flush=True)
    full: list[Result] = []
    short: Result | None = None
    judged: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="linnaeus-benchmark-") as folder:
        os.environ["LINNAEUS_CACHE"] = str(Path(folder) / "cache")  # the children inherit it
        for number, (name, seed, seconds, epochs) in enumerate(jobs):
            out = str(Path(folder) / f"run-{number}")
            result = in_child(train_once, name, source, out, seed=seed, limit=seconds, epochs=epochs)
            print(line_of(result), flush=True)
            if number < arguments.seeds:
                full.append(result)
            else:
                short = result
            judged = verdicts(full, short, machine)
            if arguments.out is not None:
                runs = [asdict(r) for r in [*full, *([short] if short else [])]]
                page = {"machine": machine, "recipe": RECIPE, "runs": runs, "verdicts": [asdict(v) for v in judged]}
                arguments.out.write_text(json.dumps(page, indent=2) + "\n", encoding="utf-8")
    last = short or full[-1]
    print(f"each trained on {last.num_train:,} images in precision {last.precision}, tested on {last.num_test:,}")
    print_summary(full, judged)


if __name__ == "__main__":
    main()
