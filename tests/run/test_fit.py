"""The whole story on small real images: what a run leaves behind, and what bad input gets told."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, confusion_matrix

import linnaeus
from linnaeus.cli.main import main
from linnaeus.data.manifest import SPLITS, TEST, TRAIN, VALIDATION
from linnaeus.judging.evaluation import Evaluation
from linnaeus.run.finished import Run
from linnaeus.run_folder import RunDir

TRUST = ["calibration", "operating_point", "curves", "prediction_sets", "ood", "selective_prediction", "slices"]
QUICK = ["--epochs", "1", "--set", "runtime.threads=1", "--set", "model.options.widths=[8, 8, 8]"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def write_digits(folder: Path, *, classes: tuple[str, ...] = ("zero", "one", "two"), each: int = 20) -> Path:
    digits = load_digits()
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(digits.images[digits.target == k][:each]):
            pixels = np.kron(image, np.ones((2, 2))) * 15.9
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number} é.PNG", format="png")
    return folder


def content(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_run_leaves_everything_and_the_data_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_digits(tmp_path / "my photos")
    (photos / "zero" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (photos / "zero" / "notes.txt").write_text("not an image")
    before = content(photos)
    assert main(["train", str(photos), "--out", "run", *QUICK]) == 0
    assert content(photos) == before
    run = RunDir(Path("run"))
    for path in (run.config, run.plan, run.manifest, run.quarantine, run.history, run.predictions, run.log):
        assert path.stat().st_size > 0, path
    printed = capsys.readouterr().out
    assert "61 images of 3 classes" in printed
    assert "zero 21, one 20, two 20" in printed
    assert "1 not an image" in printed
    assert str(run.report) in printed
    assert "linnaeus predict run" in printed
    assert "broken.png" in run.quarantine.read_text(encoding="utf-8")
    manifest = Run(run.path).manifest
    assert [len(manifest.rows(k)) for k in (TRAIN, VALIDATION, TEST)] == [42, 9, 9]
    row = [i.as_py() for i in manifest.ids].index("zero/broken.png")
    assert manifest.splits[row] == -1, "an unreadable image stands in no split"


def test_the_evaluation_agrees_with_the_predictions_on_disk(tmp_path: Path) -> None:
    run = linnaeus.train(write_digits(tmp_path / "photos"), epochs=1, out="run")
    table = pq.read_table(RunDir(run.path).predictions).to_pandas()
    test = table[table["split"] == SPLITS.index("test")]
    predicted = np.stack(test["logits"]).argmax(axis=1)
    scores = run.evaluation.test
    assert scores.score("accuracy").value == accuracy_score(test["target"], predicted)
    assert scores.confusion == confusion_matrix(test["target"], predicted, labels=[0, 1, 2]).tolist()
    assert scores.num_images == len(test) == 9
    manifest = run.manifest
    by_id = dict(zip(manifest.ids.to_pylist(), manifest.targets.tolist(), strict=True))
    assert [by_id[name] for name in test["id"]] == test["target"].tolist()


def test_prediction_from_the_shipped_model_repeats_the_test(tmp_path: Path) -> None:
    photos = write_digits(tmp_path / "photos")
    run = linnaeus.train(photos, epochs=3, out="run")
    predictions = run.predictions.of_split(TEST)
    table = linnaeus.predict(run.path, [photos / name for name in predictions.ids.to_pylist()], top_k=3)
    expected = predictions.probabilities
    found = np.sort(table[["probability", "probability_2", "probability_3"]].to_numpy(), axis=1)
    assert np.allclose(found, np.sort(expected, axis=1), atol=1e-2)
    assert (table["label"] == np.array(predictions.classes)[predictions.predicted]).mean() >= 8 / 9


def test_a_separate_test_set_is_the_only_test(tmp_path: Path) -> None:
    photos, extra = write_digits(tmp_path / "photos"), write_digits(tmp_path / "extra", each=7)
    assert main(["train", str(photos), "--test-data", str(extra), "--out", "run", *QUICK]) == 0
    assert Run(Path("run")).evaluation.test.num_images == 21
    manifest = Run(Path("run")).manifest
    assert len(manifest.rows(TRAIN)) + len(manifest.rows(VALIDATION)) == 60


def test_a_time_limit_is_planned_for_and_kept(tmp_path: Path) -> None:
    photos = write_digits(tmp_path / "photos", each=60)
    assert main(["train", str(photos), "--out", "run", "--time-limit", "2s", *QUICK[2:], "--epochs", "5000"]) == 0
    run = Run(Path("run"))
    assert run.config.phases[0].epochs != 5000
    assert "images/s measured, 2 s allowed" in RunDir(run.path).plan.read_text()
    assert run.history["epoch"].max() <= math.ceil(run.config.phases[0].epochs)  # the last one may be a part


def test_settings_on_the_command_line_reach_the_saved_page(tmp_path: Path) -> None:
    photos = write_digits(tmp_path / "photos")
    options = ["--seed", "3", "--image-size", "12", "--set", "phases.0.lr=0.1", "--set", "augment.flip=vertical"]
    assert main(["train", str(photos), "--out", "run", *QUICK, *options]) == 0
    config = Run(Path("run")).config
    assert (config.seed, config.image.size, config.phases[0].lr, config.augment.flip) == (3, 12, 0.1, "vertical")
    assert main(["train", str(photos), "--out", "again", "--recipe", "run/config.yaml"]) == 0
    weights = [(RunDir(Path(name)).model / "model.safetensors").read_bytes() for name in ("run", "again")]
    assert weights[0] == weights[1], "the saved page is a recipe that gives the same model"


def test_settings_told_to_be_without_effect_leave_the_weights_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_digits(tmp_path / "data")
    idle = ["--set", "loss.gamma=9", "--set", "augment.fill=zeros", "--set", "phases.0.lr_decay_factor=0.5"]
    assert main(["train", str(data), "--out", "a", *QUICK]) == 0
    capsys.readouterr()
    assert main(["train", str(data), "--out", "b", *QUICK, *idle]) == 0
    told = capsys.readouterr()
    for name in ("loss.gamma", "augment.fill", "phases.0.lr_decay_factor"):
        assert f"{name}: without effect" in told.out + told.err
    assert Path("a/model/model.safetensors").read_bytes() == Path("b/model/model.safetensors").read_bytes()


def test_runs_without_a_name_take_the_next_free_one(tmp_path: Path) -> None:
    photos = write_digits(tmp_path / "photos")
    assert main(["train", str(photos), *QUICK]) == 0
    assert main(["train", str(photos), *QUICK]) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["photos", "photos-2"]


def one_class(tmp_path: Path) -> list[str]:
    return [str(write_digits(tmp_path / "photos", classes=("zero",)))]


def tiny_class(tmp_path: Path) -> list[str]:
    photos = write_digits(tmp_path / "photos")
    for path in sorted((photos / "two").iterdir())[2:]:
        path.unlink()
    return [str(photos)]


def nothing_readable(tmp_path: Path) -> list[str]:
    photos = write_digits(tmp_path / "photos")
    for path in photos.rglob("*.PNG"):
        path.write_bytes(path.read_bytes()[:60])
    return [str(photos)]


def other_test_classes(tmp_path: Path) -> list[str]:
    photos = write_digits(tmp_path / "photos")
    return [str(photos), "--test-data", str(write_digits(tmp_path / "extra", classes=("zero", "one", "three")))]


def existing_run(tmp_path: Path) -> list[str]:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    return [str(write_digits(tmp_path / "photos"))]


def a_file_for_a_folder(tmp_path: Path) -> list[str]:
    (tmp_path / "run").write_text("")
    return [str(write_digits(tmp_path / "photos"))]


def with_options(*options: str) -> Any:
    return lambda tmp_path: [str(write_digits(tmp_path / "photos")), *options]


BAD = {
    "no such folder": (lambda _: ["nowhere"], r"no folder nowhere"),
    "an empty folder": (lambda tmp_path: [str((tmp_path / "void").mkdir() or tmp_path / "void")], r"void"),
    "one class": (one_class, r"[Tt]wo classes|one class"),
    "a tiny class": (tiny_class, r"two"),
    "nothing readable": (nothing_readable, r"None of the 60 images can be read"),
    "other test classes": (other_test_classes, r"'two'.*'three'"),
    "an existing folder": (existing_run, r"--force|--out"),
    "an existing folder that is no run": (lambda p: [*existing_run(p), "--force"], r"thesis.txt"),
    "a file for a folder": (a_file_for_a_folder, r"is a file"),
    "an unwritable place": (lambda p: [str(write_digits(p / "photos")), "--out", "/dev/null/run"], r"Cannot write"),
    "a run within the data": (lambda p: [str(write_digits(p / "photos")), "--out", "photos/run"], r"into the data"),
    "weights from elsewhere": (
        with_options("--set", "model.name=resnet10t", "--set", "model.options.pretrained=true"),
        r"'pretrained' would read",
    ),
    "an unknown section": (with_options("--set", "augmentation.flip=none"), r"Did you mean 'augment'"),
    "an unknown field": (with_options("--set", "augment.flp=none"), r"Did you mean 'flip'"),
    "an unknown recipe": (with_options("--recipe", "c2000"), r"no recipe 'c2000'"),
    "an unknown network": (with_options("--set", "model.name=speed_cn"), r"Did you mean 'speed_cnn'"),
    "a phase too many": (with_options("--set", "phases.1.lr=1"), r"has 1 phases"),
    "no such device": (with_options("--device", "tpu"), r"'runtime.device' = 'tpu'"),
    "a strange time": (with_options("--time-limit", "soon"), r"90s, 10m or 1.5h"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_plainly_and_leaves_nothing_behind(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrange, words = BAD[case]
    arguments = arrange(tmp_path)
    before = content(tmp_path)
    out = [] if "--out" in arguments else ["--out", "run"]
    assert main(["train", *arguments, *out, "--epochs", "1"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("Error: ")
    assert "Traceback" not in captured.err
    assert re.search(words, captured.err), captured.err
    after = {name: digest for name, digest in content(tmp_path).items() if not name.startswith("cache/")}
    assert after == before
    assert not Path("run").is_dir() or case.startswith("an existing folder")


def test_a_full_disk_before_training_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_digits(tmp_path / "photos")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    assert main(["train", str(photos), "--out", "run", *QUICK]) == 2
    assert "disk is full" in capsys.readouterr().err
    assert not Path("run").exists()


def test_force_replaces_a_run(tmp_path: Path) -> None:
    photos = write_digits(tmp_path / "photos")
    assert main(["train", str(photos), "--out", "run", *QUICK]) == 0
    assert main(["train", str(photos), "--out", "run", *QUICK]) == 2
    assert main(["train", str(photos), "--out", "run", "--seed", "5", "--force", *QUICK]) == 0
    assert Run(Path("run")).config.seed == 5


def test_resuming_what_is_no_run_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(tmp_path)]) == 2
    assert "no run in" in capsys.readouterr().err


def test_evaluation_json_has_the_documented_shape(tmp_path: Path) -> None:
    run = linnaeus.train(write_digits(tmp_path / "photos"), epochs=1, out="run")
    page = json.loads(RunDir(run.path).evaluation.read_text(encoding="utf-8"))
    assert page["format"] == 2 and set(page) == set(Evaluation.model_fields)
    assert all(page[section] for section in TRUST), "all that a run with validation images and features can tell"
    for scores in (run.evaluation.test, run.evaluation.validation):
        assert scores is not None
        for name in ("accuracy", "balanced_accuracy", "macro_precision", "macro_f1"):
            score = scores.score(name)
            assert 0 <= score.low <= score.value <= score.high <= 1
        assert scores.micro_f1 is None and list(scores.per_class or {}) == ["one", "two", "zero"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pd.DataFrame({"paths": ["a"], "label": ["b"]}), "no column 'path'. Did you mean 'paths'"),
        (pd.DataFrame({"path": ["a", "b"], "label": ["x", None]}), "Row 1 of the table has no label"),
        (pd.DataFrame({"path": ["a", "a"], "label": ["x", "y"]}), "names a twice"),
        (pd.DataFrame({"path": ["a"], "label": ["x"], "split": ["dev"]}), "Row 0 of the table has the split 'dev'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_row_and_column(table: pd.DataFrame, words: str) -> None:
    with pytest.raises(linnaeus.LinnaeusError) as caught:
        linnaeus.read(table)
    assert words in str(caught.value)


def test_tensorboard_files_hold_every_epoch(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    photos = write_digits(tmp_path / "photos")
    run = linnaeus.train(photos, epochs=3, out="run", settings={"runtime": {"tensorboard": True}})
    events = EventAccumulator(str(RunDir(run.path).tensorboard)).Reload()
    losses = [(event.step, event.value) for event in events.Scalars("train_loss")]
    assert [step for step, _ in losses] == [1, 2, 3]
    assert np.allclose([value for _, value in losses], run.history["train_loss"])
