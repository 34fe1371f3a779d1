"""What balancing brings on linear heads: out-of-fold scores of every way to treat rare classes, over several divisions.

    python benchmarks/balancing.py clothing/ weights/tf_efficientnet_lite0.safetensors

Training and validation images only. Figures are in docs/log.md.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score

from linnaeus.config.resolved import ResolvedImage
from linnaeus.config.settings import LossConfig
from linnaeus.data.cache.images import open_cache
from linnaeus.data.image_spec import spec_from_config
from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import TRAIN, VALIDATION
from linnaeus.data.sources import read_source
from linnaeus.data.splits.folds import stratified_folds
from linnaeus.data.splits.sampling import Balance, row_weights
from linnaeus.losses import build_class_weights, log_fractions
from linnaeus.models import build_classifier
from linnaeus.models.backbones import backbone_spec
from linnaeus.models.weights import load_pretrained
from linnaeus.training.features import extract_features
from linnaeus.training.head_path import PENALTIES, solve_folds

SIDE_PX, NUM_FOLDS, SEEDS = 224, 3, (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("weights", type=Path)
    arguments = parser.parse_args()
    features, targets, classes = features_of(arguments.photos, arguments.weights)
    counts = torch.from_numpy(np.bincount(targets, minlength=len(classes))).float()
    fractions = log_fractions(counts).numpy()
    balanced = build_class_weights(LossConfig(class_weights="balanced"), counts)
    effective = build_class_weights(LossConfig(class_weights="effective", beta=0.999), counts)
    assert balanced is not None and effective is not None
    for seed in SEEDS:
        folds = stratified_folds(targets, num_folds=NUM_FOLDS, seed=seed, classes=classes, groups=None)

        def solve(
            weights: np.ndarray | None = None, added: np.ndarray | None = None, folds: np.ndarray = folds
        ) -> np.ndarray:
            return solve_folds(
                features,
                targets,
                folds,
                num_classes=len(classes),
                label_smoothing=0.1,
                sample_weights=None if weights is None else weights.astype(np.float32),
                adjustment=added,
                penalties=PENALTIES[3:6],
            ).logits

        plain = solve()
        ways = {"none": plain, "after 0.5": plain - 0.5 * fractions, "after 1": plain - fractions}
        ways["loss 1"] = solve(added=fractions)
        ways["balanced"] = solve(balanced.numpy()[targets])
        ways["effective"] = solve(effective.numpy()[targets])
        kinds: tuple[Balance, ...] = ("square_root", "oversample")
        for kind in kinds:
            ways[kind] = solve(row_weights(targets, balance=kind, oversample_factor=4.0, seed=seed))
        for name, logits in ways.items():
            print(f"seed {seed}  {name:<12}{describe(logits.argmax(1), targets, counts.numpy())}", flush=True)


def features_of(photos: str, weights: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Features float32 [N, D] and classes int64 [N] of training and validation images."""
    name = weights.stem
    backbone = backbone_spec(name)
    spec = spec_from_config(
        ResolvedImage(size=SIDE_PX, interpolation="bicubic", normalize="backbone"), mean=backbone.mean, std=backbone.std
    )
    manifest = read_source(photos)
    classifier = build_classifier(name, num_classes=manifest.num_classes, image_size=SIDE_PX, options={})
    load_pretrained(classifier.backbone, name=name, weights=str(weights), allow_download=False)
    store = ImageStore(open_cache(manifest, spec), manifest, torch.device("cpu"))
    train, validation = manifest.rows(TRAIN), manifest.rows(VALIDATION)
    found = extract_features(
        classifier,
        store,
        train_rows=train,
        other_rows=validation,
        spec=spec,
        autocast=nullcontext,
        batch_size=64,
    )
    rows = np.concatenate([train, validation])
    return found.values[0, rows].astype(np.float32), manifest.targets[rows], manifest.classes


def describe(predicted: np.ndarray, targets: np.ndarray, counts: np.ndarray) -> str:
    recalls = np.array([(predicted[targets == k] == k).mean() for k in range(len(counts))])
    order = np.argsort(counts)
    scores = {
        "accuracy": (predicted == targets).mean(),
        "balanced": recalls.mean(),
        "macro F1": f1_score(targets, predicted, average="macro"),
        "3 rarest": recalls[order[:3]].mean(),
        "3 commonest": recalls[order[-3:]].mean(),
    }
    return "  ".join(f"{name} {value:.3f}" for name, value in scores.items())


if __name__ == "__main__":
    main()
