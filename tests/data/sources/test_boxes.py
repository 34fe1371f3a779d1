"""Boxes: what becomes a row, what does not and why, and where the edges of each box end up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaeus.data.manifest import TEST, TRAIN, Manifest
from linnaeus.data.sources.boxes import BoxCollector
from linnaeus.data.sources.options import SourceOptions
from linnaeus.errors import NoImagesError

NAN = float("nan")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    Image.new("RGB", (100, 80)).save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


def boxes_of(scene: Path, *corners: Sequence[float] | None, relative: bool = False, **options: float) -> Manifest:
    collector = BoxCollector(scene.parent, relative=relative)
    for box in corners:
        collector.add(collector.scene("scene", scene), collector.label("thing"), box)
    return collector.to_manifest(SourceOptions(**options))  # type: ignore[arg-type]


def test_each_box_is_a_row_of_its_scene(scene: Path) -> None:
    manifest = boxes_of(scene, (1, 2, 30, 40), (5, 6, 7, 8))
    assert manifest.ids.to_pylist() == ["scene#1", "scene#2"]
    assert manifest.uris.to_pylist() == [str(scene)] * 2
    assert manifest.boxes is not None and manifest.boxes.dtype == np.int32
    assert manifest.boxes.tolist() == [[1, 2, 30, 40], [5, 6, 7, 8]]
    assert manifest.groups is not None and manifest.groups.tolist() == [0, 0]
    assert manifest.skipped == {} and manifest.notes == ()


def test_what_is_wrong_with_boxes_is_counted_by_cause_and_listed(scene: Path) -> None:
    collector = BoxCollector(scene.parent)
    (scene.parent / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no header")
    good, thing = collector.scene("scene", scene), collector.label("thing")
    collector.add(good, thing, (1, 2, 30, 40))
    collector.add(good, thing, (10, 10, 10, 20))
    collector.add(good, thing, (10, 10, 20, 9))
    collector.add(good, collector.unnamed(75), (10, 10, 20, 20))
    collector.add(good, thing, None)
    collector.add(good, thing, (0, 0, NAN, 5))
    collector.add(good, thing, (0, 0, float("inf"), 5))
    collector.add(good, thing, (100, 0, 120, 20))
    collector.add(good, thing, (10, 10, 20.3, 10.4))  # less than half a pixel high
    collector.add(collector.scene("gone", None), thing, (0, 0, 5, 5))
    collector.add(collector.scene("vanished", scene.parent / "vanished.png"), thing, (0, 0, 5, 5))
    collector.add(collector.scene("broken", scene.parent / "broken.png"), thing, (0, 0, 5, 5))
    for _ in range(3):
        collector.add(good, thing, (50, 50, 40, 60))
    manifest = collector.to_manifest(SourceOptions())
    assert manifest.ids.to_pylist() == ["scene#1"]
    assert manifest.skipped == {
        "boxes whose scene is missing": 2,
        "boxes in a scene that cannot be read": 1,
        "boxes that are not four numbers": 3,
        "boxes of a class without a name": 1,
        "boxes with swapped corners": 4,
        "boxes without area": 2,
        "boxes outside their scene": 1,
    }
    assert "Boxes whose scene is missing, left out: 2 (gone#1, vanished#1)." in manifest.notes
    assert "Boxes with swapped corners, left out: 4 (such as scene#3, scene#10, scene#11)." in manifest.notes
    assert "Classes without a name, with their boxes: 75 (1)." in manifest.notes


def test_boxes_that_reach_outside_are_clipped_and_listed(scene: Path) -> None:
    manifest = boxes_of(scene, (-40, -12, 60, 50), (90, 70, 190, 100), (0, 0, 100, 80))
    assert manifest.boxes is not None
    assert manifest.boxes.tolist() == [[0, 0, 60, 50], [90, 70, 100, 80], [0, 0, 100, 80]]
    assert manifest.notes == ("Boxes that reach outside their scene, clipped: 2 (scene#1, scene#2).",)
    assert manifest.skipped == {}


def test_enormous_coordinates_are_clipped_too(scene: Path) -> None:
    manifest = boxes_of(scene, (-1e300, -1e12, 1e300, 1e12), box_padding=5.0)
    assert manifest.boxes is not None and manifest.boxes.tolist() == [[0, 0, 100, 80]]


def test_context_widens_each_side_by_its_fraction_and_stays_inside(scene: Path) -> None:
    manifest = boxes_of(scene, (20, 30, 40, 40), (0, 0, 50, 80), box_padding=0.2)
    assert manifest.boxes is not None
    assert manifest.boxes.tolist() == [[16, 28, 44, 42], [0, 0, 60, 80]]


def test_specks_are_dropped_by_what_is_seen_of_them_before_context(scene: Path) -> None:
    manifest = boxes_of(
        scene, (0, 0, 4, 4), (0, 0, 3, 50), (98, 0, 120, 20), (10, 10, 14, 90), min_box_size_px=4, box_padding=1
    )
    assert manifest.ids.to_pylist() == ["scene#1", "scene#4"]
    assert manifest.skipped == {"boxes with a side under 4 px": 2}


def test_relative_boxes_are_fractions_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, shown standing
    Image.new("RGB", (100, 80)).save(tmp_path / "photo.jpg", exif=exif)
    manifest = boxes_of(tmp_path / "photo.jpg", (0.5, 0.1, 1.0, 0.2), relative=True)
    assert manifest.boxes is not None and manifest.boxes.tolist() == [[40, 10, 80, 20]]


def test_rows_are_grouped_by_scene_and_keep_its_split(scene: Path) -> None:
    collector = BoxCollector(scene.parent)
    Image.new("RGB", (9, 9)).save(scene.parent / "other.png")
    first = collector.scene("b", scene, split=TRAIN)
    second = collector.scene("a", scene.parent / "other.png", split=TEST)
    for number, place in enumerate((first, second, first, second, first)):
        collector.add(place, collector.label("xyz"[number % 3]), (number, 0, 9, 9))
    manifest = collector.to_manifest(SourceOptions())
    assert manifest.ids.to_pylist() == ["b#1", "b#2", "b#3", "a#1", "a#2"]
    assert manifest.splits.tolist() == [TRAIN] * 3 + [TEST] * 2
    assert manifest.groups is not None and manifest.groups.tolist() == [0, 0, 0, 1, 1]
    assert [manifest.classes[k] for k in manifest.targets] == ["x", "z", "y", "y", "x"]
    assert manifest.boxes is not None and manifest.boxes[:, 0].tolist() == [0, 2, 4, 1, 3]


def test_classes_are_those_that_occur_sorted_by_name(scene: Path) -> None:
    collector = BoxCollector(scene.parent)
    for name in ("zebra", "unseen", "ant"):
        label = collector.label(name)
        collector.add(collector.scene("scene", scene), label, None if name == "unseen" else (0, 0, 5, 5))
    manifest = collector.to_manifest(SourceOptions())
    assert manifest.classes == ("ant", "zebra") and manifest.targets.tolist() == [1, 0]


def test_no_usable_box_is_an_error_that_says_why(scene: Path) -> None:
    with pytest.raises(NoImagesError, match=r"2 boxes without area.*scene#1, scene#2"):
        boxes_of(scene, (1, 1, 1, 5), (1, 1, 5, 1))
    with pytest.raises(NoImagesError, match="no boxes at all"):
        BoxCollector(scene.parent).to_manifest(SourceOptions())


def test_half_a_surrogate_pair_is_no_name_of_a_file_and_can_be_printed(scene: Path) -> None:
    collector = BoxCollector(scene.parent)
    collector.add(collector.scene("\ud800.png", scene), collector.label("a"), (0, 0, 5, 5))
    collector.add(collector.scene("scene", scene), collector.label("\udfff"), (0, 0, 5, 5))
    manifest = collector.to_manifest(SourceOptions())
    assert manifest.classes == ("?",) and manifest.skipped == {"boxes whose scene is missing": 1}
    assert "?.png#1" in manifest.notes[0]
