"""`linnaeus evaluate`: predictions of any model from a file, scored as scikit-learn does, and files that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss, roc_auc_score

from linnaeus.cli.main import main
from linnaeus.evaluation import foreign, score_table
from linnaeus.evaluation.foreign import open_predictions

CLASSES = ("ant", "bee", "<i>cow")


def write_table(path: Path, *, num: int = 300, seed: int = 0, multi: bool = False, **changes: object) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, num)
    logits = rng.normal(size=(num, 3)) + 1.5 * np.eye(3)[targets]
    probabilities = 1 / (1 + np.exp(-logits)) if multi else softmax(logits, axis=1)
    names = np.array(CLASSES, object)[targets]
    if multi:
        names = np.where(np.arange(num) % 3 == 0, "", np.where(np.arange(num) % 3 == 1, names, "ant|bee"))
    table = pd.DataFrame({"path": [f"{k}.jpg" for k in range(num)], "target": names})
    for k, name in enumerate(CLASSES):
        table[f"probability:{name}"] = probabilities[:, k]
    table["camera"] = np.where(np.arange(num) < num // 3, "<b>A", "B")
    for column, value in changes.items():
        table[column] = value
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    return table


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_foreign_file_is_scored_as_scikit_learn_scores_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"theirs{suffix}"
    table = write_table(path)
    assert main(["evaluate", "--predictions", str(path)]) == 0
    found = json.loads((tmp_path / "theirs" / "evaluation.json").read_text(encoding="utf-8"))["test"]
    probabilities = table[[f"probability:{name}" for name in CLASSES]].to_numpy()
    targets = np.array([CLASSES.index(name) for name in table["target"]])
    assert found["accuracy"]["value"] == accuracy_score(targets, probabilities.argmax(axis=1))
    assert found["log_loss"]["value"] == pytest.approx(log_loss(targets, probabilities), abs=1e-12)
    for k, name in enumerate(CLASSES):
        own = found["per_class"][name]
        assert own["roc_auc"] == pytest.approx(roc_auc_score(targets == k, probabilities[:, k]), abs=1e-12)
        expected = average_precision_score(targets == k, probabilities[:, k])
        assert own["average_precision"] == pytest.approx(expected, abs=1e-12)
    page = (tmp_path / "theirs" / "evaluation.html").read_text(encoding="utf-8")
    assert "&lt;i&gt;cow" in page and "<i>cow" not in page and "&lt;b&gt;A" in page


def test_several_labels_and_images_without_one_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    table = write_table(path, multi=True)
    assert main(["evaluate", "--predictions", str(path), "--threshold", "0.6", "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))["test"]
    given = table[[f"probability:{name}" for name in CLASSES]].to_numpy() >= 0.6
    targets = np.array([[name in text.split("|") for name in CLASSES] for text in table["target"]])
    assert found["micro_f1"]["value"] == pytest.approx(f1_score(targets, given, average="micro"), abs=1e-12)


def test_pieces_and_the_whole_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "theirs.parquet"
    write_table(path)
    assert main(["evaluate", "--predictions", str(path), "--out", str(tmp_path / "whole")]) == 0
    for module in (foreign, score_table):
        monkeypatch.setattr(module, "CELLS_AT_ONCE", 21)
    assert main(["evaluate", "--predictions", str(path), "--out", str(tmp_path / "pieces")]) == 0
    one, other = ((tmp_path / name / "evaluation.json").read_text() for name in ("whole", "pieces"))
    assert one == other
    monkeypatch.setattr(foreign, "_EXACT_CELLS", 0)
    with open_predictions(path) as found:
        assert np.allclose(found.table.column(1), found.table.rows(0, 300)[:, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"probability:bee": 1.5}, r"row 1: 'probability:bee' is 1.5, not a probability"),
        ({"probability:bee": 0.0}, r"row 1: the probabilities sum to 0\.\d+, not to 1"),
        ({"target": "wasp"}, r"row 1: the target 'wasp' has no column 'probability:wasp'"),
        ({"probability:bee": "x"}, r"theirs.csv"),
    ],
)
def test_what_does_not_fit_is_told_by_row_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], words: str
) -> None:
    path = tmp_path / "theirs.csv"
    write_table(path, **changes)
    assert main(["evaluate", "--predictions", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ") and "Traceback" not in error
    import re

    assert re.search(words, error), error
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "path,label\nx,y\n", "needs a column 'target'"),
        ("a.txt", "x", ".csv and .parquet"),
        ("b.csv", None, "no file"),
    ],
)
def test_a_file_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert main(["evaluate", "--predictions", str(tmp_path / name)]) == 2
    assert words in capsys.readouterr().err
    assert main(["evaluate"]) == 2
