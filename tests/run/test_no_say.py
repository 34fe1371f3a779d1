"""Test labels have no say in anything: other ones change nothing but the test scores, whatever there is to choose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import linnaeus
from linnaeus.data.manifest import TEST
from linnaeus.run.finished import Run
from linnaeus.run_folder import RunDir

SIZE, LABELS = 16, ("bright", "left", "noisy")
SINGLE_TARGETS = {"decide": "f1", "targets": [f"recall:{name}=1" for name in ("both", "left", "none")]}
COSTS = {"costs": {"left": {"none": 5.0, "both": 3.0}, "none": {"left": 0.2}}}
LABEL_COSTS = {
    "costs": {
        "left": {"false_negative": 5.0, "false_positive": 1.0},
        "bright": {"false_negative": 1.0, "false_positive": 3.0},
    }
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def write_table(folder: Path, *, multi: bool) -> pd.DataFrame:
    """120 pictures that may be bright, have a square on the left or be noisy, and say so, if not always rightly."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    rows: list[dict[str, Any]] = []
    for number in range(120):
        bright, left, noisy = (rng.random(3) < (0.5, 0.4, 0.3)).tolist()
        pixels = np.full((SIZE, SIZE, 3), 150.0 if bright else 60.0)
        pixels[4:12, 2:7] = 255 if left else pixels[4:12, 2:7]
        pixels += rng.normal(0, 50 if noisy else 2, pixels.shape)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        labels = np.array([bright, left, noisy]) ^ (rng.random(3) < 0.1)
        split = "test" if number % 4 == 0 else "validation" if number % 4 == 1 else "train"
        kind = "both" if labels[0] and labels[1] else "left" if labels[1] else "none"
        own = dict(zip(LABELS, labels.astype(int).tolist(), strict=True)) if multi else {"label": kind}
        rows.append({"image": f"{number}.png", "split": split, **own})
    return pd.DataFrame(rows)


def choices(run: Run) -> dict[str, Any]:
    """Everything in the folder that a test label might have had a say in and must not."""
    folder, evaluation = RunDir(run.path), run.evaluation
    bundle = json.loads((folder.model / "bundle.json").read_text(encoding="utf-8"))
    del bundle["provenance"]  # holds the test scores
    predictions = run.predictions
    point, ood = evaluation.operating_point, evaluation.ood
    assert point is not None and ood is not None
    return {
        "weights": (folder.model / "model.safetensors").read_bytes(),
        "reference features": (folder.model / "ood.safetensors").read_bytes(),
        "temperature, operating point, prediction sets, thresholds and all that is shipped": bundle,
        "history": run.history[["lr", "train_loss", "validation_loss", "kept"]].to_csv(),
        "decisions": folder.plan.read_text(encoding="utf-8"),
        "predictions": predictions.logits.tobytes(),
        "their temperature and point": (predictions.temperature, predictions.operating_point),
        "validation scores": evaluation.validation,
        "validation calibration": (evaluation.calibration.temperature, evaluation.calibration.validation),
        "targets on validation": [target.model_copy(update={"test": None}) for target in point.targets],
        "test images out of distribution": ood.flagged,
    }


@pytest.mark.parametrize(
    ("multi", "evaluate"),
    [
        (False, SINGLE_TARGETS),
        (False, COSTS),
        (True, {"thresholds": "per_label", "targets": ["recall:left=0.9", "precision:bright=0.8"]}),
        (True, {"thresholds": "global"}),
        (True, LABEL_COSTS),
    ],
    ids=["targets and F1", "costs", "targets of labels", "one threshold", "costs of labels"],
)
def test_other_test_labels_change_nothing_but_the_test_scores(
    tmp_path: Path, multi: bool, evaluate: dict[str, Any]
) -> None:
    table = write_table(tmp_path / "images", multi=multi)
    changed, test = table.copy(), table["split"] == "test"
    for column in table.columns[2:]:
        changed.loc[test, column] = np.roll(table.loc[test, column], 4)
    settings = {"evaluate": evaluate, "model": {"options": {"widths": [8, 8, 8]}}, "runtime": {"threads": 1}}
    runs = []
    for name, labels in (("one", table), ("other", changed)):
        labels.to_csv(tmp_path / "images" / "labels.csv", index=False)
        runs.append(linnaeus.train(tmp_path / "images", epochs=2, out=name, settings=settings))
    one, other = runs
    assert one.evaluation.test != other.evaluation.test
    assert (one.predictions.of_split(TEST).targets != other.predictions.of_split(TEST).targets).any()
    before, after = choices(one), choices(other)
    for name, value in before.items():
        assert after[name] == value, name
    assert before["their temperature and point"][0] != 1.0, "the temperature was left as it is: this test says nothing"
    shipped = before["temperature, operating point, prediction sets, thresholds and all that is shipped"]
    assert shipped["sets"] is not None and (shipped["thresholds"] or shipped["operating_point"]) is not None
