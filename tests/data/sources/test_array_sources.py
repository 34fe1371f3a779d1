"""Arrays: whatever the layout on disk, the same pixels come out, and nothing is loaded, run or clipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linnaeus.data.cache.images import cache_key, open_cache
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.images.arrays import ArrayView, file_of
from linnaeus.data.images.decode import read_image
from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, Manifest, manifest_from_columns
from linnaeus.data.sources import read_source, recognise
from linnaeus.data.sources.arrays import read_arrays
from linnaeus.data.sources.options import SourceOptions
from linnaeus.errors import DataError, LinnaeusError, UnreadableImageError

LABELS = np.array([3, 0, 3, 7, 0, 7])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LINNAEUS_CACHE", str(folder))
    return folder


@pytest.fixture
def photos() -> np.ndarray:
    """uint8 [6, 12, 12, 3]: smooth, as photographs are, and every channel its own."""
    lines, columns, channels = np.ogrid[:12, :12, :3]
    images = [20 * k + 3 * lines + 5 * columns + 40 * channels for k in range(6)]
    return np.stack(images).astype(np.uint8)


def save(folder: Path, images: np.ndarray, labels: np.ndarray = LABELS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "X.npy", images)
    np.save(folder / "y.npy", labels)
    return folder


def pixels(manifest: Manifest) -> np.ndarray:
    return np.stack([read_image(uri) for uri in manifest.uris.to_pylist()])


LAYOUTS = {
    "N, H, W, C": lambda images: images,
    "N, C, H, W": lambda images: images.transpose(0, 3, 1, 2),
    "H, W, C, N": lambda images: images.transpose(1, 2, 3, 0),
    "rows, channels last": lambda images: images.reshape(6, -1),
    "rows, channels first": lambda images: images.transpose(0, 3, 1, 2).reshape(6, -1),
    "columns, channels last": lambda images: images.reshape(6, -1).T,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_layout_gives_the_same_pixels(
    tmp_path: Path, photos: np.ndarray, layout: str, order: Literal["C", "F"]
) -> None:
    data = save(tmp_path / "d", np.array(LAYOUTS[layout](photos), order=order))
    assert recognise(data) == "arrays"
    manifest = read_source(str(data))
    assert np.array_equal(pixels(manifest), photos)
    assert manifest.classes == ("0", "3", "7")
    assert manifest.targets.tolist() == [1, 0, 1, 2, 0, 2]
    assert manifest.ids.to_pylist() == [f"X/{row}" for row in range(6)]
    assert manifest.splits.tolist() == [UNASSIGNED] * 6


@pytest.mark.parametrize("shape", [(6, 12, 12), (6, 144), (6, 12, 12, 1)])
def test_grey_images_are_repeated_into_rgb(tmp_path: Path, photos: np.ndarray, shape: tuple[int, ...]) -> None:
    grey = photos[..., 0]
    manifest = read_arrays(save(tmp_path / "d", grey.reshape(shape)))
    assert np.array_equal(pixels(manifest), np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (lambda images: images.astype(np.float32), "float32 from 0 to 255"),
        (lambda images: images / 255, "float64 from 0 to 1"),
        (lambda images: (images / 127.5 - 1).astype(np.float32), "float32 from -1 to 1"),
        (lambda images: images.astype(">i4"), "from 0 to 255"),
        (lambda images: images.astype(np.uint16) * 257, "uint16 from 0 to 65535"),
    ],
)
def test_every_range_of_values_gives_the_same_pixels_and_is_told(
    tmp_path: Path, photos: np.ndarray, convert, words: str
) -> None:
    manifest = read_arrays(save(tmp_path / "d", convert(photos)))
    assert np.array_equal(pixels(manifest), photos)
    assert words in manifest.notes[0]


def test_a_value_out_of_range_is_an_error_of_that_image_and_never_clipped(tmp_path: Path, photos: np.ndarray) -> None:
    many = np.repeat(photos / 255, 100, axis=0)
    many[1, 3, 3, 0], many[2, 3, 3, 0] = 1.5, np.nan
    manifest = read_arrays(save(tmp_path / "d", many, np.repeat(LABELS, 100)))
    uris = manifest.uris.to_pylist()
    assert np.array_equal(read_image(uris[0]), photos[0])
    with pytest.raises(UnreadableImageError, match=r"X\.npy, image 1: its values go from .* to 1\.5"):
        read_image(uris[1])
    with pytest.raises(UnreadableImageError, match=r"image 2: it holds values that are not finite"):
        read_image(uris[2])


def test_transparency_is_composed_over_white(tmp_path: Path, photos: np.ndarray) -> None:
    layered = np.concatenate([photos, np.zeros((6, 12, 12, 1), np.uint8)], axis=-1)
    layered[1:, ..., 3] = 255
    found = pixels(read_arrays(save(tmp_path / "d", layered)))
    assert (found[0] == 255).all()
    assert np.array_equal(found[1:], photos[1:])


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_members_are_mapped_where_they_lie_or_extracted_into_the_cache(
    tmp_path: Path, photos: np.ndarray, cache: Path, compressed: bool
) -> None:
    names = np.array(["ant", "bee", "cat", "dog", "eel", "fly", "gnu", "hen"])
    write = np.savez_compressed if compressed else np.savez
    path = tmp_path / "d" / "data.npz"
    path.parent.mkdir()
    arrays: dict[str, Any] = {
        "x_train": photos[:4],
        "y_train": LABELS[:4],
        "x_test": photos[4:],
        "y_test": LABELS[4:, None],
    }
    write(path, **arrays, class_names=names)
    before = path.read_bytes()
    manifest = read_source(str(path))
    assert np.array_equal(pixels(manifest), photos)
    assert manifest.classes == ("ant", "dog", "hen")
    assert manifest.splits.tolist() == [TRAIN] * 4 + [TEST] * 2
    assert file_of(manifest.uris[0].as_py()) == str(path)
    assert any(cache.glob("extracted-*/*")) == compressed
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["data.npz"]
    assert read_source(str(path.parent)).fingerprint != ""


def test_unnamed_members_are_told_by_their_shapes(tmp_path: Path, photos: np.ndarray) -> None:
    np.savez(tmp_path / "d.npz", photos, LABELS)
    assert np.array_equal(pixels(read_arrays(tmp_path / "d.npz")), photos)


@pytest.mark.parametrize("pair", [("data_train", "labels_train"), ("xtrain", "ytrain"), ("photos", "classes")])
def test_files_pair_by_their_names(tmp_path: Path, photos: np.ndarray, pair: tuple[str, str]) -> None:
    np.save(tmp_path / f"{pair[0]}.npy", photos)
    np.save(tmp_path / f"{pair[1]}.npy", LABELS)
    manifest = read_source(str(tmp_path / f"{pair[0]}.npy"))
    assert len(manifest) == 6
    assert np.array_equal(pixels(manifest), photos)


def test_two_files_in_a_path_with_strange_characters(tmp_path: Path, photos: np.ndarray) -> None:
    manifest = read_arrays(save(tmp_path / "a #b?c%20&ü", photos))
    assert np.array_equal(pixels(manifest), photos)
    assert file_of(manifest.uris[0].as_py()) == str(tmp_path / "a #b?c%20&ü" / "X.npy")


@pytest.mark.parametrize(
    ("labels", "task", "targets"),
    [
        (np.array(["b", "a", "b", "c", "a", "c"]), "single", [1, 0, 1, 2, 0, 2]),
        (LABELS.astype(float), "single", [1, 0, 1, 2, 0, 2]),
        (np.eye(3)[[1, 0, 1, 2, 0, 2]], "single", [1, 0, 1, 2, 0, 2]),
        (np.array([[1, 1], [0, 1], [0, 0]] * 2), "multi", [[1, 1], [0, 1], [0, 0]] * 2),
    ],
)
def test_labels_are_numbers_names_one_hot_or_several(
    tmp_path: Path, photos: np.ndarray, labels: np.ndarray, task: str, targets: object
) -> None:
    manifest = read_arrays(save(tmp_path / "d", photos, labels))
    assert manifest.task == task
    assert manifest.targets.tolist() == targets


def test_image_shape_settles_what_stays_open(tmp_path: Path) -> None:
    images = np.arange(6 * 24, dtype=np.uint8).reshape(6, 24)
    data = save(tmp_path / "d", images)
    with pytest.raises(DataError, match=r"X\.npy of shape \(6, 24\): which shape .* --image-shape"):
        read_arrays(data)
    manifest = read_arrays(data, SourceOptions(image_shape=(2, 4, 3)))
    assert np.array_equal(pixels(manifest), images.reshape(6, 2, 4, 3))
    first = read_arrays(data, SourceOptions(image_shape=(3, 4, 2)))
    assert np.array_equal(pixels(first), images.reshape(6, 3, 4, 2).transpose(0, 2, 3, 1))
    with pytest.raises(DataError, match="not of the shape"):
        read_arrays(data, SourceOptions(image_shape=(5, 5, 3)))


def test_noise_in_rows_does_not_say_where_its_channels_are(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 300), dtype=np.uint8)
    with pytest.raises(DataError, match=r"first or last\? .*10,10,3 or 3,10,10"):
        read_arrays(save(tmp_path / "d", noise))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((6, 8, 8, 2)), LABELS, "no axis has 1, 3 or 4 channels"),
        (np.zeros((6, 3, 8, 3)), LABELS, "first or last channels"),
        (
            np.zeros((5, 8, 8)),
            LABELS,
            r"X\.npy of shape \(5, 8, 8\) has neither first nor last as many as the 6 labels",
        ),
        (np.full((6, 8, 8), 700.5), LABELS, r"X\.npy .*values from 700\.5 to 700\.5"),
        (np.zeros((6, 8, 8), complex), LABELS, "not numbers"),
        (np.zeros((6, 8, 8)), LABELS + 0.5, r"y\.npy .*row 0: the label 3\.5 is no whole number"),
    ],
)
def test_what_are_no_images_or_labels_is_named(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_arrays(save(tmp_path / "d", images, labels))


def test_python_objects_in_an_array_are_never_opened(tmp_path: Path, photos: np.ndarray) -> None:
    data = save(tmp_path / "d", photos)
    np.save(data / "y.npy", np.array([{"a": 1}] * 6, object), allow_pickle=True)
    with pytest.raises(DataError, match=r"y\.npy.*Python objects"):
        read_arrays(data)


def test_a_truncated_file_is_an_error(tmp_path: Path, photos: np.ndarray) -> None:
    data = save(tmp_path / "d", photos)
    (data / "X.npy").write_bytes((data / "X.npy").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"X\.npy: the file is truncated"):
        read_arrays(data)


def test_a_file_that_is_gone_or_cut_is_an_error_of_each_image(tmp_path: Path, photos: np.ndarray) -> None:
    gone = read_arrays(save(tmp_path / "gone", photos)).uris[0].as_py()
    (tmp_path / "gone" / "X.npy").unlink()
    with pytest.raises(UnreadableImageError, match=r"X\.npy, image 0: the file is missing") as caught:
        read_image(gone)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 4000), put=st.binary(min_size=1, max_size=4), cut=st.integers(0, 8))
@pytest.mark.parametrize("kind", ["images", "labels", "npz", "compressed"])
def test_no_mutated_array_crashes_the_reader(tmp_path: Path, kind: str, place: int, put: bytes, cut: int) -> None:
    images, labels = np.arange(6 * 36, dtype=np.uint8).reshape(6, 6, 6), LABELS
    data = save(tmp_path / "d", images)
    path = data / {"images": "X.npy", "labels": "y.npy"}.get(kind, "z.npz")
    if kind == "npz":
        np.savez(path, x=images, y=labels)
    elif kind == "compressed":
        np.savez_compressed(path, x=images, y=labels)
    content = path.read_bytes()
    place %= len(content)
    path.write_bytes(content[:place] + put + content[place + cut :])
    try:
        manifest = read_arrays(path if path.suffix == ".npz" else data)
        assert len(manifest) <= 300
        for uri in manifest.uris.to_pylist()[:6]:
            assert read_image(uri).dtype == np.uint8
    except LinnaeusError as error:
        assert path.name in str(error) or "X.npy" in str(error)


def test_clearing_the_cache_takes_what_was_extracted_and_it_comes_again(
    tmp_path: Path, photos: np.ndarray, cache: Path
) -> None:
    from linnaeus.data.cache.folder import clear_caches
    from linnaeus.data.images import arrays

    np.savez_compressed(tmp_path / "d.npz", x=photos, y=LABELS)
    manifest = read_arrays(tmp_path / "d.npz")
    assert clear_caches() > 0
    assert not list(cache.glob("extracted-*"))
    arrays._open.cache_clear()
    assert np.array_equal(pixels(manifest), photos)


def test_a_changed_array_has_another_cache(tmp_path: Path, photos: np.ndarray) -> None:
    manifest = read_arrays(save(tmp_path / "d", photos))
    spec = ImageSpec(8, 8, "squash", "bilinear", (0.0,) * 3, (1.0,) * 3)
    before = cache_key(manifest, spec)
    assert cache_key(manifest, spec) == before
    save(tmp_path / "d", 255 - photos)
    assert cache_key(manifest, spec) != before


def test_another_reading_of_an_array_has_another_cache(tmp_path: Path, photos: np.ndarray) -> None:
    """A flattened array is guessed to have its channels last; told otherwise, the pixels are others."""
    np.save(tmp_path / "x.npy", photos.reshape(len(photos), -1))
    np.save(tmp_path / "y.npy", LABELS)
    height, width = photos.shape[1:3]
    spec = ImageSpec(8, 8)
    readings = [
        read_arrays(tmp_path, SourceOptions(image_shape=shape)) for shape in ((height, width, 3), (3, height, width))
    ]
    assert readings[0].ids == readings[1].ids
    for manifest in readings:
        found = open_cache(manifest, spec, folder=tmp_path / "caches")
        for row, uri in enumerate(manifest.uris.to_pylist()):
            assert np.array_equal(found.pixels[row], spec.fit(read_image(uri))), row


def test_every_part_of_a_uri_but_its_folder_is_in_the_key(tmp_path: Path) -> None:
    view = ArrayView(tmp_path / "x.npy", "a/m.npy", 128, 3, "|u1", (4, 4, 3), (48, 12, 3, 1))

    def key(other: ArrayView, *, names: str = "abc") -> str:
        return cache_key(manifest_from_columns(list(names), other.uris(), list("xyx")), ImageSpec(8, 8))

    changes: list[dict[str, Any]] = [
        {"member": "b/m.npy"},
        {"offset": 129},
        {"num_rows": 3, "dtype": "|b1"},
        {"shape": (4, 3, 4)},
        {"strides": (48, 4, 1, 16)},
        {"values": "unit"},
    ]
    keys = {key(replace(view, **change)) for change in changes}
    assert len(keys | {key(view)}) == len(changes) + 1
    assert key(replace(view, path=tmp_path / "moved" / "x.npy")) == key(view)


def test_an_array_that_was_written_anew_is_not_read_from_memory(tmp_path: Path, photos: np.ndarray) -> None:
    manifest = read_arrays(save(tmp_path / "d", photos))
    assert np.array_equal(pixels(manifest), photos)
    np.save(tmp_path / "new.npy", 255 - photos)
    (tmp_path / "new.npy").replace(tmp_path / "d" / "X.npy")
    assert np.array_equal(pixels(manifest), 255 - photos)
