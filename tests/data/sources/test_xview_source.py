"""xView: the layout as it is distributed, with every trouble the real files have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from linnaeus.data.images.decode import read_image
from linnaeus.data.sources.options import SourceOptions
from linnaeus.data.sources.voc import read_voc
from linnaeus.data.sources.xview import XVIEW_CLASSES, read_xview, recognise_xview
from linnaeus.errors import DataError, DataNotFoundError, LinnaeusError, NoImagesError


def feature(image: Any, type_id: Any, bounds: Any) -> dict[str, Any]:
    properties = {"bounds_imcoords": bounds, "image_id": image, "type_id": type_id, "feature_id": 7}
    return {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [[[1, 2]]]}}


FEATURES = [
    feature("100.tif", 18, "1,2,11,12"),
    feature("100.tif", 25, "5,5,20,20"),
    feature("100.tif", 75, "5,5,20,20"),
    feature("100.tif", 18, ""),
    feature("100.tif", 18, "30,10,20,20"),
    feature("1395.tif", 18, "1,2,11,12"),
    feature("102.tif", 18, "-5,-5,500,500"),
    feature("102.tif", 82, "1,2,11,12"),
    feature(None, 18, "1,2,11,12"),
    {"type": "Feature", "properties": None},
    feature("102.tif", 73.0, [3, 4, 13.0, 14]),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write(tmp_path, {"type": "FeatureCollection", "name": "features", "features": FEATURES, "crs": {}})
    (tmp_path / "train_images").mkdir()
    for name, size in (("100.tif", (50, 40)), ("102.tif", (60, 30))):
        Image.new("RGB", size).save(tmp_path / "train_images" / name)
        (tmp_path / "train_images" / f"._{name}").write_bytes(b"\0\5\x16\7Mac OS X")
    return tmp_path


def write(folder: Path, content: Any) -> None:
    (folder / "xView_train.geojson").write_text(json.dumps(content))


def labels_of(folder: Path, **options: Any) -> dict[str, str]:
    manifest = read_xview(folder, SourceOptions(**options))
    return dict(zip(manifest.ids.to_pylist(), [manifest.classes[k] for k in manifest.targets], strict=True))


def test_every_usable_box_is_a_row_and_the_rest_is_counted(data: Path) -> None:
    manifest = read_xview(data)
    assert labels_of(data) == {
        "100.tif#1": "Small Car",
        "100.tif#2": "Truck w/Box",
        "102.tif#1": "Small Car",
        "102.tif#3": "Building",
    }
    assert manifest.boxes is not None
    assert manifest.boxes.tolist() == [[1, 2, 11, 12], [5, 5, 20, 20], [0, 0, 60, 30], [3, 4, 13, 14]]
    assert manifest.uris[0].as_py() == str(data / "train_images/100.tif")
    assert manifest.skipped == {
        "features that name no scene": 2,
        "boxes whose scene is missing": 1,
        "boxes that are not four numbers": 1,
        "boxes of a class without a name": 2,
        "boxes with swapped corners": 1,
    }
    assert "Classes without a name, with their boxes: 75 (1), 82 (1)." in manifest.notes


def test_it_is_recognised_and_read_by_folder_and_by_file(data: Path) -> None:
    assert recognise_xview(data) and recognise_xview(data / "xView_train.geojson")
    assert not recognise_xview(data / "train_images")
    assert labels_of(data / "xView_train.geojson") == labels_of(data)


def test_a_label_file_beside_it_names_the_classes_and_only_those(data: Path) -> None:
    (data / "readme.txt").write_text("note: this is no label file\n")
    (data / "xview_class_labels.txt").write_text("18:Car: small\r\n\n 75 : Lattice Tower \n")
    assert labels_of(data) == {"100.tif#1": "Car: small", "100.tif#3": "Lattice Tower", "102.tif#1": "Car: small"}
    (data / "xview_class_labels.txt").write_text("18:Small Car\n25 Truck\n")
    with pytest.raises(DataError, match=r"xview_class_labels\.txt, line 2: '25 Truck' is not of the form id:name"):
        read_xview(data)


def test_the_names_of_xview_are_its_sixty() -> None:
    assert len(XVIEW_CLASSES) == len(set(XVIEW_CLASSES.values())) == 60
    assert (min(XVIEW_CLASSES), max(XVIEW_CLASSES), XVIEW_CLASSES[60]) == (11, 94, "Dump Truck")
    assert not {75, 82} & set(XVIEW_CLASSES)


def test_scenes_are_taken_from_the_folder_that_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "train_images").rename(tmp_path.parent / f"{tmp_path.name}-elsewhere")
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    with pytest.raises(NoImagesError, match="9 boxes whose scene is missing"):
        read_xview(data)
    assert len(read_xview(data, SourceOptions(image_root=elsewhere))) == 4
    with pytest.raises(DataNotFoundError, match=r"no folder .* of scenes"):
        read_xview(data, SourceOptions(image_root=tmp_path / "nowhere"))


def test_two_geojson_files_are_not_guessed_between(data: Path) -> None:
    (data / "more.geojson").write_text("{}")
    with pytest.raises(DataNotFoundError, match=r"2 \.geojson files \(more\.geojson, xView_train\.geojson\)"):
        read_xview(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "character 0: the file ends here"),
        ("[1, 2]", r"character 0: '\[' where '\{' is expected"),
        ('{"features": [{"type": "Feature"}, {"typ', "character 36: Unterminated string"),
        ('{"features": [{"a": 1} {"a": 2}]}', r"character 23: '\{' where ',' is expected"),
        ('{"features": [' + "[" * 100_000, "damaged at character 14"),
        ('{"features": [' + "9" * 5000 + "]}", "damaged at character 14"),
    ],
)
def test_a_damaged_file_is_an_error_that_says_where(data: Path, text: str, message: str) -> None:
    (data / "xView_train.geojson").write_text(text)
    with pytest.raises(DataError, match=message):
        read_xview(data)


def test_a_binary_file_is_no_geojson(data: Path) -> None:
    (data / "xView_train.geojson").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(DataError, match="must be UTF-8"):
        read_xview(data)


def test_elements_over_the_edges_of_blocks_are_read_whole(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = labels_of(data)
    for block in (1, 2, 7, 64):
        monkeypatch.setattr("linnaeus.data.sources.json_arrays._BLOCK_CHARS", block)
        assert labels_of(data) == expected


@settings(max_examples=150, deadline=None)
@given(
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6), st.integers(0, 6)), max_size=4),
    end=st.floats(0.5, 1),
)
def test_mutated_files_never_escape_as_anything_but_our_errors(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[float, bytes, int]], end: float
) -> None:
    folder = tmp_path_factory.getbasetemp() / "mutated"
    (folder / "train_images").mkdir(parents=True, exist_ok=True)
    if not (folder / "train_images/100.tif").exists():
        Image.new("RGB", (50, 40)).save(folder / "train_images/100.tif")
    content = json.dumps({"type": "FeatureCollection", "features": FEATURES}).encode()
    for place, inserted, removed in edits:
        at = int(place * len(content))
        content = content[:at] + inserted + content[at + removed :]
    (folder / "x.geojson").write_bytes(content[: int(end * len(content)) + 1])
    try:
        manifest = read_xview(folder)
    except LinnaeusError as error:
        assert str(folder) in str(error)
    else:
        assert manifest.boxes is not None and (manifest.boxes[:, 2:] > manifest.boxes[:, :2]).all()


needs_bccd = pytest.mark.skipif(
    "LINNAEUS_DATA" not in os.environ, reason="LINNAEUS_DATA names no folder of real images"
)
TYPE_IDS = {"RBC": 73, "WBC": 18, "Platelets": 15}


@needs_bccd
def test_smears_pasted_into_scenes_give_the_objects_of_the_smears(tmp_path: Path) -> None:
    """Two scenes of nine real smears each; every box holds the pixels that it holds in its smear."""
    bccd = Path(os.environ["LINNAEUS_DATA"]) / "bccd"
    pages = sorted((bccd / "JPEGImages").glob("*.jpg"))[:18]
    (tmp_path / "train_images").mkdir()
    (tmp_path / "class_labels.txt").write_text("".join(f"{v}:{k}\n" for k, v in TYPE_IDS.items()))
    features, expected = [], []
    for number in range(2):
        canvas = Image.new("RGB", (1920, 1440))
        for cell, page in enumerate(pages[9 * number : 9 * number + 9]):
            smear, left, top = Image.open(page).convert("RGB"), 640 * (cell % 3), 480 * (cell // 3)
            canvas.paste(smear, (left, top))
            for item in ElementTree.parse(bccd / "Annotations" / f"{page.stem}.xml").iter("object"):
                name, corners = item.findtext("name", ""), item.find("bndbox")
                assert corners is not None
                x0, y0, x1, y1 = (int(corners.findtext(key, "")) for key in ("xmin", "ymin", "xmax", "ymax"))
                bounds = f"{x0 + left},{y0 + top},{x1 + left},{y1 + top}"
                features.append(feature(f"{number}.tif", TYPE_IDS[name], bounds))
                expected.append((name, np.asarray(smear)[y0:y1, x0:x1]))
        canvas.save(tmp_path / "train_images" / f"{number}.tif")
    write(tmp_path, {"type": "FeatureCollection", "features": features})
    manifest = read_xview(tmp_path)
    assert manifest.boxes is not None and len(manifest) == len(expected) > 200
    scenes = {uri: read_image(uri) for uri in set(manifest.uris.to_pylist())}
    for row, (name, pixels) in enumerate(expected):
        x0, y0, x1, y1 = manifest.boxes[row]
        assert manifest.classes[manifest.targets[row]] == name
        assert np.array_equal(scenes[manifest.uris[row].as_py()][y0:y1, x0:x1], pixels), row


@needs_bccd
@pytest.mark.skipif(
    "LINNAEUS_MAKE_SCENES" not in os.environ,
    reason="LINNAEUS_MAKE_SCENES names no script that pastes bccd into scenes (make_scenes.py BCCD OUT)",
)
def test_the_scenes_made_of_all_smears_hold_the_objects_that_voc_gives(tmp_path: Path) -> None:
    """40 scenes of 3 x 3 smears: each object with class and pixels; beside them only the quirks put in on purpose."""
    bccd = Path(os.environ["LINNAEUS_DATA"]) / "bccd"
    script = os.environ["LINNAEUS_MAKE_SCENES"]
    subprocess.run([sys.executable, script, str(bccd), str(tmp_path)], check=True, capture_output=True)
    scenes, smears = read_xview(tmp_path), read_voc(bccd)
    assert scenes.boxes is not None and smears.boxes is not None and scenes.classes == smears.classes
    pages = sorted((bccd / "JPEGImages").glob("*.jpg"))[: 9 * 40]
    place = {str(page): (f"{k // 9 + 5}.tif", 640 * (k % 9 % 3), 480 * (k % 9 // 3)) for k, page in enumerate(pages)}
    found: dict[tuple[str, int, tuple[int, ...]], list[int]] = {}
    for row, uri in enumerate(scenes.uris.to_pylist()):
        found.setdefault((Path(uri).name, int(scenes.targets[row]), tuple(scenes.boxes[row].tolist())), []).append(row)
    num_equal, open_page, smear = 0, "", np.zeros((0, 0, 3), np.uint8)
    canvases = {uri: read_image(uri) for uri in sorted(set(scenes.uris.to_pylist()))[:8]}
    for row, uri in enumerate(smears.uris.to_pylist()):
        if uri not in place:
            continue
        scene, left, top = place[uri]
        x0, y0, x1, y1 = smears.boxes[row].tolist()
        there = found[scene, int(smears.targets[row]), (x0 + left, y0 + top, x1 + left, y1 + top)].pop()
        canvas = canvases.get(scenes.uris[there].as_py())
        if canvas is not None:
            open_page, smear = (open_page, smear) if uri == open_page else (uri, read_image(uri))
            assert np.array_equal(canvas[y0 + top : y1 + top, x0 + left : x1 + left], smear[y0:y1, x0:x1])
            num_equal += 1
    assert num_equal > 500
    assert sorted(key[2] for key, rows in found.items() if rows) == [(0, 0, 60, 80), (1900, 1400, 1920, 1440)]
    assert scenes.skipped["boxes without area"] == 3  # two of them are in the smears themselves
    assert scenes.skipped["boxes with swapped corners"] == scenes.skipped["boxes whose scene is missing"] == 1
    assert scenes.skipped["boxes of a class without a name"] == 2
