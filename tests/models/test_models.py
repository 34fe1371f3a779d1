"""The networks: parameter counts, sizes they take, and what the first layer does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from linnaeus.errors import ModelError
from linnaeus.models import MODELS, Classifier, build_classifier, count_parameters
from linnaeus.models.zoo.block_cnn import STAGES
from linnaeus.models.zoo.speed_cnn import SpeedBackbone


def build(name: str, *, classes: int = 10, size: int = 32, **options: Any) -> Classifier:
    return build_classifier(name, num_classes=classes, image_size=size, options=options)


def test_c1_has_the_published_number_of_parameters() -> None:
    assert count_parameters(build("mish_cnn"))[0] == 404_778


@pytest.mark.parametrize(("classes", "size"), [(3, 32), (10, 64), (100, 48)])
def test_c1_counts_at_other_sizes_follow_from_its_layers(classes: int, size: int) -> None:
    convolutions = sum(9 * i * o + o + 4 * o for i, o in [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128)])
    flat = 128 * (size // 8) ** 2
    expected = convolutions + flat * 128 + 128 + 4 * 128 + 128 * classes + classes
    assert count_parameters(build("mish_cnn", classes=classes, size=size))[0] == expected


def test_speed_cnn_has_as_many_trainable_parameters_as_airbench94() -> None:
    filters = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 256 * 256 + 256 * 256 + 256 * 256)
    biases = 24 + 2 * (64 + 256 + 256)
    assert count_parameters(build("speed_cnn"))[1] == filters + biases + 256 * 10


SMALL_OPTIONS: dict[str, dict[str, Any]] = {
    "gelu_cnn": {"channels": [8, 16], "widths": [8], "dropouts": [0.0]},
    "block_cnn": {"stages": STAGES[:3]},
}


@pytest.mark.parametrize("size", [10, 12, 16, 28, 32, 48, 64])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_network_of_ours_learns_at_small_sizes(name: str, size: int) -> None:
    torch.manual_seed(0)
    model = build(name, classes=3, size=size, **SMALL_OPTIONS.get(name, {}))
    images = torch.randn(4, 3, size, size)
    logits = model(images)
    assert logits.shape == (4, 3)
    logits.square().sum().backward()
    for parameter in model.parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all()
    model.eval()
    assert torch.allclose(model(images), model.logits(model.features(images)), atol=1e-5)


def test_the_prepared_first_layer_whitens_patches() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(3, 3, generator=generator)
    images = torch.einsum("ij,bjhw->bihw", mixing, torch.randn(200, 3, 9, 9, generator=generator))
    backbone = SpeedBackbone(widths=[8], image_size=9)
    backbone.prepare(images)
    with torch.no_grad():
        out = nn.functional.conv2d(images, backbone.whiten.weight)[:, :12]
    flat = out.transpose(0, 1).reshape(12, -1)
    second_moments = flat @ flat.T / flat.shape[1]
    assert torch.allclose(second_moments, torch.eye(12), atol=0.01)
    assert torch.equal(backbone.whiten.weight[12:], -backbone.whiten.weight[:12])


def test_grey_images_leave_no_first_layer_channel_dead() -> None:
    grey = torch.randn(100, 1, 9, 9, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    backbone = SpeedBackbone(widths=[8], image_size=9)
    backbone.prepare(grey)
    out = nn.functional.conv2d(grey, backbone.whiten.weight)
    assert (out.std(dim=(0, 2, 3)) > 0.5).all()
    assert backbone.whiten.weight.abs().max() < 10, "rounding errors are not amplified"


def test_images_of_one_colour_leave_the_first_layer_as_it_was() -> None:
    backbone = SpeedBackbone(widths=[8], image_size=9)
    before = backbone.whiten.weight.clone()
    backbone.prepare(torch.zeros(10, 3, 9, 9))
    assert torch.equal(backbone.whiten.weight, before)


def test_the_same_seed_builds_the_same_network() -> None:
    torch.manual_seed(3)
    first = build("speed_cnn").state_dict()
    torch.manual_seed(3)
    second = build("speed_cnn").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_timm_architectures_are_built_by_name() -> None:
    model = build("resnet10t", classes=5, size=64)
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 5)
    assert model.features(torch.randn(2, 3, 64, 64)).shape == (2, 512)


@pytest.mark.parametrize(
    ("name", "size", "options", "words"),
    [
        ("resnet19", 64, {}, "no architecture 'resnet19'. Did you mean 'resnet"),
        ("sped_cnn", 32, {}, "Did you mean 'speed_cnn'"),
        ("speed_cnn", 32, {"width": [8]}, "no option 'width'. Did you mean 'widths'"),
        ("mish_cnn", 4, {}, "needs 8 px at least, not 4"),
        ("gelu_cnn", 189, {}, "needs 190 px at least, not 189"),
        ("relu_cnn", 2, {}, "needs 4 px, not 2"),
        ("feed_forward", 8, {"widths": [8, 8]}, "one dropout for each width, not 8 for 2"),
        ("gelu_cnn", 224, {"dropouts": []}, "one dropout for each width, not 0 for 3"),
        ("resnet10t", 64, {"nonsense": 1}, "resnet10t cannot be built"),
    ],
)
def test_impossible_networks_are_refused_in_words(name: str, size: int, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError) as caught:
        build(name, size=size, **options)
    assert words in str(caught.value)
