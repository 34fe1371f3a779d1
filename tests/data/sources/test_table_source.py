"""Tables: columns are guessed and told, values stay as they stand, and what does not fit together is counted."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, VALIDATION, Manifest, concatenate
from linnaeus.data.sources import read_source, recognise
from linnaeus.data.sources.options import SourceOptions
from linnaeus.data.sources.table import read_table
from linnaeus.errors import DataError, LinnaeusError, NoImagesError


def dataset(root: Path, table: str, *names: str, name: str = "labels.csv") -> Path:
    """A table and files of these names that pretend to be images."""
    for file in names:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"\xff\xd8\xff")
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(table, encoding="utf-8")
    return root


def labels(manifest: Manifest) -> dict[str, object]:
    """Id -> its class, or the set of its labels."""
    names = np.array(manifest.classes, object)
    if manifest.task == "single":
        return dict(zip(manifest.ids.to_pylist(), names[manifest.targets], strict=True))
    return {id: set(names[row == 1]) for id, row in zip(manifest.ids.to_pylist(), manifest.targets, strict=True)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "path,label\na/1.jpg,cat\na/2.jpg,dog\n"),
        ("labels.csv", "\ufeffPath;Label\r\na/1.jpg;cat\r\na/2.jpg;dog\r\n"),
        ("x.tsv", "file\tclass\na/1.jpg\tcat\na/2.jpg\tdog"),
        ("y.jsonl", '{"image": "1", "label": "cat"}\n\n{"label": "dog", "image": "2.jpg"}\n'),
    ],
)
def test_paths_and_labels_are_read_from_every_kind_of_text(tmp_path: Path, name: str, text: str) -> None:
    data = dataset(tmp_path, text, "a/1.jpg", "a/2.jpg", name=name)
    assert recognise(data) == recognise(data / name) == "table"
    manifest = read_source(str(data))
    assert labels(manifest) == {"a/1.jpg": "cat", "a/2.jpg": "dog"}
    assert [Path(uri).is_file() for uri in manifest.uris.to_pylist()] == [True, True]
    assert manifest.splits.tolist() == [UNASSIGNED] * 2
    assert read_source(str(data / name)).fingerprint == manifest.fingerprint


def test_parquet_keeps_numbers_lists_and_missing_values_apart(tmp_path: Path) -> None:
    data = dataset(tmp_path, "", "7.png", "8.png", "9.png", name="notes.txt")
    table = pa.table({"image_id": [7, 8, 9], "tags": [["a", "b"], [], None], "other": [{"x": 1}] * 3})
    pq.write_table(table, data / "t.parquet")
    assert labels(read_table(data / "t.parquet")) == {"7.png": {"a", "b"}, "8.png": set(), "9.png": set()}


def test_names_that_look_like_missing_values_are_names(tmp_path: Path) -> None:
    names = ["N/A", "None", "nan", "NULL", "null", "NA", "-", "1e3", "007"]
    rows = "".join(f"{k},{name}\n" for k, name in enumerate(names))
    data = dataset(tmp_path, f"id,label\n{rows}", *(f"{k}.jpg" for k in range(len(names))))
    assert list(labels(read_table(data)).values()) == names


def test_a_column_of_0_and_1_per_label_gives_several_labels(tmp_path: Path) -> None:
    table = "Id,note,N/A,b\n1,x,1,1\n2,y,0,1\n3,z,0,0\n"
    manifest = read_table(dataset(tmp_path, table, "images/1.jpg", "images/2.jpg", "images/3.jpg"))
    assert manifest.task == "multi"
    assert manifest.classes == ("N/A", "b")
    assert manifest.targets.dtype == np.uint8
    assert manifest.targets.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert "images from column 'Id', 2 labels from the 0/1 columns 'N/A' to 'b'" in manifest.notes[0]


def test_exactly_one_1_per_row_is_one_label(tmp_path: Path) -> None:
    manifest = read_table(dataset(tmp_path, "image,mel,nv\n1,1.0,0.0\n2,0.0,1.0\n", "1.jpg", "2.jpg"))
    assert manifest.task == "single"
    assert labels(manifest) == {"1.jpg": "mel", "2.jpg": "nv"}


@pytest.mark.parametrize(
    "cells",
    [
        ("\"['a', 'N/A']\"", "['a']", "[]"),
        ("a|N/A", "a", ""),
        ("a; N/A", "a", ""),
        ('"a,N/A"', "a", ""),
        ("a N/A", "a", ""),
    ],
)
def test_lists_and_delimited_cells_give_several_labels(tmp_path: Path, cells: tuple[str, ...]) -> None:
    table = "path,tags\n" + "".join(f"{k}.jpg,{cell}\n" for k, cell in enumerate((*cells, cells[0])))
    manifest = read_table(dataset(tmp_path, table, *(f"{k}.jpg" for k in range(4))))
    both = {"a", "N/A"}
    assert labels(manifest) == {"0.jpg": both, "1.jpg": {"a"}, "2.jpg": set(), "3.jpg": both}


def test_a_comma_in_a_name_alone_divides_nothing(tmp_path: Path) -> None:
    manifest = read_table(dataset(tmp_path, 'path,label\n1.jpg,"ox, wild"\n2.jpg,"ox, tame"\n', "1.jpg", "2.jpg"))
    assert manifest.classes == ("ox, tame", "ox, wild")


def test_options_go_before_the_guess(tmp_path: Path) -> None:
    table = "id,other,label,colour\n1,2,cat,red\n2,1,dog,blue\n"
    data = dataset(tmp_path / "d", table)
    pictures = dataset(tmp_path / "elsewhere", "", "deep/1.jpg", "deep/2.jpg").resolve()
    options = SourceOptions(image_column="other", label_columns=("colour",), image_root=pictures)
    manifest = read_table(data, options)
    assert labels(manifest) == {"deep/2.jpg": "red", "deep/1.jpg": "blue"}
    assert manifest.uris[0].as_py() == f"{pictures}/deep/2.jpg"


def test_several_label_columns_asked_for_must_hold_0_and_1(tmp_path: Path) -> None:
    data = dataset(tmp_path, "id,a,b\n1,1,0\n2,0,maybe\n", "1.jpg", "2.jpg")
    with pytest.raises(DataError, match=r"labels\.csv, row 2: 'b' is 'maybe'"):
        read_table(data, SourceOptions(label_columns=("a", "b")))
    with pytest.raises(DataError, match=r"no column 'lable'\. .*It has 'id', 'a', 'b'"):
        read_table(data, SourceOptions(label_columns=("lable",)))


def test_splits_and_groups_of_the_table_are_kept(tmp_path: Path) -> None:
    table = "id,label,Split,patient\n1,a,train,p\n2,b,VAL,q\n3,a,test,p\n4,b,,\n"
    manifest = read_table(dataset(tmp_path, table, *(f"{k}.jpg" for k in (1, 2, 3, 4))))
    assert manifest.splits.tolist() == [TRAIN, VALIDATION, TEST, UNASSIGNED]
    assert manifest.groups is not None
    assert manifest.groups.tolist() == [0, 1, 0, 2]


def test_tables_called_like_splits_are_read_together(tmp_path: Path) -> None:
    data = dataset(tmp_path, "id,label\n1,a\n2,b\n", "train/1.jpg", "train/2.jpg", "val/1.jpg", name="train.csv")
    (data / "val.csv").write_text("id,label\n1,b\n")
    (data / "test.csv").write_text("id\n3\n")
    manifest = read_table(data)
    assert labels(manifest) == {"train/1.jpg": "a", "train/2.jpg": "b", "val/1.jpg": "b"}
    assert manifest.splits.tolist() == [TRAIN, TRAIN, VALIDATION]
    assert "test.csv is left out: it has no column 'label'" in manifest.notes


def test_what_does_not_fit_together_is_counted_with_an_example(tmp_path: Path) -> None:
    table = "id,label\n1,a\n2,b\n2,b\n3,a\n1,b\n4,\n5,a\n"
    manifest = read_table(dataset(tmp_path, table, "1.jpg", "2.jpg", "4.jpg", "x/5.jpg", "y/5.jpg", "spare.jpg"))
    assert labels(manifest) == {"1.jpg": "a", "2.jpg": "b"}
    assert manifest.skipped == {
        "rows without a file": 1,
        "rows without a label": 1,
        "rows for which several files fit": 1,
        "repeated rows": 1,
        "rows that contradict an earlier row (left out)": 1,
        "files without a row": 3,
    }
    assert "repeated rows: 1, such as row 3 of labels.csv (2.jpg)" in manifest.notes
    assert "rows without a file: 1, such as row 4 of labels.csv ('3')" in manifest.notes
    assert "files without a row: 3, such as spare.jpg" in manifest.notes


def test_a_name_in_another_folder_is_another_image(tmp_path: Path) -> None:
    table = "path,label\ntrain/1.jpg,a\ntest/1.jpg,b\nimages/train/2.jpg,b\n"
    manifest = read_table(dataset(tmp_path, table, "train/1.jpg", "train/2.jpg"))
    assert labels(manifest) == {"train/1.jpg": "a", "train/2.jpg": "b"}


def test_boxes_make_one_row_each_and_a_scene_is_a_group(tmp_path: Path) -> None:
    table = "image,xmin,ymin,xmax,ymax,class\n1,0,0,5,6,a\n1,2,2,4,4,b\n2,3,3,3,9,a\n2,0,0,9,9,a\n"
    data = dataset(tmp_path, table)
    for name in ("1", "2"):
        Image.new("RGB", (9, 8)).save(data / f"{name}.jpg")
    manifest = read_table(data)
    assert manifest.boxes is not None and manifest.groups is not None
    assert manifest.boxes.tolist() == [[0, 0, 5, 6], [2, 2, 4, 4], [0, 0, 9, 8]]
    assert [manifest.classes[k] for k in manifest.targets] == ["a", "b", "a"]
    assert manifest.groups.tolist() == [0, 0, 1]
    assert len(set(manifest.ids.to_pylist())) == 3
    assert manifest.skipped == {"boxes without area": 1}
    wider = read_table(data, SourceOptions(box_padding=0.5, min_box_size_px=3))
    assert wider.boxes is not None
    assert wider.boxes.tolist() == [[0, 0, 8, 8], [0, 0, 9, 8]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "labels.csv is empty"),
        ("id,label\n", "labels.csv is empty"),
        ("id,label\n1,a\n2\n", r"labels\.csv cannot be read.*Row #3"),
        ("id,id\n1,a\n", "column 'id' more than once"),
        ("id,label\nx,a\n", r"Row 1 of 'id' is 'x'\. .*--image-column"),
        ("id,other\n1,a\n", "which column holds the labels"),
    ],
)
def test_a_table_that_cannot_be_understood_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(dataset(tmp_path, text, "1.jpg", "2.jpg"))


def test_json_lines_name_the_line_that_is_none(tmp_path: Path) -> None:
    data = dataset(tmp_path, '{"id": "1", "label": "a"}\n{"id": \n', "1.jpg", name="t.jsonl")
    with pytest.raises(DataError, match=r"t\.jsonl, line 2 is not JSON"):
        read_table(data)


def test_several_tables_are_a_question(tmp_path: Path) -> None:
    data = dataset(tmp_path, "id,label\n1,a\n", "images/1.jpg", name="a.csv")
    (data / "b.csv").write_text("id,label\n1,b\n")
    with pytest.raises(DataError, match=r"several tables .*\(a\.csv, b\.csv\)\. Name one"):
        read_table(data)


def test_no_row_with_a_file_is_an_error(tmp_path: Path) -> None:
    data = dataset(tmp_path, "id,label\n9,a\n", "1.jpg")
    with pytest.raises(NoImagesError, match=r"rows without a file: 1, such as row 1 of labels\.csv"):
        read_table(data, SourceOptions(image_column="id"))


def test_a_table_beside_class_folders_does_not_hide_them(tmp_path: Path) -> None:
    assert recognise(dataset(tmp_path, "id,label\n1,a\n", "a/1.jpg", "b/2.jpg")) == "folder"


_TABLE = b"id,label,split\n1,a,train\n2,\"b,c\",test\n3,['x'],\n"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(_TABLE) - 1), put=st.binary(max_size=6), cut=st.integers(0, 8))
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_no_mutated_table_crashes_the_reader(tmp_path: Path, suffix: str, place: int, put: bytes, cut: int) -> None:
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        (tmp_path / name).write_bytes(b"\xff\xd8\xff")
    content = _TABLE
    if suffix == ".jsonl":
        content = b'{"id": "1", "label": ["a"]}\n{"id": 2, "label": "b", "split": null}\n'
    if suffix == ".parquet":
        whole = tmp_path / "whole"
        pq.write_table(pa.table({"id": ["1", "2"], "label": ["a", "b"]}), whole)
        content = whole.read_bytes()
    place %= len(content)
    path = tmp_path / f"mutated{suffix}"
    path.write_bytes(content[:place] + put + content[place + cut :])
    try:
        manifest = read_table(path)
    except LinnaeusError as error:
        assert "mutated" in str(error)
    else:
        assert 1 <= len(manifest) <= 3


@pytest.mark.skipif("LINNAEUS_DATA" not in os.environ, reason="LINNAEUS_DATA is not set: no unpacked data sets")
def test_posters_come_in_with_25_labels_and_every_value() -> None:
    import csv

    root = Path(os.environ["LINNAEUS_DATA"]) / "posters"
    manifest = read_source(str(root))
    with (root / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["Id"]: row for row in csv.DictReader(file)}
    assert manifest.task == "multi"
    assert manifest.classes == tuple(next(iter(rows.values())))[2:]
    assert "N/A" in manifest.classes
    assert manifest.ids.to_pylist() == [f"images/{id}.jpg" for id in rows]
    assert manifest.targets.tolist() == [[int(row[name]) for name in manifest.classes] for row in rows.values()]
    assert manifest.skipped == {"repeated rows": 12, "files without a row": 625}
    by_list = read_source(str(root), options=SourceOptions(label_columns=("Genre",)))
    assert by_list.classes == manifest.classes
    assert np.array_equal(by_list.targets, manifest.targets)


def test_a_weight_column_weighs_the_rows(tmp_path: Path) -> None:
    data = dataset(tmp_path, "path,label,weight\n1.jpg,a,2\n2.jpg,b,\n3.jpg,a,0.5\n", "1.jpg", "2.jpg", "3.jpg")
    manifest = read_table(data)
    assert manifest.weights is not None
    assert manifest.weights.dtype == np.float32
    assert manifest.weights.tolist() == [2.0, 1.0, 0.5]
    assert "weights from 'weight'" in manifest.notes[0]


def test_weights_follow_boxes_into_the_order_of_their_scenes(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    rows = ["2.png,0,0,5,5,a,3", "1.png,0,0,5,5,b,4", "2.png,5,5,9,9,a,5", "1.png,9,9,9,12,b,6"]
    data = dataset(tmp_path, "path,xmin,ymin,xmax,ymax,label,sample_weight\n" + "\n".join(rows) + "\n")
    manifest = read_table(data)
    assert manifest.weights is not None
    assert dict(zip(manifest.ids.to_pylist(), manifest.weights.tolist(), strict=True)) == {
        "2.png#1": 3.0,
        "2.png#2": 5.0,
        "1.png#1": 4.0,
    }


def test_a_weight_below_0_is_told_with_its_row(tmp_path: Path) -> None:
    data = dataset(tmp_path, "path,label,weight\n1.jpg,a,2\n2.jpg,b,-1\n", "1.jpg", "2.jpg")
    with pytest.raises(DataError, match=r"row 2 of labels.csv \('2.jpg'\): the weight '-1' is not a number from 0 on"):
        read_table(data)


def test_a_column_called_weight_that_holds_no_numbers_is_none(tmp_path: Path) -> None:
    data = dataset(tmp_path, "path,label,weight\n1.jpg,a,12 kg\n2.jpg,b,3 kg\n", "1.jpg", "2.jpg")
    assert read_table(data).weights is None


def test_other_columns_are_kept_where_they_make_slices(tmp_path: Path) -> None:
    names = [f"{k}.jpg" for k in range(60)]
    head = "path,label,camera,year,caption,same,mixed\n"
    rows = [
        f"{n},{'ab'[k % 2]},{['Leica', '', 'N/A'][k % 3]},{k if k else ''},words {k},x,{k or 'none'}"
        for k, n in enumerate(names)
    ]
    manifest = read_table(dataset(tmp_path / "d", head + "\n".join(rows[::-1]), *names))
    assert list(manifest.columns) == ["camera", "year"]
    order = [int(name.removesuffix(".jpg")) for name in manifest.ids.to_pylist()]
    taken = manifest.take(np.array([5, 0, 7]))
    taken.save(tmp_path / "manifest.parquet")
    for found, rows_there in (
        (manifest, order),
        (Manifest.load(tmp_path / "manifest.parquet"), [order[5], order[0], order[7]]),
    ):
        known = found.known_of(np.arange(len(found)))
        assert known["camera"].tolist() == [["Leica", None, "N/A"][k % 3] for k in rows_there]
        np.testing.assert_array_equal(known["year"], [k or np.nan for k in rows_there])


def test_columns_of_two_manifests_stand_below_each_other(tmp_path: Path) -> None:
    halves = []
    for name, extra, cells in (
        ("one", "camera,year", ("Leica,1", "Canon,2")),
        ("two", "year,camera,iso", ("3,Leica,7", "4,,8")),
    ):
        files = [f"{name}{k}.jpg" for k in range(2)]
        text = f"path,label,{extra}\n" + "\n".join(f"{f},{'ab'[k]},{cells[k]}" for k, f in enumerate(files))
        halves.append(read_table(dataset(tmp_path / name, text, *files)))
    both = concatenate(*halves)
    known = both.known_of(np.arange(4))
    np.testing.assert_array_equal(known["year"], [1, 2, 3, 4])
    np.testing.assert_array_equal(known["iso"], [np.nan, np.nan, 7, 8])
    # a single camera in the second table is no column there
    assert known["camera"].tolist() == ["Leica", "Canon", None, None]
