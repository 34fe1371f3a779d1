"""No float64 goes to the device: Apple's GPUs do not know it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import linnaeus
from linnaeus.config.resolved import resolve
from linnaeus.config.settings import parse_config
from linnaeus.data import intake
from linnaeus.data.cache.images import open_cache
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.loader import ImageStore
from linnaeus.models import build_classifier
from linnaeus.run_folder import RunDir
from linnaeus.training.job import Job
from linnaeus.training.run import train
from linnaeus.training.runtime import start_runtime


class NoFloat64(TorchDispatchMode):
    """A device that refuses what PyTorch's MPS refuses."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(result)):
            raise TypeError(f"Cannot convert a MPS Tensor to float64 dtype, in {func}.")
        return result


@pytest.mark.parametrize("head_only", [False, True])
def test_a_whole_training_needs_no_float64(head_only: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    phase = {
        "optimizer": "adamw",
        "epochs": 2,
        "batch_size": 64,
        "schedule": "plateau",
        "lr_decay_epochs": 1,
        "ema_decay": 0.9,
    }
    head = {"optimizer": "adam", "epochs": 1, "batch_size": 64, "train": "head", "feature_views": 2}
    page = {
        "data": {"source": "digits", "test_fraction": 0.6, "out_of_fold": 0},
        "image": {"size": 8},
        "augment": {
            "flip": "horizontal",
            "hue": 0.1,
            "rotate_degrees": 5,
            "random_erasing": 0.3,
            "mixup": 0.2,
            "cutmix": 1,
        },
        "model": {"name": "mish_cnn", "features": "last"},
        "loss": {"class_weights": "effective", "logit_adjustment": 1.0, "l2": {"head": 1e-4}},
        "phases": [head if head_only else phase],
        "evaluate": {"tta": "flip_shift", "batch_size": 256},
        "runtime": {"device": "cpu", "threads": 1, "precision": "32"},
    }
    config = resolve(parse_config(page))
    manifest = intake.divide(intake.read_manifest(config.data, None), config.data, seed=0)
    spec = ImageSpec(8, 8, mean=(0.4, 0.4, 0.4), std=(0.3, 0.3, 0.3))
    cache, runtime = open_cache(manifest, spec), start_runtime(config.runtime)
    classifier = build_classifier("mish_cnn", num_classes=10, image_size=8, options={})
    with NoFloat64():
        job = Job(config, manifest, ImageStore(cache, manifest, runtime.device), spec, runtime, "flip_shift")
        position = train(classifier, job, RunDir(tmp_path / "run"))
    assert position.finished and np.isfinite(position.history[-1]["train_loss"])


def test_the_stand_in_refuses_float64() -> None:
    with NoFloat64(), pytest.raises(TypeError, match="float64"):
        torch.zeros(3, dtype=torch.float64)


def test_what_is_made_float64_is_on_the_processor_by_then() -> None:
    sources = Path(linnaeus.__file__).parent
    found = [
        f"{path.relative_to(sources)}: {match.group()}"
        for path in sorted(sources.rglob("*.py"))
        for match in re.finditer(r"\.double\(\)\.(cpu|to)\(", path.read_text(encoding="utf-8"))
    ]
    assert found == []
