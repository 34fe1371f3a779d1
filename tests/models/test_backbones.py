"""Backbones: every family of the reference systems, joined and staged features, depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from linnaeus.bundle import Bundle
from linnaeus.bundle.files import load_bundle, save_bundle
from linnaeus.data.image_spec import ImageSpec
from linnaeus.errors import ModelError
from linnaeus.models import build_classifier, count_parameters
from linnaeus.models.backbone_features import StageFeatures
from linnaeus.models.backbones import backbone_spec, depth_groups
from linnaeus.models.heads import build_head

SMALL = "resnet10t"


def build(name: str, **settings: Any) -> Any:  # a Classifier whose parts are timm's, which have no types
    return build_classifier(name, **{"num_classes": 4, "image_size": 64, "options": {}, **settings})


@pytest.mark.parametrize(
    ("name", "millions"),  # without the classification layer; Keras and torchvision publish the same
    [
        ("efficientnet_b0", 4.007548),
        ("efficientnet_b7", 63.786960),
        ("resnet50", 23.508032),
        ("resnext50_32x4d", 22.979904),
        ("resnext101_32x8d", 86.742336),
        ("densenet121", 6.953856),
        ("densenet201", 18.092928),
        ("inception_resnet_v2", 54.306464),
        ("tf_efficientnetv2_b0", 5.858704),
        ("tf_efficientnetv2_l", 117.234272),
        ("vgg16", 134.260544),
        ("vgg19", 139.570240),
    ],
)
def test_named_backbones_have_the_published_number_of_parameters(name: str, millions: float) -> None:
    with torch.device("meta"):
        body = timm.create_model(name, num_classes=0)
    assert sum(parameter.numel() for parameter in body.parameters()) == round(millions * 1e6)


def test_x3_and_x4_have_the_published_number_of_trainable_parameters() -> None:
    for head in ({}, {"map_dropout": 0.4, "feature_dropout": 0.4}):
        classifier = build("tf_efficientnet_b0", num_classes=12, head=head)
        assert count_parameters(classifier)[1] == 4_022_920


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("efficientnet_b0", 32, {}),
        ("tf_efficientnetv2_b0", 32, {}),
        ("resnet18", 32, {}),
        ("resnext50_32x4d", 32, {}),
        ("densenet121", 32, {}),
        ("inception_resnet_v2", 80, {}),
        ("vgg16", 32, {"mlp_ratio": 1 / 64}),  # its first dense layer of 4,096 alone takes seconds to draw
        ("mobilenetv2_100", 32, {}),
        ("vit_tiny_patch16_224", 32, {}),
        ("convnext_atto", 32, {}),
    ],
)
def test_every_family_goes_forward_and_backward(name: str, size: int, options: dict[str, float]) -> None:
    torch.manual_seed(0)
    classifier = build(name, image_size=size, options=options)
    logits = classifier(torch.randn(2, 3, size, size))
    assert logits.shape == (2, 4)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 3])).backward()
    missing = [n for n, p in classifier.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    assert all(torch.isfinite(p.grad).all() for p in classifier.parameters() if p.grad is not None)


def test_joined_backbones_give_both_features_each_normalized_in_its_own_way() -> None:
    torch.manual_seed(0)
    joined = build(f"{SMALL}+tf_efficientnet_lite0").eval()
    first, second = joined.backbone.parts
    images = torch.rand(2, 3, 64, 64)
    spec = backbone_spec(SMALL)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    features = joined.features(images)
    assert torch.allclose(features[:, :512], first((images - mean) / std), atol=1e-5)
    assert torch.allclose(features[:, 512:], second((images - 0.5) / 0.5), atol=1e-4)
    assert backbone_spec(f"{SMALL}+tf_efficientnet_lite0").mean == (0.0, 0.0, 0.0)


def test_options_of_joined_backbones_name_the_one_they_are_for() -> None:
    joined = build(f"{SMALL}+mobilenetv2_100", options={"mobilenetv2_100.pad_type": "same"})
    assert "same" in type(joined.backbone.parts[1].conv_stem).__name__.lower()
    with pytest.raises(ModelError, match="names none of"):
        build(f"{SMALL}+mobilenetv2_100", options={"pad_type": "same"})


@pytest.mark.parametrize("name", [SMALL, "vit_tiny_patch16_224", "tf_efficientnet_lite0"])
def test_features_of_stages_end_with_the_networks_own(name: str) -> None:
    torch.manual_seed(0)
    staged = build(name, features="stages").eval()
    images = torch.randn(2, 3, 64, 64)
    own = torch.nn.functional.rms_norm(staged.backbone.body(images), (staged.backbone.body.num_features,))
    features = staged.features(images)
    assert features.shape[1] > own.shape[1]
    assert torch.allclose(features[:, -own.shape[1] :], own, atol=1e-4)


class TwoStages(torch.nn.Module):
    """A network whose maps are known: one of 2 x 2 pixels in two channels, one of a single pixel."""

    def forward_intermediates(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        wide = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]], [[2.0, 2.0], [2.0, 2.0]]]])
        scale = images[:, :1, :1, :1]
        return images, [scale * wide, scale.expand(-1, 3, -1, -1)]

    def forward_head(self, last: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[3.0, -4.0]]).expand(len(last), -1)


def test_each_stage_is_pooled_to_the_mean_and_deviation_of_its_maps_at_unit_scale() -> None:
    images = torch.ones(1, 3, 4, 4, requires_grad=True)
    features = StageFeatures(TwoStages())(images)
    # means 4 and 2 have root mean square sqrt(10); deviations sqrt(5) and 0 have sqrt(2.5); 3 and -4 have sqrt(12.5)
    expected = [4 / 10**0.5, 2 / 10**0.5, 2**0.5, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 3 / 12.5**0.5, -4 / 12.5**0.5]
    assert features[0].tolist() == pytest.approx(expected, abs=1e-5)
    features.sum().backward()  # a map without any deviation has no slope that is not a number
    assert images.grad is not None and torch.isfinite(images.grad).all()


def test_features_of_stages_are_those_of_the_networks_maps() -> None:
    torch.manual_seed(0)
    staged = build(SMALL, features="stages").eval()
    images = torch.randn(2, 3, 64, 64)
    pooled = []
    for stage in staged.backbone.body.forward_intermediates(images, intermediates_only=True):
        flat = stage.detach().double().flatten(2).numpy()
        for values in (flat.mean(axis=2), flat.std(axis=2)):
            square = (values**2).mean(axis=1, keepdims=True)
            pooled.append(values / np.sqrt(square + np.finfo(np.float32).eps))  # as torch's rms_norm has it
    found = staged.features(images).detach().numpy()
    assert found.shape[1] == sum(part.shape[1] for part in pooled) + 512
    np.testing.assert_allclose(found[:, :-512], np.concatenate(pooled, axis=1), atol=1e-4)


@pytest.mark.parametrize("name", [SMALL, "tf_efficientnet_lite0"])
def test_features_of_maps_are_the_last_maps_before_pooling(name: str) -> None:
    torch.manual_seed(0)
    flat, pooled = build(name, features="maps").eval(), build(name).eval()
    flat.backbone.body.load_state_dict(pooled.backbone.state_dict())
    images = torch.randn(2, 3, 96, 96)
    maps = flat.features(images)
    width = pooled.num_features
    assert maps.shape == (2, width * 9)
    assert torch.allclose(maps.view(2, width, 9).mean(2), pooled.features(images), atol=1e-5)


def test_c2_has_the_published_number_of_trainable_parameters_in_its_head() -> None:
    with torch.device("meta"):
        head = build_head(1536, 10, hidden=[512, 128], batch_norm=True, dropout=0.5)
        body = timm.create_model("inception_resnet_v2", num_classes=0)
    assert body.num_features == 1536
    assert sum(parameter.numel() for parameter in head.parameters()) == 855_178


def test_map_dropout_changes_training_and_nothing_else() -> None:
    torch.manual_seed(0)
    plain, dropping = build(SMALL), build(SMALL, head={"map_dropout": 0.5})
    dropping.backbone.body.load_state_dict(plain.backbone.state_dict())
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(plain.eval().features(images), dropping.eval().features(images))
    dropping.train()
    assert not torch.equal(dropping.features(images), dropping.features(images))


@pytest.mark.parametrize("name", [SMALL, "vit_tiny_patch16_224", f"{SMALL}+resnet18", "speed_cnn"])
@pytest.mark.parametrize("coarse", [True, False])
def test_depth_groups_hold_every_parameter_once_from_input_to_output(name: str, coarse: bool) -> None:
    backbone = build(name).backbone
    groups = depth_groups(backbone, coarse=coarse)
    listed = [name for group in groups for name in group]
    assert sorted(listed) == sorted(name for name, _ in backbone.named_parameters())
    if name == SMALL:
        assert any(parameter.startswith("conv1") for parameter in groups[0])
        assert all(parameter.startswith("layer4") for parameter in groups[-1])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (SMALL, {"head": {"hidden": [8], "batch_norm": True, "dropout": 0.1}}),
        (SMALL, {"head": {"cosine": True, "map_dropout": 0.2}}),
        (f"{SMALL}+resnet18", {}),
        (SMALL, {"features": "stages"}),
        (SMALL, {"features": "maps"}),
    ],
)
def test_a_bundle_brings_back_backbone_and_head(tmp_path: Path, name: str, settings: dict[str, object]) -> None:
    torch.manual_seed(0)
    classifier = build(name, **settings).eval()
    save_bundle(Bundle(classifier, ImageSpec(64, 64), tuple("abcd"), "none"), tmp_path / "model")
    again = load_bundle(tmp_path / "model").classifier
    images = torch.randn(2, 3, 64, 64)
    assert torch.allclose(classifier(images), again(images), atol=1e-6)


def test_names_that_do_not_exist_suggest_the_nearest() -> None:
    with pytest.raises(ModelError, match="resnet50"):
        build("resnet5O")
    with pytest.raises(ModelError, match=r"Known: resnet50\."):
        build("resnet50.nothing")


def test_a_size_the_backbone_cannot_take_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot take images of 8 px"):
        build("inception_resnet_v2", image_size=8)
