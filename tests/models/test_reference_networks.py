"""The networks of the reference systems: exact numbers of parameters, order of layers, and how they begin."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from linnaeus.bundle import Bundle
from linnaeus.bundle.files import load_bundle, save_bundle
from linnaeus.data.image_spec import ImageSpec
from linnaeus.errors import ModelError
from linnaeus.models import build_classifier, count_parameters
from linnaeus.models.zoo.keras_layers import convolution, dense, glorot_uniform, he_normal

X1_WIDTHS = [64, 128, 256, 512, 1024, 2048, 512, 256]
X2_CHANNELS, X2_WIDTHS = [32, 64, 128, 256, 512, 1024], [512, 256, 128]


def counts(name: str, *, classes: int, size: int, **options: object) -> tuple[int, int]:
    with torch.device("meta"):
        return count_parameters(build_classifier(name, num_classes=classes, image_size=size, options=options))


def dense_weights(widths: list[int]) -> int:
    return sum(i * o + o for i, o in itertools.pairwise(widths))


def test_x1_has_the_published_numbers_of_parameters() -> None:
    assert counts("feed_forward", classes=12, size=224) == (13_633_996, 13_624_396)


@pytest.mark.parametrize(("classes", "size"), [(12, 64), (3, 224), (100, 17)])
def test_x1_counts_at_other_sizes_follow_from_its_layers(classes: int, size: int) -> None:
    trainable = dense_weights([3 * size * size, *X1_WIDTHS, classes]) + 2 * sum(X1_WIDTHS)
    assert counts("feed_forward", classes=classes, size=size) == (trainable + 2 * sum(X1_WIDTHS), trainable)


def test_x2_has_the_published_numbers_of_parameters() -> None:
    assert counts("gelu_cnn", classes=12, size=224) == (6_990_412, 6_984_588)


@pytest.mark.parametrize(("classes", "size", "left"), [(12, 190, 1), (3, 256, 2), (7, 300, 2), (100, 400, 4)])
def test_x2_counts_at_other_sizes_follow_from_its_layers(classes: int, size: int, left: int) -> None:
    """`left`: pixels of a side after six times (less 2, halved and rounded down): 400 -> 199 -> 98 -> 48 -> 23 -> 10
    -> 4.
    """
    pairs = zip([3, *X2_CHANNELS], X2_CHANNELS, strict=False)
    trainable = sum(9 * i * o + o for i, o in pairs) + dense_weights([1024 * left**2, *X2_WIDTHS, classes])
    norms = 2 * (sum(X2_CHANNELS) + sum(X2_WIDTHS))
    assert counts("gelu_cnn", classes=classes, size=size) == (trainable + 2 * norms, trainable + norms)


@pytest.mark.parametrize(("classes", "size"), [(10, 300), (4, 96)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_u1_counts_follow_from_its_layers(classes: int, size: int, batch_norm: bool) -> None:
    trainable = 9 * 3 * 32 + 32 + 9 * 32 * 64 + 64 + 64 * (size // 4) ** 2 * classes + classes
    norms = 2 * (32 + 64) * batch_norm
    found = counts("relu_cnn", classes=classes, size=size, batch_norm=batch_norm)
    assert found == (trainable + 2 * norms, trainable + norms)


def kinds(name: str, *, size: int) -> list[str]:
    with torch.device("meta"):
        model = build_classifier(name, num_classes=5, image_size=size, options={})
    return [type(module).__name__ for module in model.modules() if not list(module.children())]


def test_the_layers_stand_in_the_published_order() -> None:
    step = ["Linear", "BatchNorm1d", "LeakyReLU", "Dropout"]
    assert kinds("feed_forward", size=32) == ["Flatten", *step * 8, "Linear"]
    step = ["Conv2d", "MaxPool2d", "BatchNorm2d", "GELU"]
    assert kinds("gelu_cnn", size=224) == [
        *step * 6,
        "Flatten",
        *["Linear", "BatchNorm1d", "GELU", "Dropout"] * 3,
        "Linear",
    ]
    assert kinds("relu_cnn", size=32) == [*["Conv2d", "ReLU", "MaxPool2d", "Dropout"] * 2, "Flatten", "Linear"]


def test_weights_begin_as_the_papers_say() -> None:
    """Variances: Glorot 2 / (fan in + fan out), He 2 / fan in; a uniform law ends at sqrt(3) deviations."""
    torch.manual_seed(0)
    layer = dense(300, 500, initialize=glorot_uniform)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 800), rel=0.01)
    assert layer.weight.abs().max().item() == pytest.approx(math.sqrt(6 / 800), rel=0.01)
    filters = convolution(64, 128, initialize=he_normal)
    assert filters.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.01)
    assert filters.weight.abs().max().item() == pytest.approx(2 / 0.87962566 * math.sqrt(2 / (9 * 64)), rel=0.01)
    assert filters.bias is not None
    assert not filters.bias.any() and not layer.bias.any()


def test_convolutions_of_x2_are_normal_and_its_dense_layers_glorot() -> None:
    torch.manual_seed(0)
    model = build_classifier("gelu_cnn", num_classes=12, image_size=224, options={})
    filters = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert filters[-1].std().item() == pytest.approx(math.sqrt(2 / (9 * 512)), rel=0.01)
    assert filters[-1].abs().max().item() > 1.9 * filters[-1].std().item(), "not uniform"
    layers = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    assert layers[0].std().item() == pytest.approx(math.sqrt(2 / (1024 + 512)), rel=0.01)


def conv(inputs: int, outputs: int, kernel: int, *, norm: bool = True) -> int:
    """Trainable parameters of a convolution and its batch norm, of which half as many again are statistics."""
    return kernel * kernel * inputs * outputs + outputs + 2 * outputs * norm


@pytest.mark.parametrize("classes", [3, 14])
@pytest.mark.parametrize("size", [16, 128])
def test_m3_counts_follow_from_the_configured_blocks(classes: int, size: int) -> None:
    stages = [
        {"block": "residual", "width": 8, "repeat": 2, "shortcut": "projection", "pool": True},
        {"block": "inception", "kernels": [1, 3, 5, 0], "widths": [4, 6, 2, 3], "shortcut": "none"},
        {"block": "plain", "width": 5, "shortcut": "none"},
    ]
    residual = conv(4, 8, 3) + conv(8, 8, 3) + conv(4, 8, 1, norm=False) + 2 * conv(8, 8, 3)
    inception = conv(8, 4, 1) + conv(8, 3, 1) + conv(3, 6, 3) + conv(8, 1, 1) + conv(1, 2, 5) + conv(8, 3, 1)
    trainable = conv(3, 4, 3) + residual + inception + conv(15, 5, 3) + 5 * classes + classes
    statistics = 2 * (4 + 4 * 8 + 4 + 3 + 6 + 1 + 2 + 3 + 5)
    found = counts("block_cnn", classes=classes, size=size, stem=4, stages=stages)
    assert found == (trainable + statistics, trainable)


def test_shortcuts_of_m3_carry_the_input_around_the_block() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 8, 8)
    stage = {"block": "residual", "width": 4, "shortcut": "identity"}
    model = build_classifier("block_cnn", num_classes=2, image_size=8, options={"stem": 4, "stages": [stage]}).eval()
    assert isinstance(model.backbone, nn.Sequential)
    stem, block = model.backbone[0], model.backbone[1]
    assert isinstance(block.branches, nn.Module)
    for parameter in block.branches.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(block(stem(images)), stem(images)), "what the branch adds is zero, and the stem ends in a ReLU"


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"blok": "plain"}, "no 'blok'. Did you mean 'block'"),
        ({"block": "dense", "width": 4}, "plain, residual, inception, not dense"),
        ({"block": "plain", "width": 4, "shortcut": "long"}, "none, identity, projection, not long"),
        ({"block": "inception", "kernels": [1, 3], "widths": [4]}, "as many widths"),
        ({"block": "inception", "kernels": [2], "widths": [4]}, "odd, or 0"),
        ({"block": "residual", "width": 0}, "1 at least"),
        ({"block": "residual", "width": 8, "shortcut": "identity"}, "cannot join 4 channels to 8"),
    ],
)
def test_stages_that_cannot_be_built_are_refused_in_words(stage: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build_classifier("block_cnn", num_classes=2, image_size=8, options={"stem": 4, "stages": [stage]})


def test_stages_travel_with_the_bundle(tmp_path: Path) -> None:
    stages = [{"block": "inception", "kernels": [1, 3, 0], "widths": [4, 4, 4], "shortcut": "projection", "pool": True}]
    options = {"stem": 4, "stages": stages}
    classifier = build_classifier("block_cnn", num_classes=2, image_size=16, options=options).eval()
    save_bundle(Bundle(classifier, ImageSpec(16, 16), ("a", "b"), "none"), tmp_path / "model")
    images = torch.randn(2, 3, 16, 16)
    assert torch.allclose(load_bundle(tmp_path / "model").classifier(images), classifier(images), atol=1e-6)
