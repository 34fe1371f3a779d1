"""Wrong labels planted in real data: how many does Linnaeus find, and how many of those it names were planted?

    uv run python benchmarks/planted_labels.py DATA --seeds 3

DATA holds `clothing/`, `posters/` and `weights/`. In copies of the manifests, never in the data, 5 % of the labels of
training and validation images are made wrong: in `clothing` by another class drawn uniformly, or drawn as often as
heads on the clean labels confuse the two; in `posters` 5 % of the labels present are taken away and as many absent ones
added. Then the default run is made, heads alone (no fine-tuning), and its label_issues.csv is compared with what was
planted. "At the planted number": the so many least likely of all labels. The data has wrong labels of its own, which
count as false alarms here, so precision is a lower bound. Test labels are neither planted nor looked at.
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

from linnaeus import pipeline
from linnaeus.analysis.label_issues import MISSING, SUPERFLUOUS
from linnaeus.data.manifest import TRAIN, VALIDATION, Manifest
from linnaeus.data.sources import read_source
from linnaeus.data.sources.options import SourceOptions
from linnaeus.data.split import assign_splits
from linnaeus.predictions import Predictions

SHARE = 0.05
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
    parser.add_argument("--keep", type=Path, help="Folder for the runs; by default a temporary one.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.keep or Path(temporary)
        (out / "head.yaml").parent.mkdir(parents=True, exist_ok=True)
        (out / "head.yaml").write_text(PAGE)
        print("set\tway\tseed\tplanted\tfound\tprecision\trecall\tat planted number\tkind\tseconds")
        clothing = divided(read_source(str(arguments.data / "clothing")))
        clean = fit(clothing, out / "clothing-clean", arguments)
        for seed in range(arguments.seeds):
            for way in ("uniform", "confusable"):
                confusion = None if way == "uniform" else confusions(clean.out_of_fold)
                planted, cells = plant_single(clothing, confusion, seed=seed)
                judge("clothing", way, seed, planted, cells, out, arguments)
        options = SourceOptions(image_root=arguments.data / "posters" / "images")
        posters = divided(read_source(str(arguments.data / "posters" / "labels.csv"), options=options))
        for seed in range(arguments.seeds):
            planted, cells = plant_several(posters, seed=seed)
            judge("posters", "flipped", seed, planted, cells, out, arguments)


def divided(manifest: Manifest) -> Manifest:
    """Splits are settled on the clean labels, so that all runs share their images (and features)."""
    return assign_splits(manifest, validation_share=0.15, validation_max=2500, test_share=0.15, seed=0)


def fit(manifest: Manifest, path: Path, arguments: argparse.Namespace) -> pipeline.Run:
    settings = {
        "model": {"name": arguments.backbone, "weights": str(arguments.data / "weights")},
        "runtime": {"threads": arguments.threads},
    }
    return pipeline.fit(settings, recipe=str(path.parent / "head.yaml"), manifest=manifest, out=path, force=True)


def confusions(unseen: Predictions) -> npt.NDArray[np.float64]:
    """float64 [K, K]: how often each class is taken for each other one, rows adding up to 1; zeros on the diagonal."""
    counts = np.full((len(unseen.classes),) * 2, 1e-6)
    np.add.at(counts, (unseen.targets.astype(np.int64), unseen.predicted), 1.0)
    np.fill_diagonal(counts, 0.0)
    return counts / counts.sum(axis=1, keepdims=True)


def plant_single(manifest: Manifest, confusion: npt.NDArray[np.float64] | None, *, seed: int) -> tuple[Manifest, Cells]:
    """A copy with 5 % wrong classes, and which (id, wrong class) they are."""
    generator, num_classes = np.random.default_rng(seed), manifest.num_classes
    rows = manifest.rows_of(TRAIN, VALIDATION)
    chosen = generator.choice(rows, round(SHARE * len(rows)), replace=False)
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
    number = round(SHARE * len(present))
    cells: Cells = set()
    for pool in (present, absent):
        for place, k in pool[generator.choice(len(pool), number, replace=False)]:
            targets[rows[place], k] ^= 1
            cells.add((manifest.ids[int(rows[place])].as_py(), manifest.classes[k]))
    return dataclasses.replace(manifest, targets=targets), cells


def judge(
    name: str, way: str, seed: int, planted: Manifest, cells: Cells, out: Path, arguments: argparse.Namespace
) -> None:
    clock = time.perf_counter()
    run = fit(planted, out / f"{name}-{way}-{seed}", arguments)
    seconds = time.perf_counter() - clock
    issues, ranked = run.label_issues, least_likely(run.out_of_fold)
    labels = issues["given"].where(issues["given"] != "", issues["suggested"])
    found = list(zip(issues["id"], labels, strict=True))
    report(name, way, seed, "all", found, ranked, cells, seconds)
    if run.manifest.task == "multi":
        given = {
            (identity, run.manifest.classes[k])
            for identity, row in zip(planted.ids.to_pylist(), planted.targets, strict=True)
            for k in np.flatnonzero(row)
        }
        for kind in (MISSING, SUPERFLUOUS):
            wanted = {cell for cell in cells if (cell in given) == (kind == SUPERFLUOUS)}
            of_kind = [cell for cell in found if (cell in given) == (kind == SUPERFLUOUS)]
            order = [cell for cell in ranked if (cell in given) == (kind == SUPERFLUOUS)]
            report(name, way, seed, kind, of_kind, order, wanted, seconds)


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
    hits = sum(cell in cells for cell in found)
    at = sum(cell in cells for cell in ranked[: len(cells)]) / len(cells)
    precision = f"{hits / len(found):.1%}" if found else "-"
    print(
        f"{name}\t{way}\t{seed}\t{len(cells)}\t{len(found)}\t{precision}\t{hits / len(cells):.1%}\t{at:.1%}\t{kind}\t"
        f"{seconds:.0f}",
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
