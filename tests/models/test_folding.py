"""Batch norms folded into convolutions: the same features, or the network as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from linnaeus.models import Classifier, build_classifier
from linnaeus.models.folding import folded


def trained(name: str, *, size: int = 64, **settings: Any) -> Classifier:
    """In evaluation mode, with statistics and weights of batch norm unlike those that a network begins with."""
    torch.manual_seed(0)
    classifier = build_classifier(name, **{"num_classes": 3, "image_size": size, "options": {}, **settings})
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            if module.weight is not None:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
    return classifier.eval()


def num_norms(classifier: Classifier) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in classifier.modules())


@pytest.mark.parametrize(
    ("name", "settings", "left"),
    [
        ("tf_efficientnet_lite0", {}, 0),
        ("tf_efficientnet_lite0", {"features": "stages"}, 0),
        ("mobilenetv2_100", {"options": {"pad_type": "same"}}, 0),
        ("efficientnet_b0", {"head": {"map_dropout": 0.2}}, 0),
        ("resnet10t", {}, 0),
        ("resnet10t+mobilenetv2_100", {}, 0),
        ("inception_resnet_v2", {"size": 80}, 0),
    ],
)
def test_features_are_the_same_without_batch_norm(name: str, settings: dict[str, Any], left: int) -> None:
    classifier = trained(name, **settings)
    size = int(settings.get("size", 64))
    before = copy.deepcopy(classifier.state_dict())
    short = folded(classifier, height=size, width=size)
    assert num_norms(short) == left < num_norms(classifier)
    images = torch.randn(3, 3, size, size)
    wanted = classifier.features(images)
    assert (short.features(images) - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert torch.equal(short.logits(wanted), classifier.logits(wanted))
    assert all(torch.equal(before[key], value) for key, value in classifier.state_dict().items())


@pytest.mark.parametrize("name", ["densenet121", "tf_efficientnetv2_b0", "tf_efficientnet_lite0"])
def test_bfloat16_is_no_further_from_float32_than_it_was(name: str) -> None:
    classifier = trained(name)
    short = folded(classifier, height=64, width=64)
    images = torch.randn(8, 3, 64, 64)
    with torch.inference_mode():
        exact = classifier.features(images)
        with torch.autocast("cpu", torch.bfloat16):
            plain, fast = (each.features(images).float() - exact for each in (classifier, short))
    assert short is not classifier
    assert fast.square().mean() < 1.5 * plain.square().mean()


def test_networks_without_such_norms_stay_as_they_are() -> None:
    for name in ("vit_tiny_patch16_224", "convnext_atto"):
        classifier = trained(name)
        assert folded(classifier, height=64, width=64) is classifier


class Shared(nn.Module):
    """Two batch norms after one convolution, or one whose input is used again."""

    def __init__(self, *, twice: bool) -> None:
        super().__init__()
        self.convolution, self.twice = nn.Conv2d(3, 4, 3), twice
        self.norm, self.other = (nn.BatchNorm2d(4, affine=False) for _ in range(2))
        for k, norm in enumerate((self.norm, self.other)):
            assert norm.running_mean is not None
            norm.running_mean += 1 + k

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float [B, 3, H, W] -> [B, 4]."""
        maps = self.convolution(images)
        again = self.other(maps) if self.twice else maps
        return (self.norm(maps) + again).mean((2, 3))


@pytest.mark.parametrize("twice", [False, True])
def test_a_convolution_that_something_else_uses_too_is_left_alone(twice: bool) -> None:
    torch.manual_seed(0)
    classifier = Classifier(Shared(twice=twice), nn.Linear(4, 2), name="shared", options={}).eval()
    assert folded(classifier, height=8, width=8) is classifier


def test_norms_without_statistics_of_their_own_stay() -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten())
    classifier = Classifier(backbone, nn.Linear(144, 2), name="own", options={}).eval()
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(folded(classifier, height=8, width=8).features(images), classifier.features(images))
