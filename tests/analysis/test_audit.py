"""The audit finds exactly the trouble that was planted, and changes nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from linnaeus.analysis import audit as audit_module
from linnaeus.analysis.audit import audit
from linnaeus.analysis.audit_types import Audit
from linnaeus.analysis.health import examine
from linnaeus.data.manifest import Manifest, manifest_from_columns
from linnaeus.data.sources import read_source


@pytest.fixture(scope="module")
def result(troubled: Path) -> Audit:
    manifest = read_source(str(troubled))
    return audit(manifest, examine(manifest, threads=2), source="troubled/")


@pytest.fixture(scope="module")
def found(result: Audit) -> dict[str, Any]:
    """As it stands in audit.json."""
    content: dict[str, Any] = json.loads(json.dumps(result.model_dump(mode="json"), allow_nan=False))
    return content


def ids(items: list[dict[str, Any]]) -> list[str]:
    return sorted(item["id"] for item in items)


def manifest_of(folder: Path, paths: list[Path], labels: list[str]) -> Manifest:
    return manifest_from_columns([path.name for path in paths], list(map(str, paths)), labels)


def test_unreadable_files_are_listed_by_kind(found: dict[str, Any]) -> None:
    assert {item["id"]: item["kind"] for item in found["unreadable"]} == {
        "train/cat/empty.jpg": "empty",
        "train/dog/truncated.jpg": "truncated",
        "train/dog/words.png": "unknown",
    }


def test_a_file_of_another_format_than_its_name_is_listed(found: dict[str, Any]) -> None:
    [item] = found["wrong_extension"]
    assert (item["id"], item["extension"], item["found"]) == ("train/cat/png-called.jpg", "JPEG", "PNG")


def test_exactly_the_planted_duplicates_are_found_with_how_they_relate(found: dict[str, Any]) -> None:
    groups = {
        tuple(sorted(member["id"] for member in group["members"])): (
            group["kind"],
            tuple(sorted({member["relation"] for member in group["members"]} - {"first"})),
        )
        for group in found["duplicates"]
    }
    assert groups == {
        ("train/cat/00.png", "train/cat/copy-of-00.png"): ("file", ("file",)),
        ("train/cat/01.png", "train/dog/cat-01-again.png"): ("file", ("file",)),
        ("test/dog/leak-of-02.png", "train/dog/02.png"): ("file", ("file",)),
        ("test/cat/03-small.png", "train/cat/03-as-bmp.bmp", "train/cat/03.png"): ("near", ("near", "pixels")),
        ("train/cat/04-recompressed.jpg", "train/cat/04.png"): ("near", ("near",)),
        ("train/dog/05.png", "validation/dog/05-mirrored.png"): ("near", ("mirrored",)),
    }


def test_leaks_are_counted_per_split_and_named(found: dict[str, Any]) -> None:
    leaks = found["leaks"]
    assert leaks["num_groups"] == 3
    assert leaks["test"] == {"num_images": 2, "fraction": pytest.approx(2 / 22, abs=1e-6)}
    assert leaks["validation"] == {"num_images": 1, "fraction": pytest.approx(1 / 13, abs=1e-6)}
    members = [member for group in found["duplicates"] for member in group["members"]]
    named = {member["id"] for member in members if member["row"] in leaks["test_rows"]}
    assert named == {"test/dog/leak-of-02.png", "test/cat/03-small.png"}


def test_equal_pictures_with_different_labels_are_told(found: dict[str, Any]) -> None:
    [group] = [group for group in found["duplicates"] if group["labels_differ"]]
    assert {member["id"]: member["labels"] for member in group["members"]} == {
        "train/cat/01.png": ["cat"],
        "train/dog/cat-01-again.png": ["dog"],
    }


def test_leaks_come_first_then_labels_that_differ(found: dict[str, Any]) -> None:
    order = [(group["leak"], group["labels_differ"]) for group in found["duplicates"]]
    assert order == sorted(order, reverse=True)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("blank", "train/cat/blank.png"), ("very_dark", "train/dog/dark.png"), ("very_blurred", "train/dog/blurred.png")],
)
def test_images_that_show_nothing_are_found(found: dict[str, Any], kind: str, name: str) -> None:
    assert ids(found[kind]) == [name]


def test_counts_sizes_modes_and_formats_are_those_of_the_folder(found: dict[str, Any]) -> None:
    assert found["counts"]["validation"] == {"cat": 6, "dog": 7}
    assert found["counts"]["test"] == {"cat": 11, "dog": 11}
    assert found["num_images"] == sum(number for row in found["counts"].values() for number in row.values())
    assert found["sizes"]["common"][0] | {"num_images": 0} == {"width": 96, "height": 72, "num_images": 0}
    assert found["sizes"]["num_different"] == 2
    assert found["aspect_ratio"]["median"] == pytest.approx(4 / 3, abs=1e-4)
    assert found["formats"]["BMP"] == 1
    assert found["formats"]["JPEG"] == 2  # the recompressed one, and the truncated one by its first bytes
    assert found["shortcuts"] == []


def test_the_gravest_findings_come_first(found: dict[str, Any]) -> None:
    levels = [finding["level"] for finding in found["findings"]]
    assert levels == sorted(levels, key=["serious", "look", "fine"].index)
    whats = {finding["what"]: finding["sentence"] for finding in found["findings"]}
    assert whats["Leaks into the test set"].startswith("2 test images (9.1%) have copies")
    assert "1 empty" in whats["Unreadable"]
    assert "2 images in 1 group show" in whats["Labels that contradict each other"]


def test_the_audit_comes_back_from_its_file(result: Audit, found: dict[str, Any]) -> None:
    assert Audit.model_validate(found) == result
    assert found["source"] == "troubled/" and found["imbalance"]["largest"].keys() == {"class", "num_images"}


def test_the_folder_is_byte_for_byte_the_same_afterwards(troubled: Path) -> None:
    def state() -> dict[str, tuple[str, int]]:
        return {
            str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in troubled.rglob("*")
            if path.is_file()
        }

    before, manifest = state(), read_source(str(troubled))
    audit(manifest, examine(manifest, threads=1))
    assert state() == before


def test_a_property_that_predicts_the_label_is_a_shortcut(tmp_path: Path, make_picture) -> None:
    paths, labels = [], []
    for k in range(60):
        label = "ab"[k % 2]
        path = tmp_path / f"{k:02}.png"
        image = make_picture(k, (40, 30) if label == "a" and k > 3 else (30, 40))
        image.save(path)
        paths.append(path)
        labels.append(label)
    manifest = manifest_of(tmp_path, paths, labels)
    shortcuts = audit(manifest, examine(manifest, threads=1)).shortcuts
    assert {shortcut.property for shortcut in shortcuts} == {"width", "height", "aspect ratio"}
    assert all(0.85 < shortcut.accuracy < 1 and shortcut.baseline == 0.5 for shortcut in shortcuts)


def test_the_size_of_an_object_is_worth_a_look_and_no_mistake(tmp_path: Path, make_picture) -> None:
    paths = [tmp_path / f"{k:02}.{'png' if k % 2 else 'bmp'}" for k in range(60)]
    for k, path in enumerate(paths):
        make_picture(k, (64, 64)).save(path)
    whole = manifest_of(tmp_path, paths, ["small", "large"] * 30)
    boxes = np.array([[0, 0, 20 + 20 * (k % 2) + k % 3, 20] for k in range(60)], np.int32)
    manifest = dataclasses.replace(whole, boxes=boxes)
    findings = audit(manifest, examine(manifest, threads=1)).findings
    levels = {finding.sentence.split(" alone")[0]: finding.level for finding in findings}
    assert levels["The width"] == "look" and levels["The file format"] == "serious"


def test_a_shortcut_to_one_of_several_labels_names_it(tmp_path: Path, make_picture) -> None:
    targets = np.random.default_rng(5).integers(0, 2, (60, 3)).astype(np.uint8)
    paths = []
    for k, row in enumerate(targets):
        paths.append(tmp_path / f"{k:02}.{'png' if row[1] else 'bmp'}")
        make_picture(k, (24, 24)).save(paths[-1])
    single = manifest_of(tmp_path, paths, ["x"] * 60)
    manifest = dataclasses.replace(single, targets=targets, task="multi", classes=("red", "green", "blue"))
    result = audit(manifest, examine(manifest, threads=1))
    assert {shortcut.label for shortcut in result.shortcuts} == {"green"}
    assert "file format" in {shortcut.property for shortcut in result.shortcuts}
    assert result.cooccurrence == (targets.T.astype(int) @ targets).tolist()


def test_an_image_of_far_more_pixels_than_the_others_is_told(
    tmp_path: Path, make_picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "LARGE_PIXELS", 100_000)
    paths = [tmp_path / f"{k}.png" for k in range(6)]
    for k, path in enumerate(paths):
        make_picture(k, (40, 40) if k else (400, 300)).save(path)
    manifest = manifest_of(tmp_path, paths, list("ababab"))
    result = audit(manifest, examine(manifest, threads=1))
    assert [(item.id, item.width) for item in result.very_large] == [("0.png", 400)]


def test_a_decompression_bomb_is_told_without_being_opened(tmp_path: Path, make_picture) -> None:
    whole = tmp_path / "bomb.png"
    Image.new("1", (8, 8)).save(whole)
    content = bytearray(whole.read_bytes())
    content[16:24] = (40_000).to_bytes(4, "big") * 2  # the header's width and height
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    whole.write_bytes(content)
    make_picture(1).save(tmp_path / "fine.png")
    manifest = manifest_of(tmp_path, [whole, tmp_path / "fine.png"], ["a", "b"])
    result = audit(manifest, examine(manifest, threads=1))
    assert [item.id for item in result.very_large] == ["bomb.png"]
    assert [item.kind for item in result.unreadable] == ["too large"]


def test_boxes_of_one_scene_are_samples_of_their_own(tmp_path: Path, make_picture) -> None:
    scene = tmp_path / "scene.png"
    make_picture(7, (200, 100)).save(scene)
    plain = manifest_from_columns(["a", "b", "c"], [str(scene)] * 3, ["x", "y", "x"])
    boxes = np.array([[0, 0, 90, 90], [100, 0, 190, 90], [0, 0, 90, 90]], np.int32)
    manifest = dataclasses.replace(plain, boxes=boxes)
    health = examine(manifest, threads=1)
    assert health.sizes.tolist() == [[90, 90]] * 3
    [group] = audit(manifest, health).duplicates
    assert sorted(member.id for member in group.members) == ["a", "c"]
