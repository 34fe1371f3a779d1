"""Prediction of several labels: sigmoids, thresholds, and images that are given none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from linnaeus.bundle import Bundle
from linnaeus.bundle.files import load_bundle, save_bundle
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.images.decode import read_image
from linnaeus.deployment.predictor import Predictor
from linnaeus.models import build_classifier
from linnaeus.predictions import view_logits

CLASSES = ("sky", "tree", "N/A")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    torch.manual_seed(5)
    classifier = build_classifier("speed_cnn", num_classes=3, image_size=16, options={"widths": [8, 8, 8]})
    with torch.no_grad():
        classifier.train()(torch.randn(32, 3, 16, 16))
        assert isinstance(classifier.head, nn.Linear)
        classifier.head.weight.mul_(40)
    spec = ImageSpec(16, 16, "squash", "bilinear", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    return Bundle(classifier.eval(), spec, CLASSES, "flip", temperature=2.0, thresholds=(0.5, 0.2, 0.8))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{k}.png" for k in range(12)]
    for path in paths:
        pixels = random.integers(0, 200, 3, np.uint8) + random.integers(0, 56, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


def by_hand(bundle: Bundle, path: Path) -> np.ndarray:
    pixels = torch.from_numpy(bundle.image_spec.fit(read_image(str(path))).copy())
    normalized = bundle.image_spec.normalize(pixels.permute(2, 0, 1)[None])
    with torch.inference_mode():
        logits = view_logits(bundle.classifier, normalized, tta=bundle.tta)[0].double().numpy()
    return 1 / (1 + np.exp(-logits / bundle.temperature))


def test_each_label_has_a_sigmoid_and_is_given_from_its_threshold_on(bundle: Bundle, files: list[Path]) -> None:
    table = Predictor(bundle, batch_size=5, precision="32").predict(files, top_k=3, all_probabilities=True)
    assert list(table.columns[:6]) == ["path", "labels", "num_labels", "label", "probability", "error"]
    for row, file in zip(table.to_dict("records"), files, strict=True):
        expected = by_hand(bundle, file)
        np.testing.assert_allclose([row[f"probability:{name}"] for name in CLASSES], expected, rtol=1e-4)
        given = [name for name, p, t in zip(CLASSES, expected, bundle.thresholds or (), strict=True) if p >= t]
        assert (row["labels"], row["num_labels"]) == (given, len(given))
        order = np.argsort(-expected)
        assert [row["label"], row["label_2"], row["label_3"]] == [CLASSES[k] for k in order]
        assert row["probability"] == pytest.approx(expected.max(), rel=1e-4)


def test_a_threshold_is_reached_by_an_equal_probability(bundle: Bundle) -> None:
    given = Predictor(bundle).given_labels(np.array([[0.5, 0.2, 0.8], [0.49, 0.19, 0.79]]))
    assert given.tolist() == [[True] * 3, [False] * 3]


def test_no_label_is_an_empty_list_and_an_unreadable_file_has_none(bundle: Bundle, files: list[Path]) -> None:
    files[3].write_bytes(b"")
    never = dataclasses.replace(bundle, thresholds=(1.0, 1.0, 1.0))
    table = Predictor(never, precision="32").predict(files)
    assert [labels for k, labels in enumerate(table["labels"]) if k != 3] == [[]] * 11
    assert table["labels"][3] is None and pd.isna(table["num_labels"][3]) and table["error"][3]
    assert table["num_labels"].dropna().eq(0).all()


def test_one_label_per_image_has_no_column_of_labels(bundle: Bundle, files: list[Path]) -> None:
    one = Predictor(dataclasses.replace(bundle, thresholds=None), precision="32")
    table = one.predict(files, all_probabilities=True)
    assert "labels" not in table.columns
    assert np.allclose(table[[f"probability:{name}" for name in CLASSES]].sum(axis=1), 1)
    assert one.given_labels(np.array([[0.2, 0.5, 0.3]])).tolist() == [[False, True, False]]


def test_thresholds_travel_with_the_model_and_must_be_probabilities(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path / "model")
    loaded = load_bundle(tmp_path / "model")
    assert loaded.thresholds == bundle.thresholds and loaded.task == "multi"
    for thresholds in ((0.5, 0.5), (0.5, 0.5, 1.5)):
        with pytest.raises(ValueError, match="threshold"):
            dataclasses.replace(bundle, thresholds=thresholds)
