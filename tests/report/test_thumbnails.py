"""Thumbnails of objects: the pixels of their boxes, without a decoding of the whole scene for each."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaeus.data.images import decode
from linnaeus.data.manifest import Manifest, manifest_from_columns
from linnaeus.report import thumbnails


def objects(path: Path) -> Manifest:
    """Three objects in one scene of noise."""
    scene = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(scene).save(path)
    manifest = manifest_from_columns(["a#1", "a#2", "a#3"], [str(path)] * 3, ["x", "y", "x"])
    boxes = np.array([[0, 0, 20, 10], [30, 20, 50, 60], [70, 50, 80, 60]], np.int32)
    return dataclasses.replace(manifest, boxes=boxes)


@pytest.mark.parametrize(("name", "decoded"), [("scene.png", 1), ("scene.tif", 0)])
def test_a_scene_is_decoded_once_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, decoded: int
) -> None:
    manifest, calls = objects(tmp_path / name), []

    def counted(uri: str) -> np.ndarray:
        calls.append(uri)
        return decode.read_image(uri)

    monkeypatch.setattr(thumbnails, "read_image", counted)
    monkeypatch.setattr("linnaeus.data.images.scenes.read_image", counted)
    thumbnail = thumbnails.thumbnail_of(manifest)
    assert manifest.boxes is not None
    for row, box in enumerate(manifest.boxes.tolist()):
        with Image.open(io.BytesIO(thumbnail(row))) as image:
            expected = decode.read_image(str(tmp_path / name), box)
            assert np.array_equal(np.asarray(image.convert("RGB")), expected)
    assert len(calls) == decoded
