"""The recipes of the reference systems run whole, with the backbone they name and with another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from linnaeus.cli.main import main
from linnaeus.config.pages import read_recipe, recipe_names
from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.data.manifest import TEST
from linnaeus.models.backbones import timm_names
from linnaeus.run.finished import Run

FAST = ["--epochs", "1", "--set", "runtime.threads=1", "--set", "evaluate.bootstrap_samples=100"]
NAMED = ["efficientnet", "resnext", "densenet", "resnet", "vgg", "inception"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty photos of 40 x 30 pixels, red or blue in front, and a cache of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(20):
            pixels = generator.integers(0, 120, (30, 40, 3), dtype=np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{k}.png")
    return tmp_path / "photos"


@pytest.fixture
def several_labels(folder: Path) -> Path:
    """The same photos as lists of M's form: which photo carries which of three labels; two carry none."""
    lists = folder.parent / "lists"
    (lists / "images").mkdir(parents=True)
    (lists / "annotations").mkdir()
    carriers: dict[str, list[int]] = {"red": [], "blue": [], "third": []}
    for number, file in enumerate(sorted(folder.rglob("*.png")), start=1):
        file.rename(lists / "images" / f"im{number}.png")
        if number not in (7, 27):
            carriers[file.parent.name].append(number)
            carriers["third"] += [number] * (number % 3 == 0)
    for name, numbers in carriers.items():
        (lists / "annotations" / f"{name}.txt").write_text("".join(f"{number}\n" for number in numbers))
    return lists


def random_weights(folder: Path, *names: str) -> Path:
    """A folder that holds NAME.safetensors for each architecture, drawn at random."""
    torch.manual_seed(0)
    folder.mkdir()
    for name in names:
        save_file(timm.create_model(name, num_classes=0).state_dict(), folder / f"{name}.safetensors")
    return folder


def run_recipe(recipe: str, data: Path, *options: str) -> Run:
    assert main(["train", str(data), "--recipe", recipe, "--out", "run", *FAST, *options]) == 0
    return Run(Path("run"))


def config_of(recipe: str) -> RunConfig:
    return parse_config(read_recipe(recipe))


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_backbone_that_a_recipe_names_is_one_of_timm(recipe: str) -> None:
    for name in config_of(recipe).model.name.split("+"):
        if any(name.removeprefix("tf_").startswith(word) for word in NAMED):
            assert name in timm_names()


def test_every_reference_system_has_a_recipe() -> None:
    systems = ["c1", "c2", "m1", "m2", "m4", "p1", "p2", "p3", "u1", "u2", "x1", "x2", "x3", "x4"]
    assert set(systems) <= set(recipe_names())


def test_p2_runs_with_densenet_and_its_weights_file(folder: Path, tmp_path: Path) -> None:
    weights = random_weights(tmp_path / "weights", "densenet121")
    options = ["--backbone", "densenet121", "--weights", str(weights), "--image-size", "32"]
    run = run_recipe("p2", folder, *options, "--set", "phases.1.train=head")
    assert run.config.model.name == "densenet121"
    assert run.config.model.weights == str(weights / "densenet121.safetensors")
    assert run.config.image.normalize == "backbone"
    assert run.config.phases[1].lr == 1e-5
    torch.manual_seed(0)
    named = timm.create_model("densenet121", num_classes=0).parameters()
    pairs = zip(run.bundle.classifier.backbone.parameters(), named, strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs), "frozen throughout"


def test_m2_runs_from_label_lists_with_balancing_and_augmented_views(several_labels: Path, tmp_path: Path) -> None:
    weights = random_weights(tmp_path / "weights", "resnet10t")
    options = ["--backbone", "resnet10t", "--weights", str(weights), "--image-size", "32"]
    balancing = ["--set", "data.balance=oversample", "--set", "phases.0.feature_views=2"]
    fractions = ["--set", "data.test_fraction=0.2", "--set", "data.validation_fraction=0.2"]
    run = run_recipe("m2-hidden", several_labels, *options, *balancing, *fractions)
    assert run.config.model.head.hidden == [256]
    assert run.config.loss.name == "squeezed_bce"
    assert run.manifest.task == "multi" and set(run.manifest.classes) == {"red", "blue", "third"}
    plan = Path("run/plan.md").read_text(encoding="utf-8")
    assert "balancing | oversample | images that an epoch shows: third" in plan


def test_x3_runs_with_the_backbone_it_names_and_its_weights_file(folder: Path, tmp_path: Path) -> None:
    weights = random_weights(tmp_path / "weights", "tf_efficientnet_b0")
    run = run_recipe("x3", folder, "--weights", str(weights), "--image-size", "32", "--set", "phases.0.batch_size=8")
    assert run.config.model.name == "tf_efficientnet_b0"
    assert run.config.loss.l1 == {"head": 0.01}
    assert run.config.image.size == 32
    assert run.history["phase"].tolist() == ["all"]


def test_u2_flattens_the_maps_and_divides_the_rate_by_ten(folder: Path, tmp_path: Path) -> None:
    weights = random_weights(tmp_path / "weights", "resnet10t")
    options = ["--backbone", "resnet10t", "--weights", str(weights), "--image-size", "32"]
    run = run_recipe("u2", folder, *options, "--set", "model.head.hidden=[16]")
    assert run.history["phase"].tolist() == ["frozen", "finetune"]
    assert run.history["lr"].tolist() == pytest.approx([1e-4, 1e-5])
    assert run.bundle.classifier.num_features == 512


def test_networks_without_a_backbone_run_from_their_recipes(folder: Path) -> None:
    run = run_recipe("x1", folder, "--image-size", "8", "--set", "phases.0.batch_size=14")
    assert run.config.model.name == "feed_forward"
    assert run.config.loss.l1 == run.config.loss.l2 == {"dense[5:]": 0.01}
    assert run.history["train_loss"][0] > 10, "most of it is the penalty"


def test_best_imbalanced_weighs_classes(folder: Path, tmp_path: Path) -> None:
    """Of the red photos ten are left."""
    for photo in sorted((folder / "red").iterdir())[10:]:
        photo.unlink()
    weights = random_weights(tmp_path / "weights", "resnet10t")
    run = run_recipe("best-imbalanced", folder, "--backbone", "resnet10t", "--weights", str(weights))
    assert "class weights | effective" in Path("run/plan.md").read_text(encoding="utf-8")
    assert run.history["phase"].tolist() == ["head", "finetune"]


def test_a_head_alone_is_one_command(folder: Path) -> None:
    weights = random_weights(folder.parent / "weights", "resnet10t")
    options = ["--backbone", "resnet10t", "--weights", str(weights), "--image-size", "32"]
    assert main(["train", str(folder), "--recipe", "best-frozen", *options, *FAST, "--out", "runs/frozen"]) == 0
    run = Run(Path("runs/frozen"))
    assert run.config.model.features == "stages"
    assert run.history["phase"].tolist() == ["head"]
    assert len(run.out_of_fold) == len(run.manifest) - len(run.predictions.of_split(TEST))
    assert run.report.is_file()
