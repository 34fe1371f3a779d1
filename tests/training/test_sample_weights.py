"""Weights of samples: what a table says reaches the loss, through mixup and through heads on features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import linnaeus
from linnaeus.augment.mixing import mixup
from linnaeus.data.cache.images import open_cache
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import TEST, TRAIN, manifest_from_columns
from linnaeus.data.sources import read_source
from linnaeus.errors import DataError
from linnaeus.losses import cross_entropy
from linnaeus.losses.multilabel import binary_cross_entropy
from linnaeus.training.loop import with_weights, without_weights


def test_blended_weights_give_the_blend_of_the_weighted_losses() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(4, 3, generator=generator), torch.tensor([0, 1, 2, 1])
    weights, partners = torch.tensor([0.0, 2.0, 1.0, 0.5]), torch.tensor([1, 2, 0, 3])
    fractions = torch.tensor([0.9, 0.3, 0.5, 0.2])
    joined = with_weights(targets, weights, num_classes=3)
    images = torch.zeros(4, 3, 2, 2)
    blended, both = without_weights(mixup(images, joined, num_classes=4, partners=partners, fractions=fractions)[1])
    one_hot = F.one_hot(targets, 3).float()
    for each in (
        lambda wanted: cross_entropy(logits, wanted, label_smoothing=0.1),
        lambda wanted: binary_cross_entropy(logits, wanted),
    ):
        own, other = weights * each(one_hot), weights[partners] * each(one_hot[partners])
        torch.testing.assert_close(both * each(blended), fractions * own + (1 - fractions) * other)


def test_images_without_any_weight_blend_to_nothing() -> None:
    blended, both = without_weights(with_weights(torch.tensor([1, 0]), torch.zeros(2), num_classes=2))
    assert both.tolist() == [0.0, 0.0]
    assert torch.isfinite(blended).all()


def test_weights_count_beside_the_other_training_rows() -> None:
    """Scaled to a mean of 1 over training, whatever their unit; a test row has no say in it."""
    splits, weights = [TRAIN, TRAIN, TRAIN, TEST], [1.0, 2.0, 3.0, 100.0]
    manifest = manifest_from_columns(list("abcd"), list("abcd"), list("xyxy"), splits=splits, weights=weights)
    found = manifest.loss_weights()
    assert found is not None and found.tolist() == [0.5, 1.0, 1.5, 50.0]
    nothing = manifest_from_columns(list("ab"), list("ab"), list("xy"), splits=[TRAIN, TEST], weights=[0.0, 1.0])
    with pytest.raises(DataError, match="nothing to learn from"):
        nothing.loss_weights()


def test_batches_carry_the_weights_of_their_rows(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{k}.png") for k in range(5)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    manifest = manifest_from_columns(paths, paths, list("abaab"), splits=[TRAIN] * 5, weights=[0, 1, 2, 1, 1])
    cache = open_cache(manifest, ImageSpec(8, 8), folder=tmp_path / "cache")
    store = ImageStore(cache, manifest, torch.device("cpu"))
    batches = list(store.batches(np.array([4, 2, 0]), batch_size=2))
    assert [batch.weights.tolist() for batch in batches if batch.weights is not None] == [[1.0, 2.0], [0.0]]


def scattered(root: Path) -> pd.DataFrame:
    """Bright and dark pictures; a third of the labels is wrong, and those rows weigh nothing."""
    generator, rows = np.random.default_rng(0), []
    for k in range(90):
        bright, wrong = k % 2, k % 3 == 0
        level = 190 if bright else 60
        pixels = (level + generator.integers(-40, 40, (8, 8, 3))).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{k}.png")
        split = "test" if k % 9 == 5 else "validation" if k % 9 == 7 else "train"
        label = "bright" if bool(bright) != wrong else "dark"
        rows.append({"path": f"{k}.png", "label": label, "split": split, "weight": 0.0 if wrong else 1.5})
    return pd.DataFrame(rows)


def test_training_from_a_table_learns_from_what_has_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    data.mkdir()
    table = scattered(data)
    table["weight"] = np.where(table["weight"] > 0, 0.0, 1.0)  # the other way round: only wrong labels count
    table.to_csv(data / "labels.csv", index=False)
    page = {"model": {"name": "mish_cnn"}, "phases": [{"batch_size": 16, "monitor": "last"}], "image": {"size": 32}}
    run = linnaeus.train(data, out=tmp_path / "run", epochs=6, settings={**page, "runtime": {"threads": 1}})
    assert run.manifest.weights is not None and run.manifest.weights.max() == 1.0
    assert run.evaluation.test.score("accuracy").value < 0.5


def test_a_saved_set_keeps_the_weights(tmp_path: Path) -> None:
    table = scattered(tmp_path)
    table.to_csv(tmp_path / "labels.csv", index=False)
    found = read_source(str(tmp_path))
    found.save(tmp_path / "saved.parquet")
    again = read_source(str(tmp_path / "saved.parquet"))
    assert again.weights is not None and again.weights.tolist() == table["weight"].tolist()
    assert again.fingerprint == found.fingerprint
    lighter = found.take(np.arange(len(found)))
    assert lighter.weights is not None
    lighter.weights[0] = 7.0
    assert lighter.fingerprint != found.fingerprint
