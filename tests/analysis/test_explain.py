"""Heat maps: Grad-CAM against its closed form, rollout against plain matrices, and every kind of network."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from linnaeus.analysis.explain import explain_image, explain_labels, heat_maps, overlay, place_of, rollout
from linnaeus.bundle import Bundle
from linnaeus.data.image_spec import ImageSpec
from linnaeus.errors import ModelError
from linnaeus.models import Classifier, build_classifier

SIDE = 8
SHALLOW: dict[str, dict[str, Any]] = {
    "densenet121": {"block_config": (2, 2, 2, 2)},
    "swin_tiny_patch4_window7_224": {"depths": (1, 1, 1, 1)},
    "mobilenetv2_100+vit_tiny_patch16_224": {"vit_tiny_patch16_224.depth": 2},
}
"""Of deep networks a few layers will do."""


class Averaged(nn.Module):
    """Some layers, then the average over space: Grad-CAM of it equals the CAM of Zhou et al. (arXiv 1512.04150)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images).mean(dim=(2, 3))


def averaging(*layers: nn.Module, channels: int, num_classes: int = 3) -> tuple[Classifier, nn.Linear]:
    """A network of these layers, and its head."""
    head = nn.Linear(channels, num_classes)
    return Classifier(Averaged(*layers), head, name="mish_cnn", options={}), head


def images_of(num: int, side: int = SIDE) -> torch.Tensor:
    return torch.randn(num, 3, side, side, generator=torch.Generator().manual_seed(1))


def build(name: str, side: int, **options) -> Classifier:
    torch.manual_seed(0)
    return build_classifier(name, num_classes=4, image_size=side, options=options).eval()


def test_grad_cam_is_the_weighted_sum_of_maps_where_that_is_known_in_closed_form():
    torch.manual_seed(3)
    layer = nn.Conv2d(3, 5, 1, bias=False)
    classifier, head = averaging(layer, channels=5)
    images, targets = images_of(4), np.array([0, 2, 1, 2])
    maps = layer(images).detach().numpy()
    weights = head.weight.detach().numpy()[targets]
    expected = np.maximum((weights[:, :, None, None] * maps).sum(axis=1), 0)
    expected /= expected.max(axis=(1, 2), keepdims=True)
    found = heat_maps(classifier, images, targets=targets)
    assert found.method == "grad_cam"
    np.testing.assert_allclose(found.maps, expected, atol=1e-6)


def test_nothing_that_speaks_for_a_class_gives_a_map_of_zeros():
    classifier, head = averaging(nn.Conv2d(3, 5, 1), nn.ReLU(), channels=5)
    nn.init.constant_(head.weight, -1.0)
    assert not heat_maps(classifier, images_of(2), targets=np.array([0, 1])).maps.any()


def test_the_last_layer_that_is_fine_enough_is_asked():
    first, second = nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 4, 4, stride=4)
    torch.manual_seed(0)
    images, targets = images_of(1, 32), np.array([1])
    classifier, head = averaging(first, second, channels=4)  # 8 x 8, then 2 x 2 cells
    maps = first(images).detach().requires_grad_()
    head(second(maps).mean(dim=(2, 3)))[0, 1].backward()
    assert maps.grad is not None
    cam = F.relu((maps.grad.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True)).detach()
    expected = F.interpolate(cam, size=(32, 32), mode="bilinear")[0, 0].numpy()
    np.testing.assert_allclose(
        heat_maps(classifier, images, targets=targets).maps[0], expected / expected.max(), atol=1e-6
    )


def test_rollout_is_the_product_of_the_layers_with_the_last_one_leftmost():
    first = np.array([[1.0, 0.0], [0.5, 0.5]])
    second = np.array([[0.2, 0.8], [0.0, 1.0]])
    # 0.5 A + 0.5 I is [[1, 0], [0.25, 0.75]], then [[0.6, 0.4], [0, 1]]; their product by hand:
    np.testing.assert_allclose(rollout([first, second]), [[0.7, 0.3], [0.25, 0.75]])


def test_a_transformers_heat_is_the_rollout_of_attention_computed_from_its_weights():
    side, patches = 64, 4
    classifier = build("vit_tiny_patch16_224", side, depth=3)
    images = images_of(2, side)
    body: Any = classifier.backbone  # a network of timm, whose parts have no types
    with torch.no_grad():
        x = body._pos_embed(body.patch_embed(images))
        through = np.stack([np.eye(1 + patches**2)] * 2)
        for block in body.blocks:
            attn = block.attn
            qkv = attn.qkv(block.norm1(x)).reshape(2, 1 + patches**2, 3, attn.num_heads, attn.head_dim)
            q, k, _ = qkv.permute(2, 0, 3, 1, 4)
            weights = (q @ k.transpose(-2, -1) * attn.head_dim**-0.5).softmax(dim=-1).mean(dim=1).double().numpy()
            through = (0.5 * weights + 0.5 * np.eye(1 + patches**2)) @ through
            x = block(x)
    grid = through[:, 0, 1:].reshape(2, 1, patches, patches)
    grid -= grid.min(axis=(2, 3), keepdims=True)
    expected = F.interpolate(torch.from_numpy(grid), size=(side, side), mode="bilinear")[:, 0].numpy()
    expected /= expected.max(axis=(1, 2), keepdims=True)
    fused = [block.attn.fused_attn for block in body.blocks]
    found = heat_maps(classifier, images, targets=np.array([0, 1]))
    assert found.method == "attention_rollout"
    np.testing.assert_allclose(found.maps, expected, atol=1e-4)
    assert [block.attn.fused_attn for block in body.blocks] == fused


@pytest.mark.parametrize(
    ("name", "side", "method"),
    [
        ("speed_cnn", 8, "grad_cam"),
        ("speed_cnn", 32, "grad_cam"),
        ("mish_cnn", 32, "grad_cam"),
        ("resnet18", 64, "grad_cam"),
        ("densenet121", 64, "grad_cam"),
        ("mobilenetv2_100", 64, "grad_cam"),
        ("tf_efficientnet_lite0", 64, "grad_cam"),
        ("convnext_atto", 64, "grad_cam"),
        ("swin_tiny_patch4_window7_224", 64, "gradient_x_activation"),
        ("mobilenetv2_100+vit_tiny_patch16_224", 64, "attention_rollout"),
    ],
)
def test_every_kind_of_network_shows_where_it_looks(name, side, method):
    classifier = build(name, side, **SHALLOW.get(name, {}))
    classifier.train()
    found = heat_maps(classifier, images_of(3, side), targets=np.array([0, 3, 1]))
    assert found.method == method
    assert found.maps.shape == (3, side, side)
    assert found.maps.dtype == np.float32
    assert found.maps.min() >= 0
    assert set(np.round(found.maps.max(axis=(1, 2)), 5)) <= {0.0, 1.0}
    assert found.maps.any()
    assert found.maps.std(axis=(1, 2)).max() > 0.05, "one flat colour points at nothing"
    assert classifier.training
    assert not any(module._forward_hooks for module in classifier.modules())


def test_a_network_without_space_says_that_it_cannot():
    flat = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), nn.Linear(4, 3), name="mish_cnn", options={})
    with pytest.raises(ModelError, match="no heat map"):
        heat_maps(flat, images_of(1), targets=np.array([0]))


def bundle_of(thresholds=None) -> Bundle:
    """A model of 3 classes that sees red, green and blue: each where its colour is."""
    layer = nn.Conv2d(3, 3, 1)
    classifier, head = averaging(layer, channels=3)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3).reshape(3, 3, 1, 1))
        head.weight.copy_(10 * torch.eye(3))
        nn.init.zeros_(head.bias)
        for parameter in layer.parameters():
            if parameter.ndim == 1:
                parameter.zero_()
    return Bundle(classifier, ImageSpec(SIDE, SIDE), ("red", "green", "blue"), "none", thresholds=thresholds)


def coloured() -> np.ndarray:
    """Much red on the upper left, less blue on the lower right."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[:4, :4, 0] = 255
    image[6:, 6:, 2] = 255
    return image


def test_the_most_probable_class_is_explained_unless_another_is_named():
    explanation = explain_image(bundle_of(), coloured())
    logits = np.array([10 * 16 / 64, 0, 10 * 4 / 64])
    assert explanation.label == "red"
    assert explanation.probability == pytest.approx(np.exp(logits[0]) / np.exp(logits).sum())
    assert (place_of(explanation.heat), explanation.heat[5:].max()) == ("upper left", 0)
    named = explain_image(bundle_of(), coloured(), label="blue")
    assert (named.label, place_of(named.heat)) == ("blue", "lower right")
    assert place_of(explain_image(bundle_of(), coloured(), label="green").heat) == "nowhere"
    with pytest.raises(ModelError, match=r"'pink'.*red, green, blue"):
        explain_image(bundle_of(), coloured(), label="pink")


def test_of_several_labels_each_that_is_given_is_explained():
    found = explain_labels(bundle_of((0.6, 0.6, 0.6)), coloured())
    assert [(e.label, place_of(e.heat)) for e in found] == [("red", "upper left"), ("blue", "lower right")]
    assert explain_image(bundle_of((0.6, 0.6, 0.6)), coloured()).label == "red", "one picture shows the most probable"
    (best,) = explain_labels(bundle_of((0.99, 0.99, 0.99)), coloured())
    assert best.label == "red"


def test_an_overlay_leaves_the_pictures_shape_and_shows_heat_brighter():
    image = np.full((SIDE, SIDE, 3), 90, np.uint8)
    heat = np.zeros((SIDE, SIDE), np.float32)
    heat[0, 0] = 1
    shown = overlay(image, heat)
    assert shown.shape == image.shape and shown.dtype == np.uint8
    assert shown[0, 0].sum() > 2 * shown[1, 1].sum()
    assert (shown[1:] == shown[1, 1]).all()
