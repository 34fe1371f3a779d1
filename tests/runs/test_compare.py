"""`linnaeus compare`: scores side by side, what is called real and what noise, and runs that cannot be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from linnaeus.atomic import write_json
from linnaeus.bundle import Bundle
from linnaeus.bundle.facts import read_facts
from linnaeus.bundle.files import save_bundle
from linnaeus.cli.main import main
from linnaeus.config.pages import to_yaml
from linnaeus.config.settings import EvaluateConfig, RunConfig, parse_config
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.manifest import TEST, VALIDATION, Manifest
from linnaeus.errors import ClassesError, ConfigError, DataError, RunError
from linnaeus.judging.evaluation import Seconds
from linnaeus.judging.judge import Submission, judge
from linnaeus.metrics.classification import IntArray
from linnaeus.models import build_classifier
from linnaeus.predictions import Predictions, predictions_of
from linnaeus.report.wording import duration
from linnaeus.run.write import with_settled
from linnaeus.run_folder import RunDir
from linnaeus.runs.compare import compare_runs

CLASSES = ("ant", "bee", "<script>")


NUM_VALIDATION = 60


def write_run(
    path: Path,
    *,
    right: float,
    seed: int = 0,
    classes: tuple[str, ...] = CLASSES,
    num: int = 400,
    multi: bool = False,
    groups: IntArray | None = None,
) -> Path:
    """The files of a finished run that `compare` reads; images and targets are the same in all of them.

    Args:
        right: fraction of right answers.
        num: test images, beside 60 of validation.
        groups: int64 [num], of the test images.
    """
    total = num + NUM_VALIDATION
    targets = np.random.default_rng(99).integers(0, 3, total)
    rng = np.random.default_rng(seed)
    answers = np.where(rng.random(total) < right, targets, (targets + 1) % 3)
    logits = (4 * np.eye(3)[answers] + rng.normal(size=(total, 3)) - (2 if multi else 0)).astype(np.float32)
    order = [CLASSES.index(name) for name in classes] if set(classes) == set(CLASSES) else [0, 1, 2]
    kept = np.eye(3, dtype=np.uint8)[targets][:, order] if multi else np.argsort(order)[targets].astype(np.int64)
    ids = pa.array([f"{k}.png" for k in range(total)], pa.large_string())
    splits = np.where(np.arange(total) < num, TEST, VALIDATION).astype(np.int8)
    if groups is not None:
        groups = np.concatenate([groups, groups.max() + 1 + np.arange(NUM_VALIDATION)])
    manifest = Manifest(
        ids=ids,
        uris=ids,
        targets=kept,
        splits=splits,
        classes=classes,
        groups=groups,
        task="multi" if multi else "single",
    )
    predictions = predictions_of(manifest, np.arange(total), logits[:, order])
    config = EvaluateConfig(bootstrap_samples=100)
    found = judge(Submission(predictions, groups=manifest.groups), config, seed=0)
    assert found.predictions is not None
    run = RunDir(path)
    path.mkdir(parents=True)
    run.config.write_text("seed: 0\n")
    manifest.save(run.manifest)
    found.predictions.save(run.predictions)
    evaluation = found.evaluation.model_copy(update={"seconds": Seconds(total=61.0)})
    write_json(run.evaluation, evaluation.to_json())
    classifier = build_classifier("speed_cnn", num_classes=3, image_size=16, options={"widths": [4, 4, 4]})
    spec = ImageSpec(16, 16, "squash", "bilinear", (0.5,) * 3, (0.5,) * 3)
    save_bundle(with_settled(Bundle(classifier, spec, classes, "none"), found.settled), run.model)
    return path


def save_out_of_fold(path: Path, *, right: float, num: int) -> None:
    """Out-of-fold predictions and the manifest of a run that `write_run` wrote; images 2k and 2k + 1 are a group."""
    run = RunDir(path)
    page = RunConfig().model_dump(mode="json")
    page["data"]["out_of_fold"] = 5
    page["image"]["size"] = 16
    page["model"] |= {"name": "speed_cnn", "features": "last"}
    page["evaluate"] |= {"tta": "none", "batch_size": 8}
    settled = {"batch_size": 8, "epochs": 1.0}
    page["phases"] = [
        {"name": "head", "train": "head", "optimizer": "lbfgs", **settled},
        {"name": "finetune", "optimizer": "adamw", **settled},
    ]
    run.config.write_text(to_yaml(parse_config(page)))
    run.history.write_text("epoch,phase,kept\n1,head,True\n2,finetune,False\n")
    targets = np.random.default_rng(7).integers(0, 3, num)
    answers = np.where(np.random.default_rng(int(100 * right)).random(num) < right, targets, (targets + 1) % 3)
    ids = pa.array([f"{k}.png" for k in range(num)], pa.large_string())
    splits, groups = np.zeros(num, np.int8), np.arange(num) // 2
    Manifest(ids=ids, uris=ids, targets=targets, splits=splits, classes=CLASSES, groups=groups).save(run.manifest)
    Predictions(ids, 4 * np.eye(3, dtype=np.float32)[answers], targets, CLASSES, splits, "0" * 16).save(run.out_of_fold)


def test_a_real_difference_is_called_real_and_a_small_one_noise(tmp_path: Path) -> None:
    names = {"good": 0.95, "same": 0.95, "bad": 0.7}
    paths = [write_run(tmp_path / name, right=fraction, seed=k) for k, (name, fraction) in enumerate(names.items())]
    found = compare_runs(paths, confidence=0.95)
    verdicts = {frozenset((Path(p.better).name, Path(p.worse).name)): p for p in found.pairings}
    assert not verdicts[frozenset(("good", "same"))].significant
    assert verdicts[frozenset(("good", "bad"))].significant and verdicts[frozenset(("same", "bad"))].significant
    assert Path(verdicts[frozenset(("good", "bad"))].better).name == "good"
    for pair in found.pairings:
        assert pair.comparison.difference.value >= 0
        assert pair.comparison.test.name == "mcnemar" and pair.p_value >= pair.comparison.test.p_value


def test_many_equal_runs_are_hardly_ever_told_apart(tmp_path: Path) -> None:
    alarms = 0
    for trial in range(12):
        paths = [write_run(tmp_path / f"{trial}-{k}", right=0.9, seed=10 * trial + k, num=200) for k in range(5)]
        alarms += any(pair.significant for pair in compare_runs(paths, confidence=0.95).pairings)
    assert alarms <= 2


@pytest.mark.parametrize("multi", [False, True])
def test_the_command_prints_and_writes_page_and_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], multi: bool
) -> None:
    one = write_run(tmp_path / "one <b>", right=0.95, multi=multi)
    other = write_run(tmp_path / "other", right=0.7, seed=1, multi=multi)
    page, table = tmp_path / "page.html", tmp_path / "table.csv"
    assert main(["compare", str(one), str(other), "--html", str(page), "--csv", str(table)]) == 0
    printed = capsys.readouterr().out
    assert "one <b> is significantly better than other (" in printed and "61 s" in printed
    runs, pairs = pd.read_csv(table), pd.read_csv(tmp_path / "table-pairs.csv")
    assert list(runs["run"]) == [str(one), str(other)] and runs["num_parameters"].tolist() == [num_parameters(one)] * 2
    assert pairs["better"].tolist() == [str(one)] and pairs["significant"].tolist() == [True]
    html = page.read_text(encoding="utf-8")
    assert "one &lt;b&gt;" in html and "one <b>" not in html and "significantly better" in html


def test_time_that_earlier_runs_spent_on_the_features_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [write_run(tmp_path / name, right=0.9, seed=seed) for seed, name in enumerate(("cold", "warm"))]
    page, table = tmp_path / "page.html", tmp_path / "table.csv"
    arguments = ["compare", *map(str, paths), "--html", str(page), "--csv", str(table)]
    assert main(arguments) == 0
    assert "earlier runs" not in capsys.readouterr().out + page.read_text(encoding="utf-8")
    found = json.loads(RunDir(paths[1]).evaluation.read_text())
    found["seconds"]["cached_features"] = 240.0
    RunDir(paths[1]).evaluation.write_text(json.dumps(found))
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "+ 240 s" in printed and "earlier runs spent on features" in printed
    assert pd.read_csv(table)["seconds_of_cached_features"].tolist() == [0.0, 240.0]
    html = page.read_text(encoding="utf-8")
    assert "earlier runs spent on features" in html and f"{duration(61.0)} + {duration(240.0)}" in html


def test_classes_in_another_order_are_matched_by_name(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", right=0.9)
    same = write_run(tmp_path / "same", right=0.9, classes=("<script>", "ant", "bee"))
    (pair,) = compare_runs([one, same], confidence=0.95).pairings
    assert pair.comparison.difference.value == 0 and not pair.significant


def test_runs_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", right=0.9)
    with pytest.raises(DataError, match=r"one and .*shorter cannot be compared.*400.*300"):
        compare_runs([one, write_run(tmp_path / "shorter", right=0.9, num=300)], confidence=0.95)
    with pytest.raises(ClassesError, match=r"one and .*strange cannot be compared.*wasp"):
        compare_runs([one, write_run(tmp_path / "strange", right=0.9, classes=("ant", "bee", "wasp"))], confidence=0.95)
    with pytest.raises(ConfigError, match="nothing to compare"):
        compare_runs([one], confidence=0.95)
    with pytest.raises(ConfigError, match="named twice"):
        compare_runs([one, one], confidence=0.95)
    unfinished = write_run(tmp_path / "unfinished", right=0.9)
    RunDir(unfinished).evaluation.unlink()
    with pytest.raises(RunError, match=r"not finished.*resume"):
        compare_runs([one, unfinished], confidence=0.95)


def test_out_of_fold_images_are_scored_by_what_is_predicted_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [write_run(tmp_path / name, right=0.8, seed=k) for k, name in enumerate(("one", "other"))]
    for path, right in zip(paths, (0.6, 0.9), strict=True):
        save_out_of_fold(path, right=right, num=1_000)
    found = compare_runs(paths, confidence=0.95, split="out-of-fold")
    for each in found.candidates:
        assert len(each.predictions) == 1_000
        assert each.scores["accuracy"].value == (each.predictions.predicted == each.predictions.targets).mean()
    assert found.pairings[0].significant and found.pairings[0].better == str(paths[1])
    assert not compare_runs(paths, confidence=0.95).pairings[0].significant
    assert main(["compare", *map(str, paths), "--split", "out-of-fold", "--html", str(tmp_path / "page.html")]) == 0
    assert "1,000 out-of-fold images; 95 % intervals" in capsys.readouterr().out
    assert "2 runs on the same 1,000 out-of-fold images" in (tmp_path / "page.html").read_text(encoding="utf-8")
    RunDir(paths[1]).history.write_text("epoch,phase,kept\n1,head,False\n2,finetune,True\n")
    assert main(["compare", *map(str, paths), "--split", "out-of-fold"]) == 2
    assert "are those of the head before the network was fine-tuned" in " ".join(capsys.readouterr().err.split())
    RunDir(paths[0]).out_of_fold.unlink()
    assert main(["compare", *map(str, paths), "--split", "out-of-fold"]) == 2
    assert "one has no out-of-fold predictions. Train with --folds 5" in " ".join(capsys.readouterr().err.split())


def test_runs_of_one_name_in_different_folders_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [write_run(tmp_path / folder / "photos", right=fraction) for folder, fraction in (("a", 0.95), ("b", 0.7))]
    assert main(["compare", *map(str, paths)]) == 0
    assert f"{paths[0]} is significantly better than {paths[1]} (" in capsys.readouterr().out


def num_parameters(path: Path) -> int:
    return read_facts(RunDir(path).model / "bundle.json").num_parameters


def test_images_of_one_group_are_one_piece_of_evidence(tmp_path: Path) -> None:
    """Two models that differ on two groups of 20 images differ on two pieces of evidence, and not on 40."""
    alone = [write_run(tmp_path / f"alone-{k}", right=1.0, seed=k) for k in range(2)]
    groups = np.arange(400) // 20
    together = [write_run(tmp_path / f"together-{k}", right=1.0, seed=k, groups=groups) for k in range(2)]
    for path in (alone[1], together[1]):
        predictions = Predictions.load(RunDir(path).predictions)
        wrong = np.isin(np.arange(len(predictions)) // 20, (3, 11)) & (predictions.splits == TEST)
        logits = predictions.logits.copy()
        logits[wrong] = np.roll(logits[wrong], 1, axis=1)
        replace(predictions, logits=logits).save(RunDir(path).predictions)
    assert compare_runs(alone, confidence=0.95).pairings[0].significant
    assert not compare_runs(together, confidence=0.95).pairings[0].significant
