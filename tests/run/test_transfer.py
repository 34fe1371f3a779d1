"""Transfer learning from end to end: what `linnaeus train --backbone` decides, does, keeps and refuses."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from linnaeus.cli.main import main
from linnaeus.data.manifest import TRAIN, VALIDATION
from linnaeus.deployment.predictor import Predictor
from linnaeus.judging.calibration import fit_temperature
from linnaeus.run import fit as fit_module
from linnaeus.run.finished import Run

DATA = os.environ.get("LINNAEUS_DATA")
real = pytest.mark.skipif(DATA is None, reason="LINNAEUS_DATA does not name the folder with the real weights")
FAST = ["--set", "image.size=32", "--set", "runtime.threads=1"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    for name in ("resnet10t", "resnet18"):
        save_file(timm.create_model(name, num_classes=0).state_dict(), folder / f"{name}.safetensors")
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def run_of(*arguments: str) -> Run:
    assert main(["train", "digits", "--out", "run", *FAST, *arguments]) == 0
    return Run(Path("run"))


def test_a_folder_of_weights_is_enough(weights: Path) -> None:
    run = run_of("--weights", str(weights), "--set", "phases.1.epochs=0.1")
    assert run.config.model.name == "resnet18", "the largest of those there"
    assert run.config.model.weights == str(weights / "resnet18.safetensors")
    assert run.config.image.normalize == "backbone"
    assert run.history["phase"].tolist() == ["head", "finetune"]
    plan = Path("run/plan.md").read_text()
    assert "the largest of resnet10t, resnet18" in plan
    assert "a pretrained backbone is asked for" in plan


def test_the_better_of_head_and_finetuning_is_kept(weights: Path) -> None:
    ruinous = ["--set", "phases.1.lr=1.0", "--set", "phases.1.warmup_fraction=0", "--set", "phases.1.epochs=0.5"]
    run = run_of("--backbone", "resnet10t", "--weights", str(weights), *ruinous)
    head, finetuned = run.history["validation_accuracy"]
    assert head > finetuned
    assert run.history["kept"].tolist() == [True, False]
    backbone = {k.removeprefix("backbone."): v for k, v in run.bundle.classifier.state_dict().items()}
    original = timm.create_model("resnet10t", num_classes=0)
    original.load_state_dict(load_file(weights / "resnet10t.safetensors"))
    assert all(torch.equal(value, backbone[key]) for key, value in original.state_dict().items())
    validation = run.predictions.of_split(VALIDATION)
    assert (validation.predicted == validation.targets).mean() == pytest.approx(head, abs=0.02)


def test_folds_give_every_image_a_prediction_by_a_head_that_has_not_seen_it(weights: Path) -> None:
    run = run_of("--backbone", "resnet10t", "--weights", str(weights), "--folds", "4", "--recipe", head_only())
    unseen = run.out_of_fold
    rows = run.manifest.rows_of(TRAIN, VALIDATION)
    assert sorted(unseen.ids.to_pylist()) == sorted(run.manifest.ids.take(rows.tolist()).to_pylist())
    validation = unseen.of_split(VALIDATION)
    assert run.history["validation_accuracy"].iloc[0] == pytest.approx(
        (validation.predicted == validation.targets).mean()
    )
    shipped = run.predictions.of_split(VALIDATION)  # the average of all heads, none of which has seen these images
    np.testing.assert_allclose(shipped.logits, validation.logits, rtol=1e-4, atol=1e-4)
    assert run.bundle.temperature == fit_temperature(replace(shipped, temperature=1.0))
    assert isinstance(run.bundle.classifier.head, torch.nn.Linear)


def test_what_the_features_answer_without_training_stands_beside_the_model(weights: Path) -> None:
    run = run_of("--backbone", "resnet10t", "--weights", str(weights), "--set", "phases.1.epochs=0.5")
    found = run.evaluation.baselines
    assert found is not None and list(found) == ["nearest_centroid", "nearest_neighbours"]
    assert found["nearest_neighbours"].num_neighbours in (1, 3, 5, 10, 20, 50)
    assert found["nearest_neighbours"].test.score("accuracy").value > 0.5
    assert 'id="baselines"' in run.report.read_text()


def test_what_balancing_did_is_what_a_run_without_it_shows(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--backbone", "resnet10t", "--weights", str(weights), "--recipe", head_only(), "--classes", "1,2,3,8")
    plain = run_of(*arguments, "--set", "data.out_of_fold=0")
    before = plain.evaluation
    assert before.balancing is None and before.validation is not None and before.seconds.cached_features is None
    assert "cached features" not in capsys.readouterr().out
    weighed = run_of(*arguments, "--force", "--set", "data.out_of_fold=0", "--set", "loss.class_weights=balanced")
    after = weighed.evaluation
    assert after.balancing is not None and after.validation is not None
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        found = after.balancing.scores[name]
        assert found.without == pytest.approx(before.validation.score(name).value, abs=0.01)
        assert found.with_balancing == pytest.approx(after.validation.score(name).value, abs=0.01)
    assert 'id="balancing"' in weighed.report.read_text()
    assert after.seconds.cached_features is not None and after.seconds.cached_features > 0, "those of the run before"
    assert "cached features" in " ".join(capsys.readouterr().out.split())


def test_what_test_time_augmentation_would_bring_is_what_it_then_gives(weights: Path) -> None:
    arguments = ["--backbone", "resnet10t", "--weights", str(weights), "--recipe", head_only()]
    arguments += ["--set", "data.out_of_fold=0"]
    assert run_of(*arguments).evaluation.tta is None, "training shows no mirror images"
    flipping = (*arguments, "--force", "--set", "augment.flip=horizontal")
    plain = run_of(*flipping).evaluation
    assert plain.tta is not None and plain.validation is not None
    assert plain.tta.first == plain.validation.score("accuracy").value
    averaged = run_of(*flipping, "--set", "evaluate.tta=flip").evaluation
    assert averaged.tta is None and averaged.validation is not None
    assert plain.tta.second == pytest.approx(averaged.validation.score("accuracy").value, abs=0.01)


def test_labels_are_checked_by_default_and_the_model_is_the_same_without(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--backbone", "resnet10t", "--weights", str(weights), "--recipe", head_only())
    run = run_of(*arguments)
    said = capsys.readouterr().out
    assert len(run.out_of_fold) == len(run.manifest.rows_of(TRAIN, VALIDATION))
    assert Path("run/label_issues.csv").is_file()
    assert f"{len(run.label_issues)} labels look wrong: linnaeus review run" in said
    assert "5 heads that each left out a part" in Path("run/plan.md").read_text()
    kept = run.bundle.classifier.state_dict()
    unchecked = run_of(*arguments, "--force", "--set", "data.out_of_fold=0")
    assert not Path("run/label_issues.csv").exists()
    other = unchecked.bundle.classifier.state_dict()
    assert all(torch.equal(kept[name], other[name]) for name in kept)
    assert unchecked.evaluation.validation == run.evaluation.validation


def head_only() -> str:
    page = "image: {normalize: backbone}\nphases:\n  - {name: head, train: head, optimizer: lbfgs}\n"
    Path("head.yaml").write_text(page)
    return "head.yaml"


def test_a_head_with_hidden_layers_trains_on_features_and_stops_early(weights: Path) -> None:
    stop = "{monitor: validation_accuracy, patience: 2}"
    Path("mlp.yaml").write_text(
        "image: {normalize: backbone}\n"
        "model: {head: {hidden: [32], batch_norm: true, dropout: 0.3}}\n"
        f"phases:\n  - {{name: head, train: head, optimizer: adam, epochs: 60, early_stopping: {stop}}}\n"
    )
    run = run_of("--backbone", "resnet10t", "--weights", str(weights), "--recipe", "mlp.yaml")
    assert len(run.history) < 60
    assert run.evaluation.test.score("accuracy").value > 0.6
    frame = Predictor(run.bundle).predict([])
    assert len(frame) == 0


def test_joined_backbones_share_a_head(weights: Path) -> None:
    run = run_of("--backbone", "resnet10t+resnet18", "--weights", str(weights), "--recipe", head_only())
    stages = 64 + 64 + 128 + 256 + 512  # stem and four stages: of each a mean and a deviation
    assert run.bundle.classifier.head.in_features == 2 * (2 * stages + 512)
    assert run.config.image.normalize == "backbone"
    assert json.loads(Path("run/settled.json").read_text())["image_spec"]["mean"] == [0.0, 0.0, 0.0]


def test_a_time_limit_too_short_for_finetuning_leaves_the_head(weights: Path) -> None:
    run = run_of("--backbone", "resnet10t", "--weights", str(weights), "--time-limit", "1s")
    assert run.history["phase"].tolist() == ["head"]
    assert "without a limit" in Path("run/plan.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone", "resnet1O"], "There is no architecture 'resnet1O'"),
        (["--backbone", "resnet18"], "--weights none"),
        (["--backbone", "resnet18", "--weights", "nowhere"], "no such file or folder"),
        (["--weights", "WEIGHTS/resnet18.safetensors", "--backbone", "resnet10t"], "do not fit resnet10t"),
        (["--backbone", "resnet18", "--weights", "WEIGHTS", "--folds", "5000"], "cannot be divided into 5000 folds"),
        (["--backbone", "inception_resnet_v2", "--weights", "WEIGHTS"], "cannot take images of 32 px"),
        (["--set", "image.normalize=backbone"], "needs a backbone"),
        (
            ["--backbone", "resnet18", "--weights", "WEIGHTS", "--set", "model.head.hidden=[8]"],
            "lbfgs finds linear heads only",
        ),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(
    arguments: list[str], message: str, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [argument.replace("WEIGHTS", str(weights)) for argument in arguments]
    assert main(["train", "digits", "--out", "run", *FAST, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not Path("run").exists()


def test_weights_none_starts_from_random_ones(weights: Path) -> None:
    run = run_of("--backbone", "resnet10t", "--weights", "none", "--epochs", "0.2")
    assert run.config.model.weights == "none"
    assert run.history["phase"].tolist() == ["scratch"]


def test_weights_that_change_before_the_first_checkpoint_are_noticed(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "resnet10t.safetensors"
    file.write_bytes((weights / "resnet10t.safetensors").read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(fit_module, "train", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["train", "digits", "--out", "run", *FAST, "--weights", str(file)]) == 130
    torch.manual_seed(9)
    save_file(timm.create_model("resnet10t", num_classes=0).state_dict(), file)
    assert main(["resume", "run"]) == 2
    assert "have changed since" in capsys.readouterr().err


@real
def test_real_weights_classify_clothes_from_their_features(tmp_path: Path) -> None:
    source, folder = Path(str(DATA)) / "clothing", Path(str(DATA)) / "weights"
    for split, most in (("train", 25), ("validation", 8), ("test", 8)):
        for name in sorted(path.name for path in (source / split).iterdir() if path.is_dir())[:4]:
            (tmp_path / "few" / split / name).mkdir(parents=True)
            for photo in sorted((source / split / name).glob("*.jpg"))[:most]:
                (tmp_path / "few" / split / name / photo.name).symlink_to(photo)
    options = ["--backbone", "tf_efficientnet_lite0", "--weights", str(folder), "--recipe", head_only()]
    assert main(["train", "few", "--out", "run", "--image-size", "128", *options]) == 0
    assert Run(Path("run")).evaluation.test.score("accuracy").value > 0.6
