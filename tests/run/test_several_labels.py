"""Several labels per image, the whole story: a table in, thresholds, scores, a report and predictions out."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score

import linnaeus
from linnaeus.bundle.files import load_bundle
from linnaeus.cli.main import main
from linnaeus.data.manifest import TEST, TRAIN, VALIDATION
from linnaeus.data.sources import read_source
from linnaeus.data.sources.options import SourceOptions
from linnaeus.errors import ConfigError, Interrupted
from linnaeus.run_folder import RunDir

LABELS = ("bright", "left", "noisy")
QUICK = ["--set", "runtime.threads=1", "--set", "model.options.widths=[8, 8, 8]"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def write_images(folder: Path, *, num: int = 240) -> Path:
    """Images of which some are bright, some have a square on the left, some are noisy, and some none of these."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(num):
        bright, left, noisy = (int(rng.random() < fraction) for fraction in (0.5, 0.4, 0.2))
        pixels = np.full((20, 20, 3), 150 if bright else 60, np.float64)
        pixels[6:14, 2:8] = 255 if left else pixels[6:14, 2:8]
        pixels += rng.normal(0, 50 if noisy else 2, pixels.shape)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{number}.png")
        rows.append({"image": f"images/{number}.png", "bright": bright, "left": left, "noisy": noisy})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> linnaeus.Run:
    """One run that the tests below look at."""
    folder = tmp_path_factory.mktemp("several")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINNAEUS_CACHE", str(folder / "cache"))
        settings = {"model": {"options": {"widths": [8, 8, 8]}}, "runtime": {"threads": 1}}
        return linnaeus.train(write_images(folder / "data"), epochs=8, out=folder / "run", settings=settings)


def test_labels_are_learned_and_the_scores_are_those_of_the_predictions_on_disk(run: linnaeus.Run) -> None:
    test, scores = run.predictions.of_split(TEST), run.evaluation.test
    predicted = test.probabilities >= np.array(thresholds_of(run))
    micro_f1 = scores.score("micro_f1").value
    assert micro_f1 == pytest.approx(f1_score(test.targets, predicted, average="micro"), abs=1e-12)
    expected = average_precision_score(test.targets, test.logits, average="macro")
    assert scores.score("mean_average_precision").value == pytest.approx(expected, abs=1e-12)
    assert micro_f1 > 0.75
    assert scores.num_images == len(test) == sum(scores.wrong_labels or [])


def thresholds_of(run: linnaeus.Run) -> tuple[float | None, ...]:
    """What evaluation.json says they are, in the order of LABELS."""
    per_class = run.evaluation.test.per_class or {}
    return tuple(per_class[name].threshold for name in LABELS)


def test_scores_of_several_labels_are_those_that_apply_to_them(run: linnaeus.Run) -> None:
    evaluation = run.evaluation
    for scores in (evaluation.test, evaluation.validation):
        assert scores is not None and scores.accuracy is None and scores.confusion is None
        for name, score in scores.named():
            assert 0 <= score.low <= score.value <= score.high <= 1, name
        assert all(row.false_negatives is not None for row in (scores.per_class or {}).values())


def test_the_shipped_model_gives_the_labels_of_the_test(run: linnaeus.Run) -> None:
    test = run.predictions.of_split(TEST)
    bundle = load_bundle(RunDir(run.path).model)
    assert bundle.thresholds == thresholds_of(run)
    data = Path(run.config.data.source)
    table = linnaeus.predict(run.path, [data / name for name in test.ids.to_pylist()], top_k=3, all_probabilities=True)
    found = table[[f"probability:{name}" for name in LABELS]].to_numpy()
    assert np.allclose(found, test.probabilities, atol=1e-2)
    given = [[name for name, yes in zip(LABELS, row, strict=True) if yes] for row in found >= bundle.thresholds]
    assert table["labels"].tolist() == given
    assert (table["num_labels"] == [len(names) for names in given]).all()


def test_images_of_no_label_are_tested_and_may_be_given_none(run: linnaeus.Run) -> None:
    test = run.predictions.of_split(TEST)
    given = test.given_labels(np.array(load_bundle(RunDir(run.path).model).thresholds))
    assert (given[test.targets.sum(axis=1) == 0].sum(axis=1) == 0).any()


def test_every_split_has_every_label_in_proportion(run: linnaeus.Run) -> None:
    manifest = run.manifest
    for split in (TRAIN, VALIDATION, TEST):
        labels = manifest.targets[manifest.rows(split)]
        assert np.abs(labels.sum(axis=0) - len(labels) * manifest.targets.mean(axis=0)).max() <= 1.5


def test_history_and_plan_speak_of_labels(run: linnaeus.Run) -> None:
    assert {"validation_micro_f1", "validation_mean_average_precision"} <= set(run.history.columns)
    assert "validation_accuracy" not in run.history.columns
    kept = run.history[run.history["kept"]]["validation_mean_average_precision"]
    assert kept.item() == run.history["validation_mean_average_precision"].max()
    plan = RunDir(run.path).plan.read_text(encoding="utf-8")
    assert "| loss | bce |" in plan
    assert run.config.loss.name == "bce"


def test_the_card_says_what_thresholds_there_are(run: linnaeus.Run) -> None:
    card = (RunDir(run.path).model / "README.md").read_text(encoding="utf-8")
    assert "An image classifier for 3 labels" in card
    threshold = thresholds_of(run)[LABELS.index("noisy")]
    assert f"| noisy | {threshold:.3g} |" in card
    assert "| Micro F1 |" in card and "softmax" not in card


def test_the_commands_print_labels(run: linnaeus.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Path(run.config.data.source)
    (tmp_path / "broken.png").write_bytes(b"")
    arguments = ["predict", str(run.path), str(data / "images"), str(tmp_path / "broken.png")]
    assert main([*arguments, "--out", "labels.csv"]) == 1
    table = pd.read_csv("labels.csv", keep_default_na=False)
    assert set("|".join(table["labels"]).split("|")) - {""} == set(LABELS)
    none = table[(table["labels"] == "") & (table["error"] == "")]
    assert len(none) and (none["num_labels"] == "0").all()
    assert table.iloc[-1]["error"] and table.iloc[-1]["num_labels"] == ""
    assert main([*arguments, "--out", "labels.jsonl"]) == 1
    lines = [json.loads(line) for line in Path("labels.jsonl").read_text().splitlines()]
    assert [line["labels"] for line in lines[:-1]] == [x.split("|") if x else [] for x in table["labels"][:-1]]
    assert lines[-1]["labels"] is None
    assert main([*arguments, "--out", "labels.parquet"]) == 1
    assert [list(x) for x in pd.read_parquet("labels.parquet")["labels"][:-1]] == [x["labels"] for x in lines[:-1]]
    capsys.readouterr()
    assert main(arguments) == 1
    assert "no label" in capsys.readouterr().out


def test_labels_written_as_csv_can_be_trained_on(run: linnaeus.Run) -> None:
    data = Path(run.config.data.source)
    assert main(["predict", str(run.path), str(data / "images"), "--out", "labels.csv"]) == 0
    manifest = read_source("labels.csv", options=SourceOptions(label_columns=("labels",)))
    assert manifest.task == "multi" and set(manifest.classes) == set(LABELS)
    table = pd.read_csv("labels.csv")
    assert manifest.targets.sum() == table["num_labels"].sum()


def test_the_terminal_shows_the_scores_of_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_images(tmp_path / "data", num=90)
    assert main(["train", str(data), "--out", "run", "--epochs", "1", *QUICK]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"micro F1\s+\d", printed) and re.search(r"subset accuracy\s+\d", printed)
    assert re.search(r"Wrong labels: none in \d+ images", printed)
    assert "90 images of 3 labels" in printed and "Hamming accuracy" in printed
    without = int((pd.read_csv(data / "labels.csv")[list(LABELS)].sum(axis=1) == 0).sum())
    assert f"Labels per image: {without} with no label, " in printed


def test_a_loss_for_one_label_is_refused_for_several(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", num=30)
    with pytest.raises(ConfigError, match="these have several"):
        linnaeus.train(data, out="run", settings={"loss": {"name": "cross_entropy"}})
    assert not Path("run").exists()


class Stopping:
    """Progress that asks the run to stop, once, in its second epoch."""

    asked = False

    def say(self, message: str) -> None: ...

    def log_to(self, path: Path) -> None: ...

    @contextmanager
    def task(self, description: str, *, total: int, unit: str) -> Iterator[Stopping]:
        self.description = description
        yield self

    def advance(self, count: int = 1, *, status: str = "") -> None:
        if " 2/" in self.description and not self.asked:
            self.asked = True
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_stopped_run_goes_on_to_the_same_model_and_thresholds(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", num=90)
    small = {"model": {"options": {"widths": [8, 8, 8]}}, "runtime": {"threads": 1}, "phases": [{"batch_size": 16}]}
    with pytest.raises(Interrupted):
        linnaeus.train(data, epochs=3, out="stopped", settings=small, progress=Stopping())
    assert not RunDir(Path("stopped")).report.exists()
    whole = linnaeus.train(data, epochs=3, out="whole", settings=small)
    stopped = linnaeus.resume("stopped")
    models = [RunDir(one.path).model for one in (whole, stopped)]
    assert (models[0] / "model.safetensors").read_bytes() == (models[1] / "model.safetensors").read_bytes()
    assert load_bundle(models[0]).thresholds == load_bundle(models[1]).thresholds
    assert whole.evaluation.test == stopped.evaluation.test
