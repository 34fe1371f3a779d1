"""`linnaeus evaluate`: predictions of any model from a file, scored as scikit-learn does, and files that do not fit."""

from __future__ import annotations

import errno
import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss, roc_auc_score

from linnaeus.cli.main import main
from linnaeus.config.settings import EvaluateConfig
from linnaeus.judging import column_file, foreign, label_scores, score_table
from linnaeus.judging.foreign import open_predictions
from linnaeus.runs.evaluate import evaluate_file
from linnaeus.statistics import resample

CLASSES = ("ant", "bee", "<i>cow")


def write_table(path: Path, *, num: int = 300, seed: int = 0, multi: bool = False, **changes: Any) -> pd.DataFrame:
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
    assert "chart-roc" in page and "chart-precision-recall" in page and 'id="prediction_sets"' in page
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


def test_probabilities_that_begin_as_whole_numbers_are_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sure = [f"{k}.jpg,ant,1,0" for k in range(200)]
    path = tmp_path / "theirs.csv"
    path.write_text("\n".join(["path,target,probability:ant,probability:bee", *sure, "last.jpg,bee,0.25,0.75\n"]))
    monkeypatch.setattr(foreign, "CSV_BYTES_AT_ONCE", 500)
    with open_predictions(path) as found:
        assert found.table.rows(199, 201).tolist() == [[1.0, 0.0], [0.25, 0.75]]
        assert found.table.targets.tolist() == [0] * 200 + [1]


@pytest.fixture
def arrow_pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fills with the bytes of every piece of a table that Arrow reads or writes at once.

    How many pieces it holds at a time depends on its threads, and so on what else the machine does; their sizes do not.
    """
    sizes: list[int] = []
    read, write = pq.ParquetFile.read_row_groups, pq.ParquetWriter.write_table

    def reading(file: pq.ParquetFile, *arguments: Any, **more: Any) -> pa.Table:
        table = read(file, *arguments, **more)
        sizes.append(table.nbytes)
        return table

    def writing(writer: pq.ParquetWriter, table: pa.Table, *arguments: Any, **more: Any) -> None:
        sizes.append(table.nbytes)
        write(writer, table, *arguments, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", reading)
    monkeypatch.setattr(pq.ParquetWriter, "write_table", writing)
    return sizes


def peak_bytes(path: Path) -> int:
    """Most memory of Python and NumPy that evaluating the file took at once. All of it is taken by one thread."""
    tracemalloc.start()
    try:
        evaluate_file(path, config=EvaluateConfig(bootstrap_samples=100), threshold=0.5)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def write_many_classes(path: Path, *, num_classes: int, multi: bool) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, num_classes, 8000)
    probabilities = softmax(rng.normal(size=(8000, num_classes)) + 4 * np.eye(num_classes)[targets], axis=1)
    columns = {f"probability:{k}": probabilities[:, k].round(6) for k in range(num_classes)}
    names = [f"{k}|{(k + 1) % num_classes}" if multi else str(k) for k in targets]
    pq.write_table(pa.table({"target": names, **columns}), path, row_group_size=2000)


@pytest.mark.parametrize(("suffix", "multi"), [(".csv", False), (".parquet", False), (".parquet", True)])
def test_memory_does_not_grow_with_images_times_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrow_pieces: list[int], suffix: str, multi: bool
) -> None:
    """Ten times as many classes: 5.8 MB more as float64 of which none is kept, and 0.7 MB of labels, which are."""
    for module, name in (
        (foreign, "CELLS_AT_ONCE"),
        (score_table, "CELLS_AT_ONCE"),
        (resample, "CELLS_AT_ONCE"),
        (label_scores, "_CELLS_AT_ONCE"),
    ):
        monkeypatch.setattr(module, name, 20_000)
    monkeypatch.setattr(foreign, "CSV_BYTES_AT_ONCE", 1 << 15)
    peaks = []
    for num_classes in (10, 10, 100):  # the first time, modules are imported
        path = tmp_path / f"{num_classes}.parquet"
        write_many_classes(path, num_classes=num_classes, multi=multi)
        if suffix == ".csv":
            pd.read_parquet(path).to_csv(path.with_suffix(".csv"), index=False)
        arrow_pieces.clear()
        peaks.append(peak_bytes(path.with_suffix(suffix)))
        assert 0 < max(arrow_pieces) < 1e6, "8 bytes for each of 20,000 cells, and the text of the targets"
    assert peaks[2] - peaks[1] < 1.5e6, peaks


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks at open files as Linux lists them")
def test_the_temporary_file_has_no_name_that_a_killed_process_could_leave_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    write_table(tmp_path / "theirs.csv")
    with open_predictions(tmp_path / "theirs.csv"):
        opened = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        assert sum(name.startswith(str(place)) for name in opened) == 2, opened
        assert list(place.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(column_file.ColumnFile, "write", full)
    write_table(tmp_path / "theirs.parquet")
    assert main(["evaluate", "--predictions", str(tmp_path / "theirs.parquet")]) == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error and "TMPDIR" in error and "Traceback" not in error
    assert not (tmp_path / "theirs").exists()


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
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: str
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
