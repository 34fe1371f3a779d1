"""Weights: found, recognised in every layout, refused where they do not belong."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from linnaeus.errors import ModelError, WeightsNotFoundError
from linnaeus.models import build_classifier
from linnaeus.models.weights import find_weights, load_pretrained, load_weights

DATA = os.environ.get("LINNAEUS_DATA")
real = pytest.mark.skipif(DATA is None, reason="LINNAEUS_DATA does not name the folder with the real weights")
SMALL = "resnet10t"


def network(name: str, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(name, num_classes=0)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    values = other.state_dict()
    return all(torch.equal(value, values[key]) for key, value in one.state_dict().items())


def tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.backbone."])
def test_prefixes_are_seen_through(tmp_path: Path, prefix: str) -> None:
    source, body = network(SMALL, 1), network(SMALL, 2)
    stored = {prefix + key: value for key, value in tensors(source).items()}
    save_file({**stored, prefix + "fc.weight": torch.zeros(5, 512)}, tmp_path / "w.safetensors")
    report = load_weights(body, tmp_path / "w.safetensors", name=SMALL)
    assert same(source, body)
    assert report.ignored_heads == ("fc.weight",)
    assert not report.unexpected
    assert report.num_loaded == len(source.state_dict())


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_torch_files_are_read_as_weights_only(tmp_path: Path, wrapper: str | None) -> None:
    source, body = network(SMALL, 1), network(SMALL, 2)
    content = tensors(source)
    torch.save(content if wrapper is None else {wrapper: content, "epoch": 7}, tmp_path / "w.pth")
    load_weights(body, tmp_path / "w.pth", name=SMALL)
    assert same(source, body)


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    source, body = network(SMALL, 1), network(SMALL, 2)
    half = {k: v.half() if v.is_floating_point() else v for k, v in tensors(source).items()}
    save_file(half, tmp_path / "w.safetensors")
    load_weights(body, tmp_path / "w.safetensors", name=SMALL)
    assert all(value.dtype == torch.float32 for value in body.parameters())
    assert torch.equal(body.state_dict()["conv1.0.weight"], half["conv1.0.weight"].float())


class Hostile:
    """Unpickling it would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch hacked",))


def test_a_file_that_could_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Hostile()}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="could run code"):
        load_weights(network(SMALL, 0), tmp_path / "w.pth", name=SMALL)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x80\x02" + bytes(50)])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=re.escape(str(path))):
        load_weights(network(SMALL, 0), path, name=SMALL)


def test_weights_of_another_architecture_are_refused_by_name(tmp_path: Path) -> None:
    save_file(tensors(network("mobilenetv3_small_050", 0)), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"do not fit resnet10t: .* missing, such as .*the file has .* such as "):
        load_weights(network(SMALL, 0), tmp_path / "w.safetensors", name=SMALL)


def test_layers_of_another_width_are_refused_with_both_shapes(tmp_path: Path) -> None:
    stored = tensors(network(SMALL, 0))
    stored["layer4.0.conv1.weight"] = torch.zeros(3, 256, 3, 3)
    save_file(stored, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"layer4.0.conv1.weight \(3, 256, 3, 3\) for \(512, 256, 3, 3\)"):
        load_weights(network(SMALL, 0), tmp_path / "w.safetensors", name=SMALL)


def test_what_belongs_to_nothing_is_reported(tmp_path: Path) -> None:
    save_file({**tensors(network(SMALL, 0)), "extra.weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    report = load_weights(network(SMALL, 1), tmp_path / "w.safetensors", name=SMALL)
    assert report.unexpected == ("extra.weight",)
    assert any("1 tensors of that file belong to nothing: extra.weight" in line for line in report.describe())


def test_grey_networks_sum_the_channels_of_colour_weights_and_say_so(tmp_path: Path) -> None:
    source = network(SMALL, 0)
    save_file(tensors(source), tmp_path / "w.safetensors")
    grey = timm.create_model(SMALL, num_classes=0, in_chans=1)
    report = load_weights(grey, tmp_path / "w.safetensors", name=SMALL)
    wanted = source.state_dict()["conv1.0.weight"].sum(1, keepdim=True)
    assert torch.allclose(grey.state_dict()["conv1.0.weight"], wanted, atol=1e-6)
    assert any("adapted to 1" in note for note in report.notes)


def test_transformers_resnet_layout_gives_the_same_network(tmp_path: Path) -> None:
    source = network("resnet18", 1)
    names = {"conv1.": "embedder.embedder.convolution.", "bn1.": "embedder.embedder.normalization."}
    stored = {}
    for key, value in tensors(source).items():
        block = re.fullmatch(r"layer(\d)\.(\d)\.(conv|bn|downsample\.)(\d)\.(\w+)", key)
        if block:
            stage, number, kind, place, rest = block.groups()
            where = f"encoder.stages.{int(stage) - 1}.layers.{number}."
            if kind == "downsample.":
                where += "shortcut." + ("convolution." if place == "0" else "normalization.")
            else:
                where += f"layer.{int(place) - 1}." + ("convolution." if kind == "conv" else "normalization.")
            stored["resnet." + where + rest] = value
        else:
            prefix = next(prefix for prefix in names if key.startswith(prefix))
            stored["resnet." + names[prefix] + key.removeprefix(prefix)] = value
    save_file(stored, tmp_path / "w.safetensors")
    body = network("resnet18", 2)
    load_weights(body, tmp_path / "w.safetensors", name="resnet18")
    assert same(source, body)


def test_transformers_vit_layout_gives_the_same_network(tmp_path: Path) -> None:
    source = network("vit_tiny_patch16_224", 1)
    own = tensors(source)
    stored = {
        "embeddings.cls_token": own["cls_token"],
        "embeddings.position_embeddings": own["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": own["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": own["patch_embed.proj.bias"],
        "layernorm.weight": own["norm.weight"],
        "layernorm.bias": own["norm.bias"],
    }
    pairs = [("attn.proj", "attention.output.dense"), ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense")]
    pairs += [("norm1", "layernorm_before"), ("norm2", "layernorm_after")]
    for k in range(12):
        for part in ("weight", "bias"):
            joined = own[f"blocks.{k}.attn.qkv.{part}"].chunk(3)
            for word, value in zip(("query", "key", "value"), joined, strict=True):
                stored[f"encoder.layer.{k}.attention.attention.{word}.{part}"] = value.clone()
            for ours, theirs in pairs:
                stored[f"encoder.layer.{k}.{theirs}.{part}"] = own[f"blocks.{k}.{ours}.{part}"]
    save_file({f"vit.{key}": value.contiguous() for key, value in stored.items()}, tmp_path / "w.safetensors")
    body = network("vit_tiny_patch16_224", 2)
    load_weights(body, tmp_path / "w.safetensors", name="vit_tiny_patch16_224")
    assert same(source, body)


def test_torchvision_vgg_layout_gives_the_same_features(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(0)
    theirs = torchvision.models.vgg11(num_classes=4, init_weights=False)
    torch.save(theirs.state_dict(), tmp_path / "vgg11.pth")
    with torch.device("meta"):  # its own random weights would take many seconds
        body = timm.create_model("vgg11", num_classes=0)
    body.to_empty(device="cpu")
    load_weights(body, tmp_path / "vgg11.pth", name="vgg11")
    images = torch.randn(1, 3, 224, 224)
    wanted = theirs.eval().classifier[:6](theirs.avgpool(theirs.features(images)).flatten(1))
    features = body.eval()(images)
    assert torch.allclose(features, wanted, atol=1e-4)
    features.sum().backward()
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in body.parameters())


def test_a_folder_is_searched_for_the_architecture(tmp_path: Path) -> None:
    for name in ("resnet10t.safetensors", "other.safetensors"):
        (tmp_path / name).write_bytes(b"")
    assert find_weights("resnet10t", str(tmp_path)).name == "resnet10t.safetensors"
    with pytest.raises(
        WeightsNotFoundError, match=r"resnet18\.safetensors.*other\.safetensors, resnet10t\.safetensors"
    ):
        find_weights("resnet18", str(tmp_path))
    with pytest.raises(WeightsNotFoundError, match="no such file"):
        find_weights("resnet18", str(tmp_path / "nowhere"))


def test_without_weights_the_cost_and_the_ways_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsNotFoundError, match=r"--weights.*--allow-download.*--weights none.*accuracy"):
        find_weights("resnet50", "auto")


@real
def test_the_real_weights_load_whole_and_only_into_their_own_network() -> None:
    folder = Path(str(DATA)) / "weights"
    for name, options in (("tf_efficientnet_lite0", {}), ("mobilenetv2_100", {"pad_type": "same"})):
        classifier = build_classifier(name, num_classes=3, image_size=64, options=dict(options))
        report = load_pretrained(classifier.backbone, name=name, weights=str(folder), allow_download=False)
        assert not report.unexpected
        assert report.num_loaded == len(classifier.backbone.state_dict()) or report.num_loaded > 250
    with pytest.raises(ModelError, match="do not fit"):
        load_pretrained(
            classifier.backbone,
            name="mobilenetv2_100",
            weights=str(folder / "tf_efficientnet_lite0.safetensors"),
            allow_download=False,
        )
