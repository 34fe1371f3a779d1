"""Decoding: what a person would see, as uint8 RGB, or an error that names the file and the cause."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from linnaeus.data.images.decode import crop, decode_file, read_image
from linnaeus.data.sources.builtin import read_digits
from linnaeus.errors import UnreadableImageError

WHITE = 255


def scene(height: int = 24, width: int = 40) -> np.ndarray:
    """A smooth colour image without any symmetry, kind to lossy formats."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (height + width)], -1).astype(np.uint8)


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path: Path, format: str, orientation: int) -> None:
    stored = Image.fromarray(scene())
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    path = write(tmp_path, "a.bin", encode(stored, format, exif=exif, lossless=format == "WEBP", **options))
    upright = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }[orientation](scene())
    decoded = decode_file(path)
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).max() <= (6 if format == "JPEG" else 0)
    if format != "TIFF":  # Pillow turns TIFF files while loading already
        with Image.open(path) as image:
            assert np.array_equal(decoded, np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\x00\x00garbage",
        b"Exif\x00\x00II*\x00\xff\xff\xff\xff",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff\x12",
    ],
)
def test_damaged_exif_data_costs_neither_the_image_nor_a_warning(tmp_path: Path, exif: bytes) -> None:
    path = write(tmp_path, "a.jpg", encode(Image.fromarray(scene()), "JPEG", exif=exif))
    assert decode_file(path).shape == (24, 40, 3)


def test_every_mode_of_an_opaque_image_gives_its_rgb(tmp_path: Path) -> None:
    colour = Image.fromarray(scene())
    grey = colour.convert("L")
    palette = colour.quantize(32)
    bilevel = grey.convert("1")
    cases = {
        "RGB": (encode(colour, "PNG"), np.asarray(colour)),
        "L": (encode(grey, "PNG"), np.repeat(np.asarray(grey)[..., None], 3, -1)),
        "P": (encode(palette, "PNG"), np.asarray(palette.convert("RGB"))),
        "1": (encode(bilevel, "PNG"), np.repeat(np.asarray(bilevel)[..., None].astype(np.uint8) * 255, 3, -1)),
        "opaque RGBA": (encode(colour.convert("RGBA"), "PNG"), np.asarray(colour)),
        "opaque LA": (encode(grey.convert("LA"), "PNG"), np.repeat(np.asarray(grey)[..., None], 3, -1)),
        "BMP": (encode(colour, "BMP"), np.asarray(colour)),
        "lossless WebP": (encode(colour, "WEBP", lossless=True), np.asarray(colour)),
    }
    for name, (content, expected) in cases.items():
        decoded = decode_file(write(tmp_path, "image", content))
        assert decoded.dtype == np.uint8 and np.array_equal(decoded, expected), name


def test_transparency_is_composed_over_white(tmp_path: Path) -> None:
    alpha = np.linspace(0, 255, 24 * 40).astype(np.uint8).reshape(24, 40, 1)
    by_hand = np.rint((scene() * alpha.astype(float) + WHITE * (255.0 - alpha)) / 255)
    path = write(tmp_path, "a.png", encode(Image.fromarray(np.concatenate([scene(), alpha], -1)), "PNG"))
    assert np.abs(decode_file(path) - by_hand).max() <= 1

    grey = scene()[..., :1]
    layered = Image.fromarray(np.concatenate([grey, alpha], -1), "LA")
    by_hand = np.repeat(np.rint((grey * alpha.astype(float) + WHITE * (255.0 - alpha)) / 255), 3, -1)
    assert np.abs(decode_file(write(tmp_path, "la.png", encode(layered, "PNG"))) - by_hand).max() <= 1


def test_a_transparent_palette_entry_or_colour_is_white(tmp_path: Path) -> None:
    indexed = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8), "P")
    indexed.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    expected = [[[10, 20, 30], [255, 255, 255]], [[255, 255, 255], [70, 80, 90]]]
    for transparency in (1, b"\xff\x00\xff"):
        path = write(tmp_path, "p.png", encode(indexed, "PNG", transparency=transparency))
        assert decode_file(path).tolist() == expected
    assert decode_file(write(tmp_path, "p.gif", encode(indexed, "GIF", transparency=1))).tolist() == expected
    keyed = indexed.convert("RGB")
    assert decode_file(write(tmp_path, "k.png", encode(keyed, "PNG", transparency=(40, 50, 60)))).tolist() == expected


def test_cmyk_is_ink_on_white_in_plain_and_in_adobe_files(tmp_path: Path) -> None:
    inks = np.zeros((16, 64, 4), np.uint8)
    for column, ink in enumerate([(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)]):
        inks[:, column * 16 : column * 16 + 16] = ink
    colours = [(255, 255, 255), (0, 255, 255), (255, 0, 0), (0, 0, 0)]
    image = Image.fromarray(inks, "CMYK")
    jpeg = encode(image, "JPEG", quality=100)
    assert b"Adobe" in jpeg[:200]  # Pillow writes the inverted kind
    for content in (encode(image, "TIFF"), jpeg):
        decoded = decode_file(write(tmp_path, "cmyk", content))
        for column, colour in enumerate(colours):
            assert np.abs(decoded[8, column * 16 + 8].astype(int) - colour).max() <= 3


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, format: str) -> None:
    values = np.array([[0, 128, 129, 257], [32768, 40000, 65406, 65535]], np.uint16)
    by_hand = [[0, 0, 1, 1], [128, 156, 254, 255]]
    decoded = decode_file(write(tmp_path, "grey", encode(Image.fromarray(values), format)))
    assert decoded.shape == (2, 4, 3) and (decoded[..., 0].tolist() == by_hand)
    assert np.array_equal(decoded[..., 0], decoded[..., 2])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 3, 255]], np.int32), [0, 3, 255]),
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255]),
        (np.array([[-100, 0, 100]], np.int32), [0, 128, 255]),
        (np.array([[0, 50_000, 100_000]], np.int32), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 3, 254.6]], np.float32), [0, 3, 255]),
        (np.array([[-2, 0, 2]], np.float32), [0, 128, 255]),
        (np.array([[300, 300, 300]], np.float32), [0, 0, 0]),
    ],
)
def test_32_bit_grey_follows_its_range(tmp_path: Path, values: np.ndarray, expected: list[int]) -> None:
    decoded = decode_file(write(tmp_path, "a.tif", encode(Image.fromarray(values), "TIFF")))
    assert decoded[0, :, 1].tolist() == expected


def test_values_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tif", encode(Image.fromarray(np.array([[1, np.nan]], np.float32)), "TIFF"))
    with pytest.raises(UnreadableImageError, match="not finite"):
        decode_file(path)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_the_first_frame_of_an_animation_counts(tmp_path: Path, format: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green")]
    options: dict[str, Any] = {"lossless": True} if format == "WEBP" else {}
    content = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    decoded = decode_file(write(tmp_path, "a", content))
    assert decoded.shape == (16, 16, 3)
    assert np.abs(decoded.astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "QOI"])
def test_a_truncated_file_is_an_error_wherever_it_ends(tmp_path: Path, format: str) -> None:
    if format not in Image.registered_extensions().values():
        pytest.skip(f"this Pillow does not read {format}")
    content = encode(Image.fromarray(scene()), format)
    whole = decode_file(write(tmp_path, "whole", content))
    step = max(1, len(content) // 150)
    refused = 0
    for length in (*range(0, len(content), step), len(content) - 1):
        path = write(tmp_path, "part", content[:length])
        try:
            assert np.array_equal(decode_file(path), whole), f"filled up at {length} of {len(content)} bytes"
        except UnreadableImageError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 100


def test_a_jpeg2000_stream_that_ends_between_tiles_is_truncated(tmp_path: Path) -> None:
    content = encode(Image.fromarray(scene()), "JPEG2000")
    first_tile = content.index(b"\xff\x90")
    for length in range(first_tile - 2, first_tile + 20):
        with pytest.raises(UnreadableImageError):
            decode_file(write(tmp_path, "a.jp2", content[:length]))


def test_another_librarys_leniency_with_truncated_files_is_neither_used_nor_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    content = encode(Image.fromarray(scene()), "JPEG")
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode_file(write(tmp_path, "a.jpg", content[:-100]))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    limit = Image.MAX_IMAGE_PIXELS
    decode_file(write(tmp_path, "b.jpg", content))
    assert limit == Image.MAX_IMAGE_PIXELS


def test_threads_share_the_rules_and_the_last_one_lifts_them(tmp_path: Path) -> None:
    good = write(tmp_path, "a.png", encode(Image.fromarray(scene()), "PNG"))
    large = write(
        tmp_path, "large.png", png_claiming(14_000, 14_000)
    )  # Pillow would warn, and warnings are errors here
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))

    def outcome(k: int) -> str:
        try:
            return str(decode_file((good, large)[k % 2]).shape)
        except UnreadableImageError as error:
            return str(error).rpartition(": ")[2]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(outcome, range(40))) == ["(24, 40, 3)", "the file is truncated"] * 20
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_more_than_300_megapixels_are_refused_before_decoding(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="too large: more than 300 megapixels"):
        decode_file(write(tmp_path, "bomb.png", png_claiming(20_000, 15_001)))
    # 196 megapixels are beyond Pillow's own warning; that must not come through, only that the pixels are missing.
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode_file(write(tmp_path, "large.png", png_claiming(14_000, 14_000)))


def test_an_image_without_pixels_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError):
        decode_file(write(tmp_path, "a.png", png_claiming(0, 5)))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "the file is empty"),
        (b"just words", "not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a known format"),
        (b"\x89PNG\r\n\x1a\n", "damaged or truncated"),
    ],
)
def test_what_is_no_image_is_said_in_plain_words(tmp_path: Path, content: bytes, cause: str) -> None:
    path = write(tmp_path, "Bild mit Ümläut.jpg", content)
    with pytest.raises(UnreadableImageError) as caught:
        decode_file(path)
    assert str(caught.value).startswith(f"{path}: ") and cause in str(caught.value)


def test_a_missing_file_and_a_folder_are_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="the file is missing"):
        decode_file(tmp_path / "none.jpg")
    with pytest.raises(UnreadableImageError, match="it is a folder"):
        decode_file(tmp_path)


def test_a_box_is_cut_out_of_the_upright_image_and_clipped_to_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = write(tmp_path, "a.png", encode(Image.fromarray(scene()), "PNG", exif=exif))
    upright = np.rot90(scene(), -1)
    assert np.array_equal(read_image(str(path), (3, 5, 11, 30)), upright[5:30, 3:11])
    assert np.array_equal(read_image(str(path), (-4, -4, 9, 400)), upright[:, :9])
    for outside in ((50, 0, 60, 10), (5, 5, 5, 9), (-9, 0, -1, 5), (9, 9, 3, 3)):
        with pytest.raises(UnreadableImageError, match=r"a\.png: the box .* is outside"):
            read_image(str(path), outside)


def test_cropping_does_not_copy() -> None:
    pixels = scene()
    assert crop(pixels, (1, 2, 5, 6), "a").base is pixels


def test_a_builtin_digit_is_its_16_levels_as_rgb() -> None:
    from sklearn.datasets import load_digits

    uris = read_digits().uris.to_pylist()
    original = load_digits().images
    for row in (0, 777, 1796):
        pixels = read_image(uris[row])
        assert pixels.shape == (8, 8, 3) and pixels.dtype == np.uint8
        assert np.array_equal(pixels[..., 1], np.round(original[row] * 255 / 16))


SEEDS = [
    encode(Image.fromarray(scene()), "JPEG"),
    encode(Image.fromarray(scene()), "JPEG", progressive=True, exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00"),
    encode(Image.fromarray(scene()).quantize(16), "PNG", transparency=3),
    encode(Image.fromarray(scene()).convert("RGBA"), "PNG"),
    encode(Image.fromarray(scene()), "WEBP"),
    encode(Image.fromarray(scene()), "WEBP", lossless=True),
    encode(Image.fromarray(scene()).quantize(16), "GIF"),
    encode(Image.fromarray(scene()), "BMP"),
]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, len(SEEDS) - 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=8),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damaged_bytes_give_an_array_or_our_error_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, seed: int, flips: list[tuple[float, int]], keep: float
) -> None:
    content = bytearray(SEEDS[seed])
    for where, change in flips:
        content[int(where * len(content))] ^= change
    path = write(tmp_path_factory.getbasetemp(), "fuzzed", bytes(content[: int(keep * len(content))]))
    try:
        decoded = decode_file(path)
    except UnreadableImageError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert decoded.dtype == np.uint8 and decoded.ndim == 3 and decoded.shape[2] == 3 and decoded.size > 0
