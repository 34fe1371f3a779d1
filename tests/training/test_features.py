"""Features once: the numbers of the network, kept on disk, resumed, recomputed when anything changes."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from linnaeus.config import AugmentConfig
from linnaeus.data.cache import open_cache
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.loader import FeatureStore, ImageStore
from linnaeus.data.sources import read_source
from linnaeus.models import build_classifier
from linnaeus.models.classifier import Classifier
from linnaeus.training import features as features_module
from linnaeus.training.features import extract_features

SPEC = ImageSpec(16, 16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
ROWS, OTHERS = np.arange(0, 40), np.arange(40, 50)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageStore:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    manifest = read_source("digits").take(np.arange(60))
    return ImageStore(open_cache(manifest, SPEC), manifest, torch.device("cpu"))


def network(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return build_classifier("mish_cnn", num_classes=10, image_size=16, options={})


def extract(classifier: Classifier, store: ImageStore, **settings):  # type: ignore[no-untyped-def]
    settings = {"spec": SPEC, "batch_size": 16, "autocast": nullcontext, **settings}
    return extract_features(classifier, store, train_rows=ROWS, other_rows=OTHERS, **settings)


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


@pytest.mark.parametrize("change", ["weights", "spec", "views"])
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
    else:
        extract(classifier, store)
    assert sum(sizes) == (90 if change == "views" else 50)


def test_an_interrupted_extraction_goes_on_where_it_was(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.array(extract(network(), store))
    for folder in features_module.cache_folder().glob("features-*"):
        for file in folder.iterdir():
            file.unlink()
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
    assert np.array_equal(extract(resumed, store), whole)
    assert sum(sizes) == 50 - 2 * 16


def test_too_little_memory_halves_the_batch_and_says_so(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.array(extract(network(), store, batch_size=4))
    for folder in features_module.cache_folder().glob("features-*"):
        for file in folder.iterdir():
            file.unlink()
    classifier = network()
    original = classifier.features

    def tight(images: torch.Tensor) -> torch.Tensor:
        if len(images) > 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return original(images)

    monkeypatch.setattr(classifier, "features", tight)
    said: list[str] = []
    monkeypatch.setattr(type(features_module.SILENT), "say", lambda self, text: said.append(text))
    assert np.array_equal(extract(classifier, store, progress=features_module.SILENT), whole)
    assert [line for line in said if "Not enough memory" in line] == [
        "Not enough memory for 16 images at once; going on with 8.",
        "Not enough memory for 8 images at once; going on with 4.",
    ]


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
    targets = np.arange(30)
    store = FeatureStore(features, targets, torch.device("cpu"), seed=0)
    rows = np.arange(29, -1, -1)

    def drawn(epoch: int | None, first_batch: int = 0) -> list[float]:
        batches = list(store.batches(rows, batch_size=8, first_batch=first_batch, epoch=epoch))
        assert torch.cat([batch.targets for batch in batches]).tolist() == rows[8 * first_batch :].tolist()
        return [float(value) for batch in batches for value in batch.images[:, 0]]

    assert set(drawn(None)) == {0.0}
    assert set(drawn(0)) == {0.0, 1.0, 2.0}
    assert drawn(0) == drawn(0) != drawn(1)
    assert drawn(1, first_batch=2) == drawn(1)[16:]
