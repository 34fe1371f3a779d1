"""The loader: exactly the rows asked for, in their order, as channels_last uint8, and never an unreadable one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from linnaeus.data.cache.images import CachedImages
from linnaeus.data.loader import ImageStore, _upload, upload_beside
from linnaeus.data.manifest import Manifest, manifest_from_columns

NUM_ROWS, HEIGHT, WIDTH = 23, 4, 6
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")),
]


@pytest.fixture
def cached(tmp_path: Path) -> CachedImages:
    content = np.random.default_rng(0).integers(0, 256, (NUM_ROWS, HEIGHT, WIDTH, 3), dtype=np.uint8)
    content.tofile(tmp_path / "pixels.u8")
    pixels = np.memmap(tmp_path / "pixels.u8", np.uint8, mode="c", shape=content.shape)
    readable = np.ones(NUM_ROWS, bool)
    readable[11] = False
    return CachedImages(tmp_path, pixels, readable, {11: "the file is empty"})


@pytest.fixture
def manifest() -> Manifest:
    names = [str(row) for row in range(NUM_ROWS)]
    return manifest_from_columns(names, names, [f"class {row % 3}" for row in range(NUM_ROWS)])


@pytest.fixture(params=["resident", "streamed"])
def residence(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """On CUDA, both ways; on the processor they are one."""
    monkeypatch.setattr("linnaeus.data.loader.RESIDENT_FRACTION", 0.6 if request.param == "resident" else 0.0)
    monkeypatch.setattr("linnaeus.data.loader._UPLOAD_BYTES", 5 * HEIGHT * WIDTH * 3)
    yield request.param


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.usefixtures("residence")
def test_batches_hold_the_rows_in_the_order_given(cached: CachedImages, manifest: Manifest, device: str) -> None:
    rows = np.array([5, 0, 22, 7, 7, 19, 3, 12, 1, 2], np.int64)
    batches = list(ImageStore(cached, manifest, torch.device(device)).batches(rows, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    for batch, part in zip(batches, np.split(rows, [4, 8]), strict=True):
        assert batch.images.shape == (len(part), 3, HEIGHT, WIDTH) and batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert {tensor.device.type for tensor in (batch.images, batch.targets, batch.rows)} == {device}
        assert batch.rows.dtype == torch.int64 and batch.rows.tolist() == part.tolist()
        assert batch.targets.dtype == torch.int64 and batch.targets.tolist() == (part % 3).tolist()
        assert np.array_equal(batch.images.cpu().numpy(), cached.pixels[part].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.usefixtures("residence")
def test_a_sample_is_the_images_of_its_rows(cached: CachedImages, manifest: Manifest, device: str) -> None:
    rows = np.array([22, 4, 4])
    images = ImageStore(cached, manifest, torch.device(device)).sample(rows)
    assert np.array_equal(images.cpu().numpy(), cached.pixels[rows].transpose(0, 3, 1, 2))
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_pixels_uploaded_in_pieces_are_all_there(cached: CachedImages, manifest: Manifest, residence: str) -> None:
    store = ImageStore(cached, manifest, torch.device("cpu"))
    store._resident = _upload(cached.pixels, torch.device("cpu"))  # what CUDA does, where there is none
    assert np.array_equal(store._resident.numpy(), cached.pixels)
    rows = np.array([22, 0, 22])
    assert np.array_equal(store.sample(rows).numpy(), cached.pixels[rows].transpose(0, 3, 1, 2))


def test_a_resumed_epoch_begins_at_its_batch(cached: CachedImages, manifest: Manifest) -> None:
    store = ImageStore(cached, manifest, torch.device("cpu"))
    rows = np.arange(10)
    whole = [batch.rows.tolist() for batch in store.batches(rows, batch_size=3)]
    assert [batch.rows.tolist() for batch in store.batches(rows, batch_size=3, first_batch=2)] == whole[2:]
    assert list(store.batches(rows, batch_size=3, first_batch=4)) == []


def test_an_unreadable_row_is_never_handed_out(cached: CachedImages, manifest: Manifest) -> None:
    store = ImageStore(cached, manifest, torch.device("cpu"))
    with pytest.raises(AssertionError, match=r"\[11\]"):
        next(store.batches(np.arange(20), batch_size=2))
    with pytest.raises(AssertionError, match=r"\[11\]"):
        store.sample(np.array([11]))


def test_changing_a_batch_changes_neither_the_next_nor_the_cache(cached: CachedImages, manifest: Manifest) -> None:
    store = ImageStore(cached, manifest, torch.device("cpu"))
    before = np.array(cached.pixels)
    store.sample(np.arange(3)).zero_()
    next(store.batches(np.arange(3), batch_size=3)).images.zero_()
    assert np.array_equal(cached.pixels, before)
    assert store.sample(np.arange(3)).sum() > 0


def test_a_cache_of_another_manifest_is_refused(cached: CachedImages, manifest: Manifest) -> None:
    with pytest.raises(AssertionError, match="23 cached images, 5 rows"):
        ImageStore(cached, manifest.take(np.arange(5)), torch.device("cpu"))


def test_targets_read_from_parquet_are_taken_without_a_warning(
    cached: CachedImages, manifest: Manifest, tmp_path: Path
) -> None:
    manifest.save(tmp_path / "manifest.parquet")
    store = ImageStore(cached, Manifest.load(tmp_path / "manifest.parquet"), torch.device("cpu"))
    assert next(store.batches(np.array([4]), batch_size=1)).targets.tolist() == [1]


def test_on_a_gpu_a_batch_is_copied_beside_the_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    """In which order the streams are told what, seen by stand-ins: the copy on its own, then the other waits for it."""
    told: list[str] = []

    class Stream:
        def wait_stream(self, other: object) -> None:
            told.append(f"wait for {other}")

    class Pinned:
        def to(self, device: torch.device, *, non_blocking: bool) -> Pinned:
            told.append(f"copy, waiting {not non_blocking}")
            return self

        def record_stream(self, stream: object) -> None:
            told.append("kept until used")

    @contextmanager
    def on(stream: object) -> Iterator[None]:
        told.append(f"on {stream}")
        yield
        told.append(f"off {stream}")

    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    upload_beside(Pinned(), torch.device("cuda"), "side")  # type: ignore[arg-type]
    assert told == ["on side", "copy, waiting False", "off side", "wait for side", "kept until used"]
