"""Headers: the size that decoding gives, without decoding, for every format and orientation."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, features

from linnaeus.analysis.health import examine
from linnaeus.data.appearance import known_columns
from linnaeus.data.images.arrays import ArrayView
from linnaeus.data.images.decode import read_image
from linnaeus.data.images.header import read_header, read_size
from linnaeus.data.manifest import TRAIN, Manifest, manifest_from_columns
from linnaeus.errors import UnreadableImageError
from linnaeus.planning.fingerprint import take_fingerprint

PIXELS = np.random.default_rng(5).integers(0, 256, (30, 20, 3), dtype=np.uint8)


def turned(path: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(path, exif=exif)
    return path


def two_turned(folder: Path) -> Manifest:
    """Two photos 30 px wide and 20 px high, as a camera held upright writes them."""
    uris = [str(turned(folder / f"{name}.jpg", 6)) for name in "ab"]
    return manifest_from_columns(["a", "b"], uris, ["x", "y"], splits=[TRAIN, TRAIN])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif"])
def test_the_size_is_that_of_the_decoded_image(tmp_path: Path, suffix: str, orientation: int) -> None:
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow knows no AVIF")
    path = turned(tmp_path / f"a{suffix}", orientation)
    height, width, _ = read_image(str(path)).shape
    assert read_size(str(path)) == (width, height)
    header = read_header(io.BytesIO(path.read_bytes()))
    assert (header.width, header.height, header.mode) == (width, height, "RGB")


@pytest.mark.parametrize("suffix", [".bmp", ".gif", ".ppm", ".jp2"])
def test_formats_that_know_no_orientation_have_their_size(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(PIXELS).save(tmp_path / f"a{suffix}")
    assert read_size(str(tmp_path / f"a{suffix}")) == (20, 30)


def test_a_turned_tiff_has_its_size_by_whomever_it_was_written(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", metadata=None, extratags=[(274, "H", 1, 6, True)])
    assert read_size(str(tmp_path / "a.tif")) == (30, 20) == read_image(str(tmp_path / "a.tif")).shape[1::-1]


def test_images_without_a_file_have_sizes_too(tmp_path: Path) -> None:
    assert read_size("builtin://digits/3") == (8, 8)
    view = ArrayView(tmp_path / "gone?.npy", "", 0, 2, "|u1", (5, 7, 3), (105, 21, 3, 1))
    assert read_size(view.uris()[1]) == (7, 5), "no pixel is read"


def test_what_is_no_image_is_named_with_the_cause(tmp_path: Path) -> None:
    (tmp_path / "no image.tif").write_bytes(b"II*\0 and nothing else")
    for name, message in (("no image.tif", "its header cannot be read"), ("gone.tif", "the file is missing")):
        with pytest.raises(UnreadableImageError, match=message):
            read_size(str(tmp_path / name))


def test_slices_plan_and_audit_know_photos_as_they_are_shown(tmp_path: Path) -> None:
    manifest = two_turned(tmp_path)
    assert known_columns(manifest, np.arange(2))["width / height"].tolist() == [1.5, 1.5]
    fingerprint = take_fingerprint(manifest)
    assert (fingerprint.width, fingerprint.height) == (30, 20)
    assert examine(manifest, threads=1).sizes.tolist() == [[30, 20]] * 2


def test_unreadable_headers_leave_the_median_alone(tmp_path: Path) -> None:
    manifest = two_turned(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"no image")
    assert take_fingerprint(manifest).width == 30
    gone = dataclasses.replace(manifest, uris=manifest.uris.take([0, 0]))
    assert take_fingerprint(gone).width == 0


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_the_size_of_a_png_needs_no_decoding_unless_it_may_be_turned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orientation: int | None, late: bool
) -> None:
    """EXIF data may stand before the pixels or after them."""
    path = tmp_path / "a.png"
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", (30, 20)).save(path, exif=exif if orientation is not None else None)
    content = path.read_bytes()
    if orientation is not None and late:
        start = content.index(b"eXIf") - 4
        chunk = content[start : start + 12 + int.from_bytes(content[start : start + 4], "big")]
        content = content.replace(chunk, b"")
        end = content.index(b"IEND") - 4
        path.write_bytes(content[:end] + chunk + content[end:])
    height, width, _ = read_image(str(path)).shape
    if orientation is None:
        monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda self: pytest.fail("it was decoded"))
    assert read_size(str(path)) == (width, height)
