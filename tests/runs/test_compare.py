"""`linnaeus compare`: scores side by side, which differences are significant, and runs that cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from linnaeus import atomic
from linnaeus.bundle.facts import Facts
from linnaeus.cli.main import main
from linnaeus.config.pages import to_yaml
from linnaeus.config.settings import EvaluateConfig, parse_config
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.manifest import Manifest
from linnaeus.errors import ClassesError, ConfigError, DataError, RunError
from linnaeus.judging.evaluation import Seconds
from linnaeus.judging.judge import Settled, Submission, judge
from linnaeus.judging.operating_point import Chosen
from linnaeus.predictions import Predictions
from linnaeus.report.wording import duration
from linnaeus.run_folder import RunDir
from linnaeus.runs.compare import compare_runs

CLASSES = ("ant", "bee", "<script>")
OF_HEAD_AND_NETWORK: dict[str, Any] = {
    "data": {"out_of_fold": 0},
    "image": {"size": 32},
    "augment": {"flip": "none", "pad_crop_px": 2},
    "model": {"name": "speed_cnn", "features": "last"},
    "phases": [
        {"name": "head", "train": "head", "optimizer": "lbfgs", "batch_size": 8, "epochs": 1},
        {"name": "finetune", "optimizer": "adamw", "batch_size": 8, "epochs": 1},
    ],
    "evaluate": {"views": "one", "batch_size": 16},
}
"""Nothing is left open in it, as in a run's own page."""


def write_run(
    path: Path,
    *,
    right: float,
    seed: int = 0,
    classes: tuple[str, ...] = CLASSES,
    num: int = 400,
    multi: bool = False,
    group_size: int = 1,
) -> Path:
    """The files of a finished run that `compare` reads; images and targets are the same in all of them.

    Images of one group are all answered rightly, or none is.
    """
    groups = np.arange(num) // group_size
    targets = np.random.default_rng(99).integers(0, 3, num)
    rng = np.random.default_rng(seed)
    answers = np.where(rng.random(num)[groups] < right, targets, (targets + 1) % 3)
    logits = (4 * np.eye(3)[answers] + rng.normal(size=(num, 3)) - (2 if multi else 0)).astype(np.float32)
    order = [CLASSES.index(name) for name in classes] if set(classes) == set(CLASSES) else [0, 1, 2]
    position = np.argsort(order)
    kept = np.eye(3, dtype=np.uint8)[targets][:, order] if multi else position[targets].astype(np.int64)
    predictions = Predictions(
        ids=pa.array([f"{k}.png" for k in range(num)], pa.large_string()),
        logits=logits[:, order],
        targets=kept,
        classes=classes,
        splits=np.full(num, 2, np.int8),
        manifest_fingerprint="0" * 16,
    )
    run = RunDir(path)
    run.model.mkdir(parents=True)
    run.config.write_text("seed: 0\n")
    predictions.save(run.predictions)
    ids, splits = predictions.ids, predictions.splits
    manifest = Manifest(
        ids=ids,
        uris=ids,
        targets=kept,
        splits=splits,
        classes=classes,
        groups=groups,
        task="multi" if multi else "single",
    )
    manifest.save(run.manifest)
    thresholds = (0.5,) * 3 if multi else None
    settled = Settled(1.0, Chosen("f1" if multi else "argmax", None, thresholds, ()))
    submission = Submission(predictions, settled=settled, groups=groups)
    evaluation = judge(submission, EvaluateConfig(bootstrap_samples=100), seed=0).evaluation
    evaluation = evaluation.model_copy(update={"seconds": Seconds(total=61.0)})
    atomic.write_json(run.evaluation, evaluation.to_json())
    facts = Facts(
        model={"name": "resnet", "options": {}},
        num_parameters=1_500_000,
        classes=classes,
        image_spec=ImageSpec(8, 8),
        views="one",
        temperature=1.0,
        thresholds=thresholds,
        provenance={},
    )
    atomic.write_json(run.model / "bundle.json", facts.model_dump(mode="json"))
    (run.model / "model.safetensors").write_bytes(b"\0" * 6_000_000)
    return path


def save_out_of_fold(path: Path, *, right: float, num: int) -> None:
    """Out-of-fold predictions and the manifest of a run that `write_run` wrote; images 2k and 2k + 1 are a group."""
    run = RunDir(path)
    run.config.write_text(to_yaml(parse_config(OF_HEAD_AND_NETWORK)))
    run.history.write_text("epoch,phase,kept\n1,head,True\n2,finetune,False\n")
    targets = np.random.default_rng(7).integers(0, 3, num)
    answers = np.where(np.random.default_rng(int(100 * right)).random(num) < right, targets, (targets + 1) % 3)
    ids = pa.array([f"{k}.png" for k in range(num)], pa.large_string())
    splits, groups = np.zeros(num, np.int8), np.arange(num) // 2
    Manifest(ids=ids, uris=ids, targets=targets, splits=splits, classes=CLASSES, groups=groups).save(run.manifest)
    Predictions(ids, 4 * np.eye(3, dtype=np.float32)[answers], targets, CLASSES, splits, "0" * 16).save(run.out_of_fold)


def test_a_large_difference_is_significant_and_a_small_one_is_not(tmp_path: Path) -> None:
    names = {"good": 0.95, "same": 0.95, "bad": 0.7}
    paths = [write_run(tmp_path / name, right=share, seed=k) for k, (name, share) in enumerate(names.items())]
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
    assert (
        "one <b> is significantly better than other (" in printed
        and "1.5 M" in printed
        and "6.0 MB" in printed
        and "61 s" in printed
    )
    runs, pairs = pd.read_csv(table), pd.read_csv(tmp_path / "table-pairs.csv")
    assert list(runs["run"]) == [str(one), str(other)] and runs["num_parameters"].tolist() == [1_500_000] * 2
    assert pairs["better"].tolist() == [str(one)] and pairs["significant"].tolist() == [True]
    html = page.read_text(encoding="utf-8")
    assert "one &lt;b&gt;" in html and "one <b>" not in html and "significant" in html


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
    found = compare_runs(paths, confidence=0.95, images="out-of-fold")
    for each in found.candidates:
        assert len(each.predictions) == 1_000
        assert each.scores["accuracy"].value == (each.predictions.predicted == each.predictions.targets).mean()
    assert found.pairings[0].significant and found.pairings[0].better == str(paths[1])
    assert not compare_runs(paths, confidence=0.95).pairings[0].significant
    assert main(["compare", *map(str, paths), "--on", "out-of-fold", "--html", str(tmp_path / "page.html")]) == 0
    assert "1,000 out-of-fold images; 95 % intervals" in capsys.readouterr().out
    assert "2 runs on the same 1,000 out-of-fold images" in (tmp_path / "page.html").read_text(encoding="utf-8")
    RunDir(paths[1]).history.write_text("epoch,phase,kept\n1,head,False\n2,finetune,True\n")
    assert main(["compare", *map(str, paths), "--on", "out-of-fold"]) == 2
    assert "are those of the head before the network was fine-tuned" in " ".join(capsys.readouterr().err.split())
    RunDir(paths[0]).out_of_fold.unlink()
    assert main(["compare", *map(str, paths), "--on", "out-of-fold"]) == 2
    assert "one has no out-of-fold predictions. Train with --folds 5" in " ".join(capsys.readouterr().err.split())


def test_runs_of_one_name_in_different_folders_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [write_run(tmp_path / folder / "photos", right=share) for folder, share in (("a", 0.95), ("b", 0.7))]
    assert main(["compare", *map(str, paths)]) == 0
    assert f"{paths[0]} is significantly better than {paths[1]} (" in capsys.readouterr().out


@pytest.mark.parametrize("multi", [False, True])
def test_equally_good_runs_on_scenes_of_alike_images_are_hardly_ever_told_apart(tmp_path: Path, multi: bool) -> None:
    alarms = 0
    for trial in range(12):
        paths = [
            write_run(tmp_path / f"{trial}-{k}", right=0.8, seed=2 * trial + k, group_size=10, multi=multi)
            for k in range(2)
        ]
        (pair,) = compare_runs(paths, confidence=0.95).pairings
        assert pair.comparison.test.name == "permutation" and pair.comparison.num_groups == 40
        assert pair.significant == (pair.p_value < 0.05)
        alarms += pair.significant
    assert alarms <= 2
