"""What is known of images beside their labels: by hand, for whole images and for boxes in scenes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from linnaeus.data.appearance import known_columns
from linnaeus.data.manifest import Manifest
from linnaeus.data.sources import read_source


def boxes_in_scenes(folder: Path) -> Manifest:
    """Two scenes of 40 by 20 and 10 by 10 pixels with three boxes in a table that also names a camera and a height."""
    Image.new("RGB", (40, 20)).save(folder / "a.png")
    Image.new("RGB", (10, 10)).save(folder / "b.png")
    (folder / "boxes.csv").write_text(
        "image,xmin,ymin,xmax,ymax,label,camera,height\n"
        "b.png,0,0,5,5,cat,old,3\n"
        "a.png,0,0,20,10,dog,new,\n"
        "b.png,5,5,5,9,dog,new,7\n"
        "b.png,0,2,10,7,cat,new,8.5\n"
    )
    return read_source(str(folder))


def test_columns_of_a_table_of_boxes_stay_with_their_boxes(tmp_path: Path) -> None:
    manifest = boxes_in_scenes(tmp_path)
    assert len(manifest) == 3, "a box without area is no box"
    known = known_columns(manifest, np.arange(3))
    assert manifest.boxes is not None
    told = {
        manifest.ids[k].as_py(): (known["camera"][k], known["height"][k], tuple(manifest.boxes[k].tolist()))
        for k in range(3)
    }
    assert told["b.png#1"] == ("old", 3.0, (0, 0, 5, 5)) and told["b.png#3"] == ("new", 8.5, (0, 2, 10, 7))
    camera, height, box = told["a.png#1"]
    assert camera == "new" and np.isnan(height) and box == (0, 0, 20, 10)
    saved = tmp_path / "manifest.parquet"
    manifest.save(saved)
    again = known_columns(Manifest.load(saved), np.arange(3))
    assert again.keys() == known.keys() and list(again["camera"]) == list(known["camera"])


def test_boxes_are_known_by_size_shape_fraction_and_scene(tmp_path: Path) -> None:
    manifest = boxes_in_scenes(tmp_path)
    rows = np.array([[i.as_py() for i in manifest.ids].index(name) for name in ("a.png#1", "b.png#1", "b.png#3")])
    known = known_columns(manifest, rows)
    np.testing.assert_allclose(known["size (px)"], np.sqrt([200, 25, 50]))
    np.testing.assert_allclose(known["width / height"], [2, 1, 2])
    np.testing.assert_allclose(known["fraction of the scene (%)"], [25, 25, 50])
    assert list(known["scene"]) == ["a.png", "b.png", "b.png"] and "group" not in known
    one_group = dataclasses.replace(manifest, groups=np.zeros(3, np.int64))
    assert list(known_columns(one_group, rows)["group"]) == ["0"] * 3
    (tmp_path / "a.png").unlink()
    fraction = known_columns(manifest, rows)["fraction of the scene (%)"]
    assert np.isnan(fraction[0]) and fraction[2] == 50


@pytest.mark.parametrize("groups", [None, np.array([4, 4])])
def test_whole_images_are_known_by_their_headers_and_groups(tmp_path: Path, groups: np.ndarray | None) -> None:
    Image.new("L", (30, 10)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    manifest = Manifest(
        ids=pa.array(["a", "b"], pa.large_string()),
        uris=pa.array([str(tmp_path / "a.png"), str(tmp_path / "b.png")], pa.large_string()),
        targets=np.array([0, 1]),
        splits=np.zeros(2, np.int8),
        classes=("x", "y"),
        groups=groups,
    )
    known = known_columns(manifest, np.arange(2))
    assert known["width / height"][0] == 3 and np.isnan(known["width / height"][1])
    assert ("group" in known) == (groups is not None) and "scene" not in known
