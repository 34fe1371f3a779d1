"""Corrections: a small file of decisions on top of the data's labels; what does not fit is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.config.settings import DataConfig
from linnaeus.data.corrections import (
    Correction,
    apply_corrections,
    read_corrections,
    spell_labels,
    write_corrections,
)
from linnaeus.data.intake import divide, read_manifest
from linnaeus.data.manifest import TEST, TRAIN, VALIDATION, Manifest, manifest_from_columns
from linnaeus.errors import ClassesError, DataError
from linnaeus.run_folder import RunDir

CLASSES = ("ant", "bee", "cow")


def manifest(*, multi: bool = False) -> Manifest:
    ids = [f"{k}.jpg" for k in range(6)]
    found = manifest_from_columns(ids, [f"/data/{name}" for name in ids], ["ant", "bee", "cow"] * 2, classes=CLASSES)
    if multi:
        found = dataclasses.replace(found, targets=np.eye(3, dtype=np.uint8)[found.targets], task="multi")
    return found


def decide(path: Path, *rows: tuple[str, str, str]) -> Path:
    write_corrections(path, [Correction(id, "", decision, labels, "") for id, decision, labels in rows])
    return path


def test_labels_are_changed_rows_left_out_and_both_are_told(tmp_path: Path) -> None:
    before = manifest()
    file = decide(
        tmp_path / "c.csv",
        ("0.jpg", "relabel", "cow"),
        ("1.jpg", "exclude", ""),
        ("2.jpg", "accept", "cow"),
        ("3.jpg", "skip", ""),
    )
    after = apply_corrections(before, file)
    assert after.ids.to_pylist() == ["0.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"]
    assert [CLASSES[k] for k in after.targets] == ["cow", "cow", "ant", "bee", "cow"]
    assert after.skipped == {"excluded by corrections": 1}
    assert after.notes[-1] == f"Corrections from {file}: 1 found right, 1 relabelled, 1 excluded."
    assert before.targets.tolist() == [0, 1, 2, 0, 1, 2], "the manifest that came in is as it was"


def test_several_labels_are_a_list_of_names(tmp_path: Path) -> None:
    rows = (("0.jpg", "relabel", '["bee", "cow"]'), ("1.jpg", "relabel", "[]"), ("2.jpg", "relabel", "ant"))
    after = apply_corrections(manifest(multi=True), decide(tmp_path / "c.csv", *rows))
    assert after.targets[:3].tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]


def test_new_images_only_train(tmp_path: Path) -> None:
    new = tmp_path / "new.jpg"
    new.write_bytes(b"")
    after = apply_corrections(manifest(), decide(tmp_path / "c.csv", (str(new), "label", "bee")))
    assert (after.ids[-1].as_py(), after.uris[-1].as_py()) == (str(new), str(new))
    assert (after.targets[-1], after.splits[-1]) == (1, TRAIN)
    assert after.targets.dtype == np.int64


def test_images_stay_in_the_splits_of_the_run_that_was_reviewed(tmp_path: Path) -> None:
    before = manifest()
    splits = np.array([TRAIN, TEST, TRAIN, VALIDATION, TRAIN, TRAIN], np.int8)
    before.with_splits(splits).save(RunDir(tmp_path).manifest)
    new = tmp_path / "new.jpg"
    new.write_bytes(b"")
    rows = (("1.jpg", "relabel", "ant"), ("2.jpg", "exclude", ""), (str(new), "label", "bee"))
    after = apply_corrections(before, decide(tmp_path / "corrections.csv", *rows))
    assert after.splits.tolist() == [TRAIN, TEST, VALIDATION, TRAIN, TRAIN, TRAIN]
    divided = divide(after, DataConfig(), seed=3)
    assert divided.splits.tolist() == after.splits.tolist()
    assert "1 of them changed labels of test images" in after.notes[-1]


def test_ids_that_fit_nothing_are_named(tmp_path: Path) -> None:
    file = decide(tmp_path / "c.csv", ("0.jpg", "accept", "ant"), ("O.jpg", "relabel", "cow"), ("x", "exclude", ""))
    with pytest.raises(DataError, match=r"2 of 3 corrections in .*c\.csv are of images .* not in the data: O\.jpg, x"):
        apply_corrections(manifest(), file)


@pytest.mark.parametrize("multi", [False, True])
def test_a_class_that_does_not_exist_is_an_error_with_the_nearest_name(multi: bool, tmp_path: Path) -> None:
    file = decide(tmp_path / "c.csv", ("0.jpg", "relabel", spell_labels(["cows"], "multi" if multi else "single")))
    with pytest.raises(ClassesError, match=r"0\.jpg is labelled 'cows'.*Did you mean 'cow'\?"):
        apply_corrections(manifest(multi=multi), file)


def test_a_new_image_that_is_gone_is_an_error(tmp_path: Path) -> None:
    file = decide(tmp_path / "c.csv", ("/nowhere/new.jpg", "label", "ant"))
    with pytest.raises(DataError, match=r"not there, such as /nowhere/new\.jpg"):
        apply_corrections(manifest(), file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,decision\n", "no column 'labels'"),
        ("id,decision,labels\n0.jpg,drop,\n", "line 2: there is no decision 'drop'"),
        ("id,decision,labels\na,accept,b\na,skip,\n", "line 3: a has a decision already"),
        ("", "no column 'id'"),
        (b"\xff\xfe\x00", "not a CSV file of corrections"),
    ],
)
def test_a_file_that_is_no_list_of_corrections_is_refused(text: str | bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "c.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        read_corrections(file)
    with pytest.raises(DataError, match="No such file"):
        read_corrections(tmp_path / "none.csv")


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@given(st.lists(st.tuples(_TEXT, _TEXT, _TEXT), max_size=6, unique_by=lambda row: row[0]))
def test_whatever_names_there_are_they_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    file = tmp_path_factory.mktemp("csv") / "c.csv"
    written = [Correction(id, given, "relabel", labels, "2026-01-02T03:04:05+00:00") for id, given, labels in rows]
    write_corrections(file, written)
    assert read_corrections(file) == written


def test_the_configuration_puts_several_files_on_top_of_each_other(tmp_path: Path) -> None:
    one = decide(tmp_path / "one.csv", ("0.jpg", "relabel", "bee"))
    other = decide(tmp_path / "other.csv", ("0.jpg", "relabel", "cow"), ("1.jpg", "exclude", ""))
    found = read_manifest(DataConfig(corrections=[str(one), str(other)]), manifest())
    assert (len(found), found.classes[found.targets[0]]) == (5, "cow")
    assert len(found.notes) == 2
