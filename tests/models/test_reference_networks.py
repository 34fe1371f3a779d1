"""The networks of the reference systems: exact numbers of parameters, order of layers, and how they begin."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from linnaeus.models import build_classifier, count_parameters
from linnaeus.models.zoo.keras_layers import convolution, dense, glorot_uniform, he_normal, he_uniform

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
    for initialize, most in ((he_normal, 2 / 0.87962566), (he_uniform, math.sqrt(3))):
        filters = convolution(64, 128, initialize=initialize)
        assert filters.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.01)
        assert filters.weight.abs().max().item() == pytest.approx(most * math.sqrt(2 / (9 * 64)), rel=0.01)
        assert not filters.bias.any() and not layer.bias.any()


def test_convolutions_of_x2_are_normal_and_its_dense_layers_glorot() -> None:
    torch.manual_seed(0)
    model = build_classifier("gelu_cnn", num_classes=12, image_size=224, options={})
    filters = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert filters[-1].std().item() == pytest.approx(math.sqrt(2 / (9 * 512)), rel=0.01)
    assert filters[-1].abs().max().item() > 1.9 * filters[-1].std().item(), "not uniform"
    layers = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    assert layers[0].std().item() == pytest.approx(math.sqrt(2 / (1024 + 512)), rel=0.01)
