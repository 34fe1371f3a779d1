"""Folds that are trained whole: each resumes on its own, sees what it should, and one bundle holds them all."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.training.killed_run import FOLDS

from linnaeus.config.pages import overlay
from linnaeus.data.images.decode import read_image
from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, VALIDATION, Manifest
from linnaeus.deployment.predictor import Predictor
from linnaeus.errors import ClassesError
from linnaeus.judging.calibration import fit_temperature
from linnaeus.predictions import Predictions, rows_of
from linnaeus.run import fit
from linnaeus.run.finished import Run
from linnaeus.run_folder import RunDir
from linnaeus.training import fold_runs
from linnaeus.training import run as training_run
from linnaeus.training.loop import train_epoch
from linnaeus.training.run import train

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def cache_for_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(cache_for_all: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(cache_for_all))


@pytest.fixture(scope="module")
def seen() -> list[Manifest]:
    """What each training was given, in turn."""
    return []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache_for_all: Path, seen: list[Manifest]) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINNAEUS_CACHE", str(cache_for_all))
        patch.setattr(fold_runs, "train", lambda c, job, run: (seen.append(job.manifest), train(c, job, run))[1])
        return fit.fit(FOLDS, out=tmp_path_factory.mktemp("runs") / "whole")


def weights(path: Path) -> bytes:
    return (RunDir(path).model / "model.safetensors").read_bytes()


def test_every_training_image_is_left_out_once_and_validation_and_test_images_always(
    whole: Run, seen: list[Manifest]
) -> None:
    rows = whole.manifest.rows(TRAIN)
    left_out = np.concatenate([manifest.rows(VALIDATION) for manifest in seen])
    assert sorted(left_out) == sorted(rows)
    held_out = whole.manifest.rows(VALIDATION)
    assert len(held_out)
    for manifest in seen:
        assert sorted(np.concatenate([manifest.rows(TRAIN), manifest.rows(VALIDATION)])) == sorted(rows)
        assert (manifest.splits[held_out] == UNASSIGNED).all(), "what ships is judged by images that it has not seen"
        assert (manifest.rows(TEST) == whole.manifest.rows(TEST)).all()


def test_one_bundle_holds_all_and_answers_with_their_mean(whole: Run) -> None:
    assert len(whole.bundle.members) == 3
    test = whole.predictions.of_split(TEST)
    assert whole.evaluation.test.score("accuracy").value == pytest.approx((test.predicted == test.targets).mean())
    unseen = whole.out_of_fold
    assert len(unseen) == len(whole.manifest.rows_of(TRAIN, VALIDATION))
    held_out = whole.predictions.of_split(VALIDATION)
    np.testing.assert_allclose(held_out.logits, unseen.of_split(VALIDATION).logits, atol=1e-5)
    shipped = whole.bundle
    assert shipped.temperature == held_out.temperature == fit_temperature(replace(held_out, temperature=1.0))
    predictor = Predictor(shipped, precision="32")
    rows = rows_of(held_out, whole.manifest)
    images = np.stack([predictor.fit(read_image(whole.manifest.uris[int(row)].as_py()))[0] for row in rows])
    np.testing.assert_allclose(predictor.probabilities(images), held_out.probabilities, atol=1e-4)
    assert whole.history["phase"].tolist() == ["fold 1: one", "fold 2: one", "fold 3: one"]
    assert whole.history["epoch"].tolist() == [1, 2, 3]
    assert whole.report.exists()


def test_a_kill_in_the_middle_of_fold_3_costs_nothing_but_time(whole: Run, tmp_path: Path) -> None:
    path = tmp_path / "killed"
    killed = subprocess.run(
        [sys.executable, str(HERE / "killed_run.py"), str(path), "batch one 1 3 3", "folds"],
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert (RunDir(path).folds / "3" / "checkpoints").is_dir() and not RunDir(RunDir(path).folds / "3").history.exists()
    trained: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            training_run,
            "train_epoch",
            lambda state, *rest, **named: (trained.append(state.position.batch), train_epoch(state, *rest, **named))[1],
        )
        fit.resume(path)
    assert len(trained) == 1 and trained[0] > 0, "only fold 3 was trained, and not from its beginning"
    assert weights(path) == weights(whole.path)
    assert np.array_equal(Predictions.load(RunDir(path).out_of_fold).logits, whole.out_of_fold.logits)


def test_more_folds_than_images_of_a_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClassesError, match="too few for 200 folds"):
        fit.fit(overlay(FOLDS, {"data": {"folds": 200}}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
