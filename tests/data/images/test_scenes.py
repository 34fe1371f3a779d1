"""Scenes read by the parts needed: the same pixels as decoding the whole, whatever the file is like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from linnaeus.data.images import scenes
from linnaeus.data.images.decode import read_image
from linnaeus.data.images.scenes import read_scene
from linnaeus.errors import UnreadableImageError

PIXELS = np.random.default_rng(5).integers(0, 256, (150, 110, 3), dtype=np.uint8)
BOXES = np.array([[3, 4, 30, 20], [100, 60, 140, 90], [-10, 130, 8, 170], [40, 40, 41, 41], [500, 500, 600, 600]])


def pillow(path: Path, **options: Any) -> None:
    Image.fromarray(PIXELS).save(path, **options)


def tiled(path: Path, **options: Any) -> None:
    tifffile.imwrite(path, PIXELS, photometric="rgb", metadata=None, **options)


PARTLY: dict[str, Callable[[Path], None]] = {
    "uncompressed": pillow,
    "one strip": lambda path: tiled(path),
    "strips": lambda path: tiled(path, rowsperstrip=16),
    "tiles": lambda path: tiled(path, tile=(32, 48)),
    "deflated tiles": lambda path: tiled(path, tile=(16, 32), compression="zlib"),
    "deflated strips": lambda path: tiled(path, rowsperstrip=7, compression="zlib"),
    "big-endian": lambda path: tiled(path, tile=(32, 48), byteorder=">"),
}
WHOLLY: dict[str, Callable[[Path], object]] = {
    "lzw": lambda path: pillow(path, compression="tiff_lzw"),
    "jpeg": lambda path: pillow(path, compression="jpeg"),
    "planes": lambda path: tifffile.imwrite(
        path, PIXELS.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"
    ),
    "grey": lambda path: tifffile.imwrite(path, PIXELS[..., 0]),
    "16-bit": lambda path: tifffile.imwrite(path, PIXELS[..., 0].astype(np.uint16) * 257),
    "alpha": lambda path: tifffile.imwrite(
        path, np.dstack([PIXELS, PIXELS[..., :1]]), photometric="rgb", extrasamples=["unassalpha"]
    ),
    "turned": lambda path: tiled(path, tile=(32, 48), extratags=[(274, "H", 1, 6, True)]),
    "BigTIFF": lambda path: tiled(path, tile=(32, 48), bigtiff=True),
}


def assert_right(path: Path) -> None:
    whole = read_image(str(path))
    part = read_scene(str(path), BOXES.astype(np.int32))
    assert_same_in_boxes(part, whole)


def assert_same_in_boxes(part: np.ndarray, whole: np.ndarray) -> None:
    assert part.shape == whole.shape and part.dtype == np.uint8
    for x0, y0, x1, y1 in np.maximum(BOXES, 0).tolist():
        assert np.array_equal(part[y0:y1, x0:x1], whole[y0:y1, x0:x1]), (x0, y0, x1, y1)


@pytest.mark.parametrize("name", [*PARTLY, *WHOLLY])
def test_boxes_hold_the_pixels_of_the_whole_scene(tmp_path: Path, name: str) -> None:
    (PARTLY | WHOLLY)[name](tmp_path / "scene.tif")
    assert_right(tmp_path / "scene.tif")


@pytest.mark.parametrize("name", PARTLY)
def test_plain_tiffs_are_not_decoded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    PARTLY[name](tmp_path / "scene.tif")
    monkeypatch.setattr(scenes, "read_image", None)
    part = read_scene(str(tmp_path / "scene.tif"), np.array([[3, 4, 30, 14]], np.int32))
    assert np.array_equal(part[4:14, 3:30], PIXELS[4:14, 3:30])
    assert part[-1].max() == 0 or name in ("uncompressed", "one strip")


def test_a_compressed_scene_of_which_most_is_needed_is_decoded_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PARTLY["deflated tiles"](tmp_path / "scene.tif")
    monkeypatch.setattr(scenes, "read_image", lambda uri: "whole")
    everything = np.array([[0, 0, 110, 150]], np.int32)
    assert read_scene(str(tmp_path / "scene.tif"), everything) == "whole"


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_truncated_scene_is_an_error_even_if_the_needed_parts_are_there(tmp_path: Path, compression: str) -> None:
    tiled(tmp_path / "scene.tif", tile=(16, 32), compression=compression)
    content = (tmp_path / "scene.tif").read_bytes()
    (tmp_path / "scene.tif").write_bytes(content[:-3000])
    with pytest.raises(UnreadableImageError, match=r"scene\.tif"):
        read_scene(str(tmp_path / "scene.tif"), BOXES.astype(np.int32))


@pytest.mark.parametrize("name", PARTLY)
def test_flipped_bits_and_truncation_never_give_other_pixels_nor_another_error(tmp_path: Path, name: str) -> None:
    """Either the pixels that decoding the whole gives or its error; deflated parts that are whole may be read while
    others are damaged."""
    PARTLY[name](tmp_path / "whole.tif")
    content = (tmp_path / "whole.tif").read_bytes()
    rng = np.random.default_rng(len(name))
    header = np.r_[0:60, len(content) - 400 : len(content)]  # where the tags are, in one of the two layouts
    path, failed = tmp_path / "scene.tif", 0
    for number in range(100):
        damaged = bytearray(content)
        for place in rng.choice(header if number % 3 else np.arange(len(content)), rng.integers(1, 4)).tolist():
            damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged[: rng.integers(8, len(content))] if number % 5 == 0 else damaged)
        try:
            part = read_scene(str(path), BOXES.astype(np.int32))
        except UnreadableImageError as error:
            assert str(path) in str(error)
            failed += 1
            continue
        try:
            whole = read_image(str(path))
        except UnreadableImageError:
            assert name.startswith("deflated")
            continue
        assert_same_in_boxes(part, whole)
    assert 10 < failed < 100
