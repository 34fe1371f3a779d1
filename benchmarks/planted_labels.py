"""Wrong labels planted in real data: how many does Linnaeus find, and how many of those it names were planted?

    uv run python benchmarks/planted_labels.py DATA --seeds 3

DATA holds `clothing/`, `posters/` and `weights/`. In copies of the manifests, never in the data, 5 % of the labels of
training and validation images are made wrong: in `clothing` by another class drawn uniformly, or drawn as often as
heads on the clean labels confuse the two; in `posters` 5 % of the labels present are taken away and as many absent ones
added. Then the head is solved for as in every run with a backbone, the out-of-fold predictions that come with it are
searched for wrong labels, and those found are compared with what was planted. "At the planted number": planted ones
among so many least likely of all labels. "First 100": among the hundred most suspicious. The data has wrong labels of
its own, which count as false positives here, so precision is a lower bound. Test labels are neither planted nor looked
at.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from linnaeus.analysis.label_issues import EXTRA, MISSING, find_label_issues
from linnaeus.data.cache.images import open_cache
from linnaeus.data.loader import FeatureStore, ImageStore
from linnaeus.data.manifest import TRAIN, VALIDATION, Manifest
from linnaeus.predictions import Predictions
from linnaeus.progress import SILENT
from linnaeus.run import fit
from linnaeus.run.finished import Run
from linnaeus.training.head_phase import feature_store, solve_head
from linnaeus.training.job import Job
from linnaeus.training.runtime import start_runtime

FRACTION = 0.05
PAGE = """image: {normalize: backbone, interpolation: bicubic}
phases:
  - {name: head, train: head, optimizer: lbfgs}
"""
Cells = set[tuple[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="Folder of the two clean runs, which are reused if they are there.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.keep or Path(temporary)
        print("set\tway\tseed\tkind\tplanted\tfound\tprecision\trecall\tat planted number\tfirst 100\tseconds")
        clothing = clean_job("clothing", {"source": str(arguments.data / "clothing")}, out, arguments)
        unseen = Predictions.load(out / "clothing" / "out_of_fold.parquet")
        for seed in range(arguments.seeds):
            for way in ("uniform", "confusable"):
                confusion = None if way == "uniform" else confusions(unseen)
                planted, cells = plant_single(clothing.manifest, confusion, seed=seed)
                judge("clothing", way, seed, clothing, planted, cells)
        source = {
            "source": str(arguments.data / "posters/labels.csv"),
            "image_root": str(arguments.data / "posters/images"),
        }
        posters = clean_job("posters", source, out, arguments)
        for seed in range(arguments.seeds):
            planted, cells = plant_several(posters.manifest, seed=seed)
            judge("posters", "flipped", seed, posters, planted, cells)


def clean_job(name: str, source: dict[str, str], out: Path, arguments: argparse.Namespace) -> Job:
    """A run on the data as it is, and its head phase ready to be solved again with other labels."""
    if not (out / name / "model").is_dir():
        (out / "head.yaml").write_text(PAGE)
        settings = {
            "data": source,
            "model": {"name": arguments.backbone, "weights": str(arguments.data / "weights")},
            "runtime": {"threads": arguments.threads},
        }
        fit.fit(settings, recipe=str(out / "head.yaml"), out=out / name, force=True)
    run = Run(out / name)
    data = run.config.data.model_copy(update={"folds": None, "out_of_fold": 5})
    config = run.config.model_copy(update={"data": data})
    runtime = start_runtime(config.runtime)
    cache = open_cache(run.manifest, run.bundle.image_spec)
    store = ImageStore(cache, run.manifest, runtime.device)
    job = Job(config, run.manifest, store, run.bundle.image_spec, runtime, "none", SILENT, lambda: False)
    return dataclasses.replace(job, features=feature_store(run.bundle.classifier, job, views=1))


def confusions(unseen: Predictions) -> npt.NDArray[np.float64]:
    """float64 [K, K]: how often each class is taken for each other one, rows adding up to 1; zeros on the diagonal."""
    counts = np.full((len(unseen.classes),) * 2, 1e-6)
    np.add.at(counts, (unseen.targets.astype(np.int64), unseen.predicted), 1.0)
    np.fill_diagonal(counts, 0.0)
    confusions: npt.NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
    return confusions


def plant_single(manifest: Manifest, confusion: npt.NDArray[np.float64] | None, *, seed: int) -> tuple[Manifest, Cells]:
    """A copy with 5 % wrong classes, and which (id, wrong class) they are."""
    generator, num_classes = np.random.default_rng(seed), manifest.num_classes
    rows = manifest.rows_of(TRAIN, VALIDATION)
    chosen = generator.choice(rows, round(FRACTION * len(rows)), replace=False)
    targets = manifest.targets.copy()
    for row in chosen:
        true = int(targets[row])
        others = np.full(num_classes, 1 / (num_classes - 1)) if confusion is None else confusion[true].copy()
        others[true] = 0.0
        targets[row] = generator.choice(num_classes, p=others / others.sum())
    ids = manifest.ids.take(pa.array(chosen)).to_pylist()
    cells = {(name, manifest.classes[targets[row]]) for name, row in zip(ids, chosen, strict=True)}
    return dataclasses.replace(manifest, targets=targets), cells


def plant_several(manifest: Manifest, *, seed: int) -> tuple[Manifest, Cells]:
    """A copy with 5 % of the labels present taken away and as many absent ones added; which (id, class) they are."""
    generator = np.random.default_rng(seed)
    rows = manifest.rows_of(TRAIN, VALIDATION)
    targets = manifest.targets.copy()
    present, absent = np.argwhere(targets[rows] == 1), np.argwhere(targets[rows] == 0)
    number = round(FRACTION * len(present))
    cells: Cells = set()
    for pool in (present, absent):
        for place, k in pool[generator.choice(len(pool), number, replace=False)]:
            targets[rows[place], k] ^= 1
            cells.add((manifest.ids[int(rows[place])].as_py(), manifest.classes[k]))
    return dataclasses.replace(manifest, targets=targets), cells


def judge(name: str, way: str, seed: int, clean: Job, planted: Manifest, cells: Cells) -> None:
    """Solve for the head with the planted labels, look for wrong ones, and print what was found."""
    clock = time.perf_counter()
    assert clean.features is not None
    store = FeatureStore(clean.features.features, planted, clean.runtime.device, seed=clean.config.seed)
    head = torch.nn.Linear(store.features.shape[-1], planted.num_classes)
    unseen = solve_head(head, dataclasses.replace(clean, manifest=planted, features=store), store).out_of_fold
    assert unseen is not None
    issues, ranked = find_label_issues(unseen), least_likely(unseen)
    seconds = time.perf_counter() - clock
    labels = issues["given"].where(issues["given"] != "", issues["suggested"])
    found = list(zip(issues["id"], labels, strict=True))
    report(name, way, seed, "all", found, ranked, cells, seconds)
    if planted.task == "single":
        return
    given = {
        (id, planted.classes[k])
        for id, row in zip(planted.ids.to_pylist(), planted.targets, strict=True)
        for k in np.flatnonzero(row)
    }
    for kind in (MISSING, EXTRA):
        lists = [[cell for cell in some if (cell in given) == (kind == EXTRA)] for some in (found, ranked, cells)]
        report(name, way, seed, kind, lists[0], lists[1], set(lists[2]), seconds)


def report(
    name: str,
    way: str,
    seed: int,
    kind: str,
    found: list[tuple[str, str]],
    ranked: list[tuple[str, str]],
    cells: Cells,
    seconds: float,
) -> None:
    true_positives = sum(cell in cells for cell in found)
    first = sum(cell in cells for cell in found[:100])
    at = sum(cell in cells for cell in ranked[: len(cells)]) / len(cells)
    precision = f"{true_positives / len(found):.1%}" if found else "-"
    fractions = f"{precision}\t{true_positives / len(cells):.1%}\t{at:.1%}\t{first}"
    print(
        f"{name}\t{way}\t{seed}\t{kind}\t{len(cells)}\t{len(found)}\t{fractions}\t{seconds:.0f}",
        flush=True,
    )


def least_likely(unseen: Predictions) -> list[tuple[str, str]]:
    """(id, class) of every label given, or of every yes and no, the least likely first."""
    ids, probabilities = unseen.ids.to_pylist(), unseen.probabilities
    if unseen.task == "single":
        targets = unseen.targets.astype(np.int64)
        order = np.argsort(probabilities[np.arange(len(targets)), targets], kind="stable")
        return [(ids[row], unseen.classes[targets[row]]) for row in order]
    likely = np.where(unseen.targets == 1, probabilities, 1 - probabilities)
    rows, columns = np.unravel_index(np.argsort(likely, axis=None, kind="stable"), likely.shape)
    return [(ids[row], unseen.classes[k]) for row, k in zip(rows, columns, strict=True)]


if __name__ == "__main__":
    main()
