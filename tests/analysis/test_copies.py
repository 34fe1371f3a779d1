"""The quick part of the audit: our splits keep copies together, and leaks of a brought split are scored apart."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaeus.analysis.copies import describe_copies, find_copies
from linnaeus.cli.main import main
from linnaeus.data.cache.images import CachedImages
from linnaeus.data.copies import Copies
from linnaeus.data.intake import describe
from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, VALIDATION, manifest_from_columns
from linnaeus.run.finished import Run

QUICK = ["--epochs", "1", "--image-size", "32", "--set", "runtime.threads=1", "--set", "model.options.widths=[8, 8, 8]"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def cached(pixels: np.ndarray, unreadable: tuple[int, ...] = ()) -> CachedImages:
    readable = np.ones(len(pixels), np.bool_)
    readable[list(unreadable)] = False
    return CachedImages(Path("nowhere"), pixels, readable, {})


def pictures(make_picture, number: int) -> np.ndarray:
    return np.stack([np.asarray(make_picture(seed, (32, 32))) for seed in range(number)])


@pytest.mark.parametrize(("source_px", "expected"), [(100, [[0, 5], [2, 6]]), (20, [[0, 5]])])
def test_equal_images_are_copies_and_near_ones_where_there_are_pixels_enough(
    make_picture, source_px: int, expected: list[list[int]]
) -> None:
    pixels = pictures(make_picture, 8)
    pixels[5] = pixels[0]
    pixels[6] = pixels[2][:, ::-1]
    pixels[7] = pixels[3]
    copies = find_copies(cached(pixels, unreadable=(7,)), source_px=source_px)
    assert [group.tolist() for group in copies.groups] == expected


def test_groups_of_the_data_are_joined_where_copies_connect_them() -> None:
    copies = Copies([np.array([1, 4])], 6)
    assert copies.groups_with(None).tolist() == [0, 1, 2, 3, 1, 5]
    own = np.array([7, 7, 3, 3, 9, 11])
    joined = copies.groups_with(own)
    assert joined[0] == joined[1] == joined[4]
    assert len({joined[0], joined[2], joined[5]}) == 3
    assert joined[2] == joined[3]


def test_a_leak_and_contradicting_labels_are_said_in_few_lines() -> None:
    manifest = manifest_from_columns(
        [f"{k}.png" for k in range(6)],
        [f"builtin://none/{k}" for k in range(6)],
        list("aababb"),
        splits=[TRAIN, TRAIN, VALIDATION, TEST, TEST, UNASSIGNED],
    )
    copies = Copies([np.array([0, 3]), np.array([1, 2]), np.array([4, 5])], 6)
    assert copies.leaked(manifest).tolist() == [3]
    lines = describe_copies(copies, manifest)
    assert lines[0].startswith("Leak: 1 test image (50.0%) has a copy")
    assert lines[1].startswith("Copies: 4 images in 2 groups")
    assert "1.png (a) and 2.png (b)" in lines[2]
    lines = describe_copies(Copies([np.array([1, 2])], 6), manifest)
    assert lines[0].startswith("Copies: 2 images in 1 group; ")
    assert lines[1].startswith("Labels: 1 group of copies contradicts itself, such as 1.png (a) and 2.png (b)")
    assert len(lines) <= 10
    assert describe_copies(Copies([], 6), manifest) == []


def test_of_many_notes_a_few_are_printed_and_the_rest_is_pointed_to() -> None:
    skipped = {"boxes without area": 2, "hidden": 1}
    manifest = manifest_from_columns(list("ab"), list("ab"), list("xy"), skipped=skipped)
    notes = ("Boxes without area, left out: 2 (a#1, a#2).", *(f"note {k}" for k in range(5)))
    lines = describe(dataclasses.replace(manifest, notes=notes), width=3, height=4)
    assert lines[2:] == ["Skipped: 1 hidden", *notes[:3], "3 more: linnaeus inspect"]


def test_a_split_of_ours_keeps_copies_together(tmp_path: Path, make_picture) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for k in range(14):
            image = make_picture(k + 100 * (label == "dog"), (64, 48))
            image.save(tmp_path / "photos" / label / f"{k:02}.png")
            if k < 10:
                copy = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if k % 2 else image
                copy.save(tmp_path / "photos" / label / f"{k:02}-copy.jpg", quality=80)
    assert main(["train", str(tmp_path / "photos"), "--out", "run", *QUICK]) == 0
    manifest = Run(Path("run")).manifest
    split_of = dict(zip(manifest.ids.to_pylist(), manifest.splits.tolist(), strict=True))
    for name, split in split_of.items():
        if "-copy" in name:
            assert split_of[name.replace("-copy.jpg", ".png")] == split, name
    assert {TRAIN, VALIDATION, TEST} == set(split_of.values())
    assert Run(Path("run")).evaluation.test_without_duplicates is None


def test_copies_that_cannot_be_kept_together_are_said(
    tmp_path: Path, make_picture, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for k in range(12):
            image = make_picture(0 if label == "cat" else k + 1, (64, 48))
            image.save(tmp_path / "photos" / label / f"{k:02}.png")
    assert main(["train", str(tmp_path / "photos"), "--out", "run", *QUICK]) == 0
    assert "Copies stand in several splits, because they cannot be kept together" in capsys.readouterr().out


def test_leaks_of_a_brought_split_are_told_and_scored_apart(
    tmp_path: Path, make_picture, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, number in (("train", 12), ("test", 6)):
        for label in ("cat", "dog"):
            (tmp_path / "photos" / split / label).mkdir(parents=True)
            for k in range(number):
                seed = k + 100 * (label == "dog") + 1000 * (split == "test" and k > 1)
                make_picture(seed, (40, 40)).save(tmp_path / "photos" / split / label / f"{k:02}.png")
    assert main(["train", str(tmp_path / "photos"), "--out", "run", *QUICK]) == 0
    assert "Leak: 4 test images (33.3%) have a copy" in capsys.readouterr().out
    evaluation = Run(Path("run")).evaluation
    assert evaluation.test is not None and evaluation.test_without_duplicates is not None
    assert (evaluation.test.num_images, evaluation.test_without_duplicates.num_images) == (12, 8)
    assert evaluation.test_without_duplicates.model_fields_set == evaluation.test.model_fields_set
    settled = json.loads(Path("run/settled.json").read_text(encoding="utf-8"))
    assert sorted(settled["leaked_test_ids"]) == sorted(
        f"test/{label}/{k:02}.png" for label in ("cat", "dog") for k in range(2)
    )


def test_rows_without_a_split_are_no_leak() -> None:
    manifest = manifest_from_columns(["a", "b"], ["builtin://x/0", "builtin://x/1"], ["a", "b"])
    alone = dataclasses.replace(manifest, splits=np.array([TEST, UNASSIGNED], np.int8))
    assert Copies([np.array([0, 1])], 2).leaked(alone).tolist() == []
