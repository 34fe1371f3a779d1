"""The size at which a backbone sees images, where nobody says."""

from __future__ import annotations

import pytest

from linnaeus.config.settings import PhaseConfig, RunConfig
from linnaeus.planning.fingerprint import Fingerprint
from linnaeus.planning.image import plan_image
from linnaeus.planning.plan import Plan

HEAD, FINETUNE = PhaseConfig(train="head"), PhaseConfig(train="all")


def planned(name: str, longest_px: int, *phases: PhaseConfig, size: int | str = "auto") -> int:
    config = RunConfig.model_validate({"model": {"name": name}, "image": {"size": size}})
    config = config.model_copy(update={"phases": phases})
    plan = plan_image(Plan(config, config), Fingerprint(1000, 10, longest_px, 1))
    config, [decision] = plan.config, plan.decisions
    assert decision.choice.startswith(f"{config.image.size} px") and decision.why
    assert isinstance(config.image.size, int)
    return config.image.size


@pytest.mark.parametrize(
    ("name", "head_alone", "finetuned"),
    [
        ("tf_efficientnet_lite0", 256, 224),  # timm tests it on the central 0.875 of images: 224 / 0.875
        ("resnet50", 288, 224),  # timm tests it on whole images of 288 px
        ("tf_efficientnetv2_b0", 256, 192),  # 224 / 0.875
        ("vit_small_patch16_224", 224, 224),  # its positions are those of 224 px
        ("mobilenetv2_100+resnet50", 256, 224),
    ],
)
def test_a_head_alone_sees_whole_images_as_large_as_the_backbone_was_tested(
    name: str, head_alone: int, finetuned: int
) -> None:
    assert planned(name, 500, HEAD) == planned(name, 500, HEAD, HEAD) == head_alone
    assert planned(name, 500, HEAD, FINETUNE) == planned(name, 500, FINETUNE) == finetuned
    assert planned(name, 500, HEAD, size=160) == 160


@pytest.mark.parametrize(
    ("longest_px", "head_alone", "finetuned"),
    [(8, 96, 96), (20, 160, 96), (28, 224, 128), (32, 224, 128), (48, 256, 192)],
)
def test_small_images_are_enlarged_more_where_they_are_seen_only_once(
    longest_px: int, head_alone: int, finetuned: int
) -> None:
    assert planned("tf_efficientnet_lite0", longest_px, HEAD) == head_alone
    assert planned("tf_efficientnet_lite0", longest_px, HEAD, FINETUNE) == finetuned
