"""A small finished run, made without training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from tests.settled import settled

from linnaeus.atomic import write_text
from linnaeus.bundle import Bundle
from linnaeus.bundle.files import save_bundle
from linnaeus.config.pages import to_yaml
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.manifest import TEST, TRAIN, VALIDATION, Manifest, Task
from linnaeus.models import build_classifier
from linnaeus.predictions import Predictions, predictions_of
from linnaeus.run_folder import RunDir

CLASSES = ("<script>alert(1)</script>", "bee", "cow", "dog")
SPEC = ImageSpec(16, 16)


def write_images(folder: Path, number: int, *, seed: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    paths = [folder / f"{k:02}.png" for k in range(number)]
    for path in paths:
        Image.fromarray(generator.integers(0, 255, (20, 24, 3), np.uint8)).save(path)
    return paths


def make_run(root: Path, *, several: bool = False, num_images: int = 48) -> Path:
    """A run of which every fourth training label is wrong, and known to be so by the model."""
    paths = write_images(root / "photos", num_images)
    true = np.arange(num_images) % len(CLASSES)
    given = true.copy()
    given[::4] = (true[::4] + 1 + np.arange(num_images)[::4] // 4 % 3) % len(CLASSES)
    hot = np.eye(len(CLASSES), dtype=np.uint8)
    splits = np.array([TRAIN, TRAIN, VALIDATION, TEST] * (num_images // 4), np.int8)
    ids = pa.array([f"photos/{path.name}" for path in paths], pa.large_string())
    targets = hot[given] if several else given
    task: Task = "multi" if several else "single"
    manifest = Manifest(ids, pa.array(list(map(str, paths)), pa.large_string()), targets, splits, CLASSES, task=task)
    run = RunDir(root / "run")
    noise = np.random.default_rng(1).normal(size=(num_images, len(CLASSES)))
    logits = (6.0 * hot[true] - 3.0 * several + noise).astype(np.float32)
    predict(manifest, logits, VALIDATION, TEST).save(run.predictions)
    predict(manifest, logits, TRAIN, VALIDATION).save(run.out_of_fold)
    manifest.save(run.manifest)
    torch.manual_seed(0)
    classifier = build_classifier("mish_cnn", num_classes=len(CLASSES), image_size=16, options={}).eval()
    save_bundle(Bundle(classifier, SPEC, CLASSES, "none", thresholds=(0.5,) * 4 if several else None), run.model)
    page = {
        "data": {"source": str(root / "photos")},
        "model": {"name": "mish_cnn"},
        "image": {"size": 16},
        "evaluate": {"batch_size": 16},
        "runtime": {"threads": 1, "device": "cpu", "precision": "32"},
    }
    write_text(run.config, to_yaml(settled(page)))
    return run.path


def predict(manifest: Manifest, logits: np.ndarray, *splits: int) -> Predictions:
    rows = manifest.rows_of(*splits)
    return predictions_of(manifest, rows, logits[rows])
