"""Rare classes from end to end: what a run does about them is in its model and its predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from linnaeus.data.manifest import TRAIN
from linnaeus.deployment.predictor import Predictor
from linnaeus.errors import ConfigError, ModelError
from linnaeus.run import fit as fit_module
from linnaeus.run.finished import Run

COUNTS = {"zero": 60, "one": 30, "two": 15}


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three digits, of which one has four times the images of another."""
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    digits = load_digits()
    for k, (name, count) in enumerate(COUNTS.items()):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number, image in enumerate(digits.images[digits.target == k][:count]):
            Image.fromarray((image * 15.9).astype(np.uint8)).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def fit(out: str, **settings: object) -> Run:
    page = {
        "data": {"source": "photos"},
        "image": {"size": 8},
        "model": {"name": "relu_cnn"},
        "phases": [{"optimizer": "adam", "batch_size": 16, "epochs": 2, "monitor": "last"}],
        "evaluate": {"tta": "none", "bootstrap_samples": 100},
        "runtime": {"threads": 1, "device": "cpu", "precision": "32"},
    }
    for name, values in settings.items():
        page[name] = {**page[name], **values} if name in page else values  # type: ignore[dict-item]
    return fit_module.fit(page, out=Path(out))


def test_adjusting_after_training_takes_the_log_fraction_from_every_logit_and_ships_it() -> None:
    plain = fit("plain")
    moved = fit("moved", evaluate={"logit_adjustment": 1.5})
    counts = plain.manifest.class_counts(plain.manifest.rows(TRAIN))
    expected = plain.predictions.logits - 1.5 * np.log(counts / counts.sum())
    np.testing.assert_allclose(moved.predictions.logits, expected, atol=1e-4)
    picture = Path("photos/two/1.png")
    found = [Predictor(run.bundle).predict([picture]).iloc[0]["probability"] for run in (plain, moved)]
    assert found[0] != pytest.approx(found[1]), "the bundle holds the adjusted model"


def test_oversampling_lengthens_the_epoch_and_the_plan_counts_before_and_after() -> None:
    run = fit("run", data={"balance": "oversample", "oversample_factor": 2.0})
    counts = run.manifest.class_counts(run.manifest.rows(TRAIN))
    each = 2 * counts.sum() // 3
    plan = Path("run/plan.md").read_text(encoding="utf-8")
    assert f"two {counts[run.manifest.classes.index('two')]} → " in plan
    assert f"zero {counts[run.manifest.classes.index('zero')]} → {each}" in plan
    assert "balancing" in Path("run/report.html").read_text(encoding="utf-8")


def test_what_cannot_be_adjusted_is_refused_before_training() -> None:
    with pytest.raises(ModelError, match=r"loss\.logit_adjustment"):
        fit("run", model={"name": "speed_cnn", "options": {"widths": [8, 8, 8]}}, evaluate={"logit_adjustment": 1.0})
    with pytest.raises(ConfigError, match="no layer of this network is meant"):
        fit("run", loss={"l1": {"dense[3:]": 0.1}})
    assert not Path("run").exists()
