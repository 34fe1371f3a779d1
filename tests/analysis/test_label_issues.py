"""Label issues: planted wrong labels are found, ranked, and given in the words of the classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from cleanlab.filter import find_label_issues as reference
from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class

from linnaeus.analysis.label_issues import COLUMNS, find_label_issues, read_label_issues
from linnaeus.errors import DataError
from linnaeus.predictions import Predictions

NAMES = ("ant", "NA", "cow, brown", "<b>")


def predictions(logits: np.ndarray, targets: np.ndarray, classes: tuple[str, ...] = NAMES) -> Predictions:
    ids = pa.array([f"{row}.jpg" for row in range(len(logits))], pa.large_string())
    splits = (np.arange(len(logits)) % 2).astype(np.int8)
    return Predictions(ids, logits.astype(np.float32), targets, classes, splits, "0" * 16)


def single(*, seed: int, num_wrong: int = 12) -> tuple[Predictions, np.ndarray]:
    """400 images that a model knows fairly well, and which of their labels were made wrong."""
    generator = np.random.default_rng(seed)
    true = np.arange(400) % 4
    logits = 3.0 * np.eye(4)[true] + generator.normal(size=(400, 4))
    wrong = generator.choice(400, num_wrong, replace=False)
    given = true.copy()
    given[wrong] = (true[wrong] + generator.integers(1, 4, num_wrong)) % 4
    return predictions(logits, given), wrong


def test_planted_wrong_labels_are_found_and_the_true_class_is_suggested() -> None:
    found, wrong = single(seed=0)
    issues = find_label_issues(found)
    rows = issues["id"].str.removesuffix(".jpg").astype(int)
    assert len(np.intersect1d(rows, wrong)) >= 10
    assert len(rows) <= 20
    planted = issues[rows.isin(wrong)]
    assert (planted["suggested"] == [NAMES[int(row.removesuffix(".jpg")) % 4] for row in planted["id"]]).mean() > 0.8
    assert (issues["given"] != issues["suggested"]).all()
    assert issues["split"].tolist() == [("train", "validation")[row % 2] for row in rows]


def test_the_list_is_cleanlabs_and_ranked_by_the_probability_of_the_given_label() -> None:
    found, _ = single(seed=1)
    issues = find_label_issues(found)
    expected = reference(
        found.targets,
        found.probabilities,
        return_indices_ranked_by="self_confidence",
        filter_by="low_self_confidence",
        n_jobs=1,
    )
    assert issues["id"].tolist() == [f"{row}.jpg" for row in expected]
    assert issues["confidence"].to_numpy() == pytest.approx(
        1 - found.probabilities[expected, found.targets[expected]], abs=1e-12
    )
    assert issues["confidence"].is_monotonic_decreasing


PLANTED = np.arange(20)


def several(seed: int) -> Predictions:
    generator = np.random.default_rng(seed)
    true = (generator.random((500, 3)) < 0.3).astype(np.uint8)
    logits = 4.0 * (2.0 * true - 1) + generator.normal(size=true.shape)
    given = true.copy()
    given[PLANTED, 0] ^= 1
    given[PLANTED + 20, 2] ^= 1
    return predictions(np.c_[logits, np.zeros(500)], np.c_[given, np.zeros(500, np.uint8)])


def test_missing_and_extra_labels_are_told_apart() -> None:
    found = several(2)
    issues = find_label_issues(found)
    hits = 0
    for issue in issues.to_dict("records"):
        row, k = int(issue["id"].removesuffix(".jpg")), NAMES.index(issue["given"] + issue["suggested"])
        extra = found.targets[row, k] == 1
        assert issue["kind"] == ("extra" if extra else "missing")
        assert (issue["given"], issue["suggested"]) == ((NAMES[k], "") if extra else ("", NAMES[k]))
        assert issue["confidence"] > 0.5
        hits += (k == 0 and row in PLANTED) or (k == 2 and row - 20 in PLANTED)
    assert hits >= 32
    assert len(issues) <= 45
    assert NAMES[3] not in set(issues["given"]) | set(issues["suggested"]), "a label that no image has"


def test_several_labels_are_judged_as_cleanlab_judges_them() -> None:
    found = several(3)
    labels = [np.flatnonzero(row).tolist() for row in found.targets]
    per_class, _, _ = find_multilabel_issues_per_class(
        labels,
        found.probabilities[:, :3],
        filter_by="low_self_confidence",
        n_jobs=1,
        return_indices_ranked_by="self_confidence",
    )
    issues = find_label_issues(found)
    for k, rows in enumerate(per_class):
        named = issues[(issues["given"] == NAMES[k]) | (issues["suggested"] == NAMES[k])]
        assert named["id"].tolist() == [f"{row}.jpg" for row in rows]


@pytest.mark.parametrize("num_rows", [0, 5])
def test_nothing_looks_wrong_where_there_is_nothing_to_compare(num_rows: int) -> None:
    for targets in (np.zeros(num_rows, np.int64), np.zeros((num_rows, 4), np.uint8)):
        issues = find_label_issues(predictions(np.zeros((num_rows, 4)), targets))
        assert len(issues) == 0
        assert tuple(issues.columns) == COLUMNS


def test_a_class_without_images_changes_nothing() -> None:
    found, _ = single(seed=4)
    wider = predictions(np.c_[found.logits, np.full(400, -60.0)], found.targets, (*NAMES, "none"))
    assert find_label_issues(wider)["id"].tolist() == find_label_issues(found)["id"].tolist()


def test_the_table_comes_back_from_its_file_with_names_such_as_na(tmp_path: Path) -> None:
    issues = find_label_issues(single(seed=5)[0])
    assert "NA" in set(issues["suggested"])
    issues.to_csv(tmp_path / "issues.csv", index=False)
    again = read_label_issues(tmp_path / "issues.csv")
    assert again["suggested"].tolist() == issues["suggested"].tolist()
    assert again["confidence"].to_numpy() == pytest.approx(issues["confidence"].to_numpy())


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "issues.csv").write_text("id,label\n1,2\n")
    with pytest.raises(DataError, match="no table of label issues"):
        read_label_issues(tmp_path / "issues.csv")
