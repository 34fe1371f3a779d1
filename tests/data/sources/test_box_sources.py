"""COCO, Pascal VOC and YOLO: the same two scenes in each format, with the troubles of each, give the same objects."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, VALIDATION, Manifest
from linnaeus.data.sources.coco import read_coco, recognise_coco
from linnaeus.data.sources.options import NO_OPTIONS, SourceOptions
from linnaeus.data.sources.voc import read_voc, recognise_voc
from linnaeus.data.sources.yolo import read_yolo, recognise_yolo
from linnaeus.errors import DataError, DataNotFoundError, LinnaeusError, NoImagesError

Object = tuple[str, tuple[int, int, int, int]]
SCENES: dict[str, list[Object]] = {
    "a": [("dog", (10, 20, 40, 60)), ("cat/kitten", (0, 0, 100, 80)), ("dog", (90, 70, 130, 90))],
    "b": [("cat/kitten", (5, 5, 25, 15)), ("dog", (7, 7, 7, 20))],
    "gone": [("dog", (1, 1, 9, 9))],
}
EXPECTED = {
    ("a", "dog", (10, 20, 40, 60)),
    ("a", "cat/kitten", (0, 0, 100, 80)),
    ("a", "dog", (90, 70, 100, 80)),
    ("b", "cat/kitten", (5, 5, 25, 15)),
}
SIZE = (100, 80)


def save_images(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or ("a", "b"):
        Image.new("RGB", SIZE).save(folder / f"{name}.png")


def coco_of(scenes: dict[str, list[Object]]) -> dict[str, Any]:
    categories = [{"id": 18, "name": "dog"}, {"id": 1, "name": "cat/kitten"}]
    ids = {entry["name"]: entry["id"] for entry in categories}
    images = [{"id": k, "file_name": f"{name}.png", "width": 100, "height": 80} for k, name in enumerate(scenes)]
    annotations = [
        {"image_id": k, "category_id": ids[label], "bbox": [x0, y0, x1 - x0, float(y1 - y0)], "iscrowd": 0}
        for k, objects in enumerate(scenes.values())
        for label, (x0, y0, x1, y1) in objects
    ]
    return {"info": {}, "images": images, "annotations": annotations[::-1], "categories": categories}


def voc_of(objects: list[Object], filename: str = "wrong.jpg") -> str:
    items = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x0}</xmin><xmax>{x1}</xmax><ymin>{y0}</ymin><ymax>{y1}</ymax>"
        "</bndbox></object>"
        for label, (x0, y0, x1, y1) in objects
    )
    return f"<annotation><filename>{filename}</filename>{items}</annotation>"


def yolo_of(objects: list[Object]) -> str:
    numbers = {"dog": 0, "cat/kitten": 1}
    width, height = SIZE
    return "".join(
        f"{numbers[label]} {(x0 + x1) / 2 / width:.9f} {(y0 + y1) / 2 / height:.9f} "
        f"{(x1 - x0) / width:.9f} {(y1 - y0) / height:.9f}\n"
        for label, (x0, y0, x1, y1) in objects
    )


def write_coco(root: Path) -> None:
    save_images(root / "images")
    (root / "labels.json").write_text(json.dumps(coco_of(SCENES)))


def write_voc(root: Path) -> None:
    save_images(root / "JPEGImages")
    (root / "Annotations").mkdir()
    for name, objects in SCENES.items():
        (root / "Annotations" / f"{name}.xml").write_text(voc_of(objects))
    (root / "Annotations/._a.xml").write_bytes(b"\0\5\x16\7Mac OS X")


def write_yolo(root: Path) -> None:
    save_images(root / "images")
    (root / "labels").mkdir()
    for name, objects in SCENES.items():
        (root / "labels" / f"{name}.txt").write_text(yolo_of(objects))
    (root / "data.yaml").write_text("nc: 2\nnames: [dog, cat/kitten]\n")


Reader = Callable[[Path, SourceOptions], Manifest]
FORMATS: dict[str, tuple[Callable[[Path], None], Reader, Callable[[Path], bool]]] = {
    "coco": (write_coco, read_coco, recognise_coco),
    "voc": (write_voc, read_voc, recognise_voc),
    "yolo": (write_yolo, read_yolo, recognise_yolo),
}


def objects_in(manifest: Manifest) -> set[tuple[str, str, tuple[int, ...]]]:
    assert manifest.boxes is not None
    return {
        (Path(uri).stem, manifest.classes[target], tuple(box))
        for uri, target, box in zip(
            manifest.uris.to_pylist(), manifest.targets.tolist(), manifest.boxes.tolist(), strict=True
        )
    }


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_objects(tmp_path: Path, name: str) -> None:
    write, read, recognise = FORMATS[name]
    write(tmp_path)
    assert recognise(tmp_path)
    manifest = read(tmp_path, NO_OPTIONS)
    assert objects_in(manifest) == EXPECTED
    assert manifest.skipped == {"boxes whose scene is missing": 1, "boxes without area": 1}
    assert "Boxes that reach outside their scene, clipped: 1" in " ".join(manifest.notes)
    assert manifest.groups is not None and len(set(manifest.groups.tolist())) == 2
    assert len(set(manifest.ids.to_pylist())) == 4
    assert set(manifest.splits.tolist()) == {UNASSIGNED}


@pytest.mark.parametrize("name", FORMATS)
def test_no_format_is_taken_for_another(tmp_path: Path, name: str) -> None:
    FORMATS[name][0](tmp_path)
    assert [other for other, (_, _, recognise) in FORMATS.items() if recognise(tmp_path)] == [name]


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_folder_is_recognised_as_none_and_said_to_hold_nothing(tmp_path: Path, name: str) -> None:
    _, read, recognise = FORMATS[name]
    assert not recognise(tmp_path) and not recognise(tmp_path / "nothing")
    with pytest.raises(DataNotFoundError):
        read(tmp_path, NO_OPTIONS)


def test_coco_splits_are_told_by_the_names_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for split, name in (("train2017", "a"), ("val2017", "b")):
        save_images(tmp_path / split, name)
        content = json.dumps(coco_of({name: SCENES[name]}))
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(content)
        (tmp_path / "annotations" / f"person_keypoints_{split}.json").write_text(content)
    manifest = read_coco(tmp_path)
    assert recognise_coco(tmp_path) and objects_in(manifest) == EXPECTED
    assert [id for id in manifest.ids.to_pylist() if id.startswith("val2017/b.png#")] == ["val2017/b.png#2"]
    assert manifest.splits.tolist() == [TRAIN] * 3 + [VALIDATION]
    only = read_coco(tmp_path / "annotations/instances_val2017.json")
    assert objects_in(only) == {entry for entry in EXPECTED if entry[0] == "b"}


def test_coco_beside_its_images_in_split_folders(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("test", "b")):
        save_images(tmp_path / split, name)
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(coco_of({name: SCENES[name]})))
    manifest = read_coco(tmp_path)
    assert objects_in(manifest) == EXPECTED
    assert sorted(set(manifest.splits.tolist())) == [TRAIN, TEST]


def test_coco_boxes_of_one_scene_never_stand_in_two_splits(tmp_path: Path) -> None:
    save_images(tmp_path / "images")
    (tmp_path / "train.json").write_text(json.dumps(coco_of({"a": SCENES["a"]})))
    (tmp_path / "val.json").write_text(json.dumps(coco_of({"b": SCENES["b"], "a": SCENES["a"]})))
    # The files are read by name: train first.
    manifest = read_coco(tmp_path)
    assert objects_in(manifest) == EXPECTED
    assert manifest.skipped["boxes of a scene that stands in another split too"] == 3


def test_coco_crowds_unknown_categories_and_broken_boxes_are_counted(tmp_path: Path) -> None:
    write_coco(tmp_path)
    content = coco_of(SCENES)
    usual = {"image_id": 0, "category_id": 18, "bbox": [1, 1, 5, 5]}
    changes: list[dict[str, Any]] = [
        {"iscrowd": 1},
        {"category_id": 99},
        {"category_id": [18]},
        {"image_id": 77},
        {"image_id": {}},
        {"bbox": [1, 1, -5, 5]},
        {"bbox": [1, 1, 5]},
        {"bbox": "1,1,5,5"},
        {"bbox": [1, 1, True, 5]},
        {"bbox": [1, 1, 10**400, 5]},
    ]
    for change in changes:
        content["annotations"].append(usual | change)
    content["annotations"] += [7, {"image_id": 0, "category_id": 18}]
    content["images"] += [None, {"id": 5}, {"id": [1], "file_name": "x"}]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    manifest = read_coco(tmp_path)
    assert objects_in(manifest) == EXPECTED
    assert manifest.skipped == {
        "annotations without a box": 2,
        "regions of crowds": 1,
        "boxes whose scene is missing": 3,
        "boxes that are not four numbers": 4,
        "boxes of a class without a name": 2,
        "boxes with swapped corners": 1,
        "boxes without area": 1,
    }


def test_voc_splits_are_those_of_its_lists_and_test_comes_first(tmp_path: Path) -> None:
    write_voc(tmp_path)
    save_images(tmp_path / "JPEGImages", "c", "d")
    for name in "cd":
        (tmp_path / "Annotations" / f"{name}.xml").write_text(voc_of([("dog", (1, 1, 9, 9))]))
    lists = tmp_path / "ImageSets/Main"
    lists.mkdir(parents=True)
    for name, lines in (
        ("trainval", "a\nb\nc\n"),
        ("train", "a\n"),
        ("val", "b\n"),
        ("test", "b \n"),
        ("dog_val", "a"),
    ):
        (lists / f"{name}.txt").write_text(lines)
    manifest = read_voc(tmp_path)
    splits = dict(zip(manifest.ids.to_pylist(), manifest.splits.tolist(), strict=True))
    assert splits == {
        "a.png#1": TRAIN,
        "a.png#2": TRAIN,
        "a.png#3": TRAIN,
        "b.png#1": TEST,
        "c.png#1": TRAIN,
        "d.png#1": UNASSIGNED,
    }


def test_voc_beside_its_images_in_split_folders(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("valid", "b")):
        save_images(tmp_path / split, name)
        (tmp_path / split / f"{name}.xml").write_text(voc_of(SCENES[name]))
    manifest = read_voc(tmp_path)
    assert recognise_voc(tmp_path) and objects_in(manifest) == EXPECTED
    assert sorted(set(manifest.splits.tolist())) == [TRAIN, VALIDATION]
    assert manifest.ids[0].as_py() == "train/a.png#1"


def test_voc_images_are_found_by_the_name_in_the_annotation_too(tmp_path: Path) -> None:
    write_voc(tmp_path)
    (tmp_path / "Annotations/a.xml").rename(tmp_path / "Annotations/0001.xml")
    (tmp_path / "Annotations/0001.xml").write_text(voc_of(SCENES["a"], filename="C:\\photos\\a.png"))
    assert objects_in(read_voc(tmp_path)) == EXPECTED


def test_what_voc_says_of_an_object_stays_with_it_where_it_tells_objects_apart(tmp_path: Path) -> None:
    write_voc(tmp_path)
    for name, objects in SCENES.items():
        easy, hard = "<difficult>0</difficult><pose> Unspecified </pose>", "<difficult>1</difficult>"
        text = voc_of(objects).replace("<name>cat", f"{easy}<name>cat").replace("<name>dog", f"{hard}<name>dog")
        (tmp_path / "Annotations" / f"{name}.xml").write_text(text)
    manifest = read_voc(tmp_path)
    assert objects_in(manifest) == EXPECTED
    assert set(manifest.columns) == {"difficult"}, "a pose that all have, or none, makes no slice"
    dogs = [manifest.classes[k] == "dog" for k in manifest.targets]
    assert manifest.columns["difficult"].to_pylist() == [float(dog) for dog in dogs] and any(dogs) and not all(dogs)


def test_voc_objects_without_name_or_numbers_are_counted(tmp_path: Path) -> None:
    write_voc(tmp_path)
    text = voc_of([*SCENES["b"], (" ", (1, 1, 5, 5)), ("dog", (9, 9, 5, 5))]).replace(
        "</annotation>",
        "<object><name>dog</name></object><object><name>dog</name><bndbox><xmin>x</xmin></bndbox></object>"
        "</annotation>",
    )
    (tmp_path / "Annotations/b.xml").write_text(text)
    manifest = read_voc(tmp_path)
    assert objects_in(manifest) == EXPECTED
    assert manifest.skipped["boxes of a class without a name"] == 1
    assert manifest.skipped["boxes that are not four numbers"] == 2
    assert manifest.skipped["boxes with swapped corners"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation><object>", r"b\.xml is damaged: no element found"),
        ("", r"b\.xml is damaged: no element found"),
        ("<html/>", r"b\.xml is no Pascal VOC annotation: its root is <html>"),
        ('<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>', "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "document type"),
        ("<annotation>&lol;</annotation>", "undefined entity"),
        ('<?xml version="1.0" encoding="no-such"?><annotation/>', r"b\.xml"),
    ],
)
def test_voc_damaged_and_hostile_files_are_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    write_voc(tmp_path)
    (tmp_path / "Annotations/b.xml").write_text(content)
    with pytest.raises(DataError, match=message):
        read_voc(tmp_path)


@pytest.mark.parametrize("layout", ["images/{}", "{}/images"])
def test_yolo_splits_are_told_by_the_folders(tmp_path: Path, layout: str) -> None:
    for split, name in (("train", "a"), ("val", "b"), ("test", "c")):
        folder = layout.format(split)
        save_images(tmp_path / folder, name)
        (tmp_path / folder.replace("images", "labels")).mkdir(parents=True)
        labels = yolo_of(SCENES.get(name, [("dog", (0, 0, 5, 5))]))
        (tmp_path / folder.replace("images", "labels") / f"{name}.txt").write_text(labels)
    (tmp_path / "data.yaml").write_text("names:\n  0: dog\n  1: cat/kitten\n")
    manifest = read_yolo(tmp_path)
    assert recognise_yolo(tmp_path) and recognise_yolo(tmp_path / "data.yaml")
    assert objects_in(manifest) == EXPECTED | {("c", "dog", (0, 0, 5, 5))}
    found = {Path(uri).stem: split for uri, split in zip(manifest.uris.to_pylist(), manifest.splits, strict=True)}
    assert found == {"a": TRAIN, "b": VALIDATION, "c": TEST}
    assert objects_in(read_yolo(tmp_path / "data.yaml")) == objects_in(manifest)


@pytest.mark.parametrize("form", ["folders", "path and folders", "list of folders", "text files"])
def test_yolo_splits_are_told_by_the_yaml_file(tmp_path: Path, form: str) -> None:
    for part, name in (("first", "a"), ("second", "b"), ("third", "c")):
        save_images(tmp_path / "images" / part, name)
        (tmp_path / "labels" / part).mkdir(parents=True)
        labels = yolo_of(SCENES.get(name, [("dog", (0, 0, 5, 5))]))
        (tmp_path / "labels" / part / f"{name}.txt").write_text(labels)
        (tmp_path / f"{part}.txt").write_text(f"./images/{part}/{name}.png\n")
    pages = {
        "folders": "train: images/first\nval: images/second\ntest: images/third\n",
        "path and folders": "path: images\ntrain: first\nval: second\ntest: third\n",
        "list of folders": "train: [images/first]\nval: [images/second]\ntest: [images/third, images/none]\n",
        "text files": "train: first.txt\nval: second.txt\ntest: third.txt\n",
    }
    (tmp_path / "data.yaml").write_text(pages[form] + "names: [dog, cat/kitten]\n")
    manifest = read_yolo(tmp_path)
    found = {Path(uri).stem: split for uri, split in zip(manifest.uris.to_pylist(), manifest.splits, strict=True)}
    assert found == {"a": TRAIN, "b": VALIDATION, "c": TEST}


def test_yolo_polygons_become_the_boxes_around_them_and_odd_lines_are_counted(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    lines = ["1 0.05 0.0625 0.25 0.1 0.1 0.1875", "", "0 0.5 0.5", "0 a b c d", "9 .5 .5 .1 .1", "x .5 .5 .1 .1"]
    lines += ["0 .5 .5 -.1 .1", "0 nan .5 .1 .1", "0 5 5 .1 .1"]
    (tmp_path / "labels/b.txt").write_text("\n".join(lines))
    manifest = read_yolo(tmp_path)
    assert objects_in(manifest) == EXPECTED
    assert manifest.skipped == {
        "boxes whose scene is missing": 1,
        "boxes that are not four numbers": 3,
        "boxes of a class without a name": 2,
        "boxes with swapped corners": 1,
        "boxes outside their scene": 1,
    }


def test_yolo_names_come_from_a_plain_list_too_and_must_come_from_somewhere(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(DataNotFoundError, match=r"classes\.txt"):
        read_yolo(tmp_path)
    (tmp_path / "labels/classes.txt").write_text("dog\ncat/kitten\n")
    assert objects_in(read_yolo(tmp_path)) == EXPECTED


@pytest.mark.parametrize("content", ["names: [a, [b]]", "names: {x: a}", "names: [", "names: !!python/name:os.system"])
def test_yolo_damaged_and_hostile_yaml_is_refused_by_name(tmp_path: Path, content: str) -> None:
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(content)
    with pytest.raises(DataError, match=r"data\.yaml"):
        read_yolo(tmp_path)


ANNOTATIONS = {"coco": "labels.json", "voc": "Annotations/a.xml", "yolo": "labels/a.txt", "yolo names": "data.yaml"}


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(sorted(ANNOTATIONS)),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6), st.integers(0, 6)), max_size=4),
    end=st.floats(0.3, 1),
)
def test_mutated_files_never_escape_as_anything_but_our_errors(
    tmp_path_factory: pytest.TempPathFactory, name: str, edits: list[tuple[float, bytes, int]], end: float
) -> None:
    root = tmp_path_factory.getbasetemp() / f"mutated {name}"
    write, read, _ = FORMATS[name.split()[0]]
    file = root / ANNOTATIONS[name]
    if not root.exists():
        root.mkdir()
        write(root)
        file.with_suffix(".whole").write_bytes(file.read_bytes())
    content = file.with_suffix(".whole").read_bytes()
    for place, inserted, removed in edits:
        at = int(place * len(content))
        content = content[:at] + inserted + content[at + removed :]
    file.write_bytes(content[: int(end * len(content)) + 1])
    try:
        manifest = read(root, NO_OPTIONS)
    except LinnaeusError as error:
        assert str(root) in str(error)
    else:
        assert manifest.boxes is not None and (manifest.boxes[:, 2:] > manifest.boxes[:, :2]).all()


def test_no_usable_box_is_said_with_its_causes(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    for file in (tmp_path / "images").iterdir():
        file.unlink()
    with pytest.raises(NoImagesError, match="6 boxes whose scene is missing"):
        read_yolo(tmp_path)


@pytest.mark.skipif("LINNAEUS_DATA" not in os.environ, reason="LINNAEUS_DATA names no folder of real images")
def test_blood_smears_come_in_with_all_their_objects_and_splits() -> None:
    bccd = Path(os.environ["LINNAEUS_DATA"]) / "bccd"
    manifest = read_voc(bccd)
    assert recognise_voc(bccd) and manifest.classes == ("Platelets", "RBC", "WBC")
    assert len(manifest) == 4886 and manifest.skipped == {"boxes without area": 2}
    per_split = [len(set(manifest.uris.take(manifest.rows(k)).to_pylist())) for k in (TRAIN, VALIDATION, TEST)]
    assert per_split == [205, 87, 72]
