"""Features once: the numbers of the network, kept on disk, resumed, recomputed when anything changes."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from linnaeus.config.settings import AugmentConfig
from linnaeus.data.cache.folder import cache_folder, clear_caches, list_caches
from linnaeus.data.cache.images import open_cache
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.loader import FeatureStore, ImageStore
from linnaeus.data.manifest import manifest_from_columns
from linnaeus.data.sources import read_source
from linnaeus.errors import Interrupted, OutputError, TrainingError
from linnaeus.models import build_classifier
from linnaeus.models.classifier import Classifier
from linnaeus.progress import SILENT
from linnaeus.training import features as features_module
from linnaeus.training.features import KeptFeatures, extract_features

SPEC = ImageSpec(16, 16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
DATA = os.environ.get("LINNAEUS_DATA")
ROWS, OTHERS = np.arange(0, 40), np.arange(40, 50)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageStore:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    manifest = read_source("digits").take(np.arange(60))
    return ImageStore(open_cache(manifest, SPEC), manifest, torch.device("cpu"))


def network(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return build_classifier("mish_cnn", num_classes=10, image_size=16, options={})


def extract(classifier: Classifier, store: ImageStore, **settings: Any) -> np.ndarray:
    return keep(classifier, store, **settings).values


def keep(classifier: Classifier, store: ImageStore, **settings: Any) -> KeptFeatures:
    settings = {"spec": SPEC, "batch_size": 16, "autocast": nullcontext, **settings}
    return extract_features(classifier, store, train_rows=ROWS, other_rows=OTHERS, **settings)


def bfloat16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def kept_bytes() -> int:
    return sum(entry.num_bytes for entry in list_caches() if entry.kind == "features")


def count_calls(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []
    original = classifier.features

    def counted(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return original(images)

    monkeypatch.setattr(classifier, "features", counted)
    return sizes


def test_features_are_those_of_the_network_in_evaluation_mode(store: ImageStore) -> None:
    classifier = network().train()
    found = extract(classifier, store)
    assert classifier.training
    classifier.eval()
    with torch.no_grad():
        wanted = classifier.features(SPEC.normalize(store.sample(np.arange(50)))).numpy()
    assert found.shape == (1, 60, wanted.shape[1])
    assert np.abs(found[0, :50].astype(np.float32) - wanted).max() < 1e-2
    assert not found[0, 50:].any()


def test_a_second_time_nothing_is_computed(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = np.array(extract(network(), store))
    again = network()
    sizes = count_calls(again, monkeypatch)
    assert np.array_equal(first, extract(again, store))
    assert sizes == []


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is a second further on whenever it is asked."""
    seconds = itertools.count(100.0)
    monkeypatch.setattr(features_module, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))


@pytest.mark.usefixtures("ticks")
def test_the_seconds_that_they_took_are_known_to_who_reopens_them(store: ImageStore) -> None:
    first = keep(network(), store)
    assert first.earlier_seconds == 0
    again, third = keep(network(), store), keep(network(), store)
    assert again.key == first.key
    assert again.earlier_seconds == third.earlier_seconds == 4, "the clock was asked after each of four batches"


@pytest.mark.parametrize("change", ["weights", "spec", "views", "precision"])
def test_anything_that_shapes_them_makes_others(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    extract(network(), store)
    classifier = network(seed=1 if change == "weights" else 0)
    sizes = count_calls(classifier, monkeypatch)
    if change == "spec":
        extract(classifier, store, spec=ImageSpec(16, 16))
    elif change == "views":
        extract(classifier, store, views=2, augment=AugmentConfig(noise=0.1))
    elif change == "precision":
        extract(classifier, store, autocast=bfloat16)
    else:
        extract(classifier, store)
    assert sum(sizes) == (90 if change == "views" else 50)


def test_every_kind_of_device_has_features_of_its_own(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = keep(network(), store)
    answer = np.zeros((1, network().num_features), np.float16)
    monkeypatch.setattr(features_module, "_features", lambda classifier, rows, **_: answer.repeat(len(rows), axis=0))
    store.device = torch.device("cuda")  # nothing is computed there
    assert keep(network(), store).key != first.key


@pytest.mark.usefixtures("ticks")
def test_an_interrupted_extraction_goes_on_where_it_was(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.array(extract(network(), store))
    clear_caches()
    monkeypatch.setattr(features_module, "_BLOCK_SECONDS", 0.0)
    broken = network()
    original = broken.features
    calls = 0

    def failing(images: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return original(images)

    monkeypatch.setattr(broken, "features", failing)
    with pytest.raises(KeyboardInterrupt):
        extract(broken, store)
    resumed = network()
    sizes = count_calls(resumed, monkeypatch)
    found = keep(resumed, store)
    assert np.array_equal(found.values, whole)
    assert sum(sizes) == 50 - 2 * 16
    assert 0 < found.earlier_seconds < keep(resumed, store).earlier_seconds


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB."),
    ],
    ids=["processor", "cuda", "cudnn", "torch"],
)
def test_too_little_memory_halves_the_batch_and_says_so(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    whole = np.array(extract(network(), store, batch_size=4))
    clear_caches()
    classifier = network()
    original = classifier.features

    def tight(images: torch.Tensor) -> torch.Tensor:
        if len(images) > 4:
            raise error
        return original(images)

    monkeypatch.setattr(classifier, "features", tight)
    said: list[str] = []
    monkeypatch.setattr(type(SILENT), "say", lambda self, text: said.append(text))
    assert np.array_equal(extract(classifier, store, progress=SILENT), whole)
    assert [line for line in said if "Not enough memory" in line] == [
        "Not enough memory for 16 images at once; going on with 8.",
        "Not enough memory for 8 images at once; going on with 4.",
    ]


def test_no_memory_for_a_single_image_is_an_error(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = network()

    def full(images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(classifier, "features", full)
    with pytest.raises(TrainingError, match=r"single image.*--image-size"):
        extract(classifier, store)


def test_a_request_to_stop_is_heard_within_a_batch(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.array(extract(network(), store))
    clear_caches()
    classifier = network()
    sizes = count_calls(classifier, monkeypatch)
    with pytest.raises(Interrupted, match="are saved"):
        extract(classifier, store, stop_requested=lambda: len(sizes) == 2)
    assert sum(sizes) == 2 * 16
    assert np.array_equal(extract(classifier, store), whole)
    assert sum(sizes) == 50


def test_a_second_process_waits_and_takes_the_result(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.array(extract(network(), store))
    clear_caches()
    first, second = network(), network()
    sizes = count_calls(second, monkeypatch)
    found: list[np.ndarray] = []
    said: list[str] = []
    waiting = threading.Event()
    monkeypatch.setattr(type(SILENT), "say", lambda self, text: (said.append(text), waiting.set()))
    other = threading.Thread(target=lambda: found.append(np.array(extract(second, store))))
    original, calls = first.features, 0

    def features(images: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 2:  # in the midst of the work
            other.start()
            assert waiting.wait(timeout=30)
        return original(images)

    monkeypatch.setattr(first, "features", features)
    assert np.array_equal(extract(first, store), whole)
    other.join(timeout=30)
    assert np.array_equal(found[0], whole)
    assert sizes == []
    assert "Another process is computing these features; waiting for it." in said


def test_a_full_disk_is_noticed_before_anything_is_computed(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = network()
    sizes = count_calls(classifier, monkeypatch)

    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    usage = shutil.disk_usage("/")._replace(free=10)
    for module, name, value in ((os, "posix_fallocate", full), (shutil, "disk_usage", lambda path: usage)):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value, raising=False)
            with pytest.raises(OutputError, match=r"The disk is full: the features need .* LINNAEUS_CACHE"):
                extract(classifier, store)
    assert sizes == []
    assert kept_bytes() == 0


def test_features_are_cleared_with_the_other_caches(store: ImageStore) -> None:
    extract(network(), store)
    size = kept_bytes()
    assert size > 50 * 2 * network().num_features
    assert clear_caches() >= size
    assert kept_bytes() == 0
    assert not list(cache_folder().glob("features-*"))


def test_other_errors_are_not_taken_for_a_lack_of_memory(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = network()

    def broken(images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(classifier, "features", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        extract(classifier, store)


def test_views_differ_and_the_first_is_the_image_itself(store: ImageStore) -> None:
    plain = np.array(extract(network(), store))
    views = extract(network(), store, views=3, augment=AugmentConfig(noise=0.2))
    assert np.array_equal(views[0], plain[0])
    assert not np.array_equal(views[1, ROWS], views[0, ROWS])
    assert not np.array_equal(views[2, ROWS], views[1, ROWS])
    assert not views[1:, OTHERS].any()


def test_the_feature_store_draws_a_view_for_each_row_and_epoch() -> None:
    features = np.stack([np.full((30, 4), view, np.float16) for view in range(3)])
    names = [f"{k:02}" for k in range(30)]
    store = FeatureStore(features, manifest_from_columns(names, names, names), torch.device("cpu"), seed=0)
    rows = np.arange(29, -1, -1)

    def drawn(epoch: int | None, first_batch: int = 0) -> list[float]:
        batches = list(store.batches(rows, batch_size=8, first_batch=first_batch, epoch=epoch))
        assert torch.cat([batch.targets for batch in batches]).tolist() == rows[8 * first_batch :].tolist()
        return [float(value) for batch in batches for value in batch.images[:, 0]]

    assert set(drawn(None)) == {0.0}
    assert set(drawn(0)) == {0.0, 1.0, 2.0}
    assert drawn(0) == drawn(0) != drawn(1)
    assert drawn(1, first_batch=2) == drawn(1)[16:]


@pytest.mark.skipif(DATA is None, reason="LINNAEUS_DATA does not name the folder with the real weights")
def test_features_of_real_photos_tell_classes_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from linnaeus.models.weights import load_pretrained

    assert DATA is not None
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    manifest = read_source(str(Path(DATA) / "clothing"))
    chosen = [np.flatnonzero(manifest.targets == k)[:24] for k in (manifest.classes.index(n) for n in ("hat", "shoes"))]
    manifest = manifest.take(np.sort(np.concatenate(chosen)))
    spec = ImageSpec(96, 96, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    photos = ImageStore(open_cache(manifest, spec), manifest, torch.device("cpu"))
    classifier = build_classifier("tf_efficientnet_lite0", num_classes=2, image_size=96, options={})
    load_pretrained(
        classifier.backbone,
        name="tf_efficientnet_lite0",
        weights=str(Path(DATA) / "weights"),
        allow_download=False,
    )
    rows = np.arange(len(manifest))

    def features(precision: object) -> np.ndarray:
        settings = {"train_rows": rows, "other_rows": rows[:0], "spec": spec, "batch_size": 16, "autocast": precision}
        return np.array(extract_features(classifier, photos, **settings).values[0], np.float32)  # type: ignore[arg-type]

    plain = features(nullcontext)
    clear = plain - plain.mean(0)
    clear /= np.linalg.norm(clear, axis=1, keepdims=True)
    similar = clear @ clear.T - 2 * np.eye(len(rows))
    nearest = manifest.targets[similar.argmax(1)]
    assert (nearest == manifest.targets).mean() > 0.8
    clear_caches()
    half = features(lambda: torch.autocast("cpu", torch.bfloat16))
    lengths = np.linalg.norm(half, axis=1) * np.linalg.norm(plain, axis=1)
    assert ((half * plain).sum(1) / lengths).min() > 0.99
