"""Settings that change nothing are named, with what would use them; those that do something are not."""

from __future__ import annotations

from typing import Any

import pytest

from linnaeus.config.pages import overlay, read_recipe, recipe_names
from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.data.manifest import Task
from linnaeus.planning.idle_settings import USED, USED_BY_TASK, USED_IN_PHASE, plan_idle_settings
from linnaeus.planning.plan import Plan

HEAD = {"phases": [{"name": "head", "train": "head", "optimizer": "lbfgs"}]}


def idle(asked: dict[str, Any], recipe: dict[str, Any] | None = None, task: Task = "single") -> list[str]:
    config = parse_config(overlay(recipe or {}, asked))
    return [decision.what for decision in plan_idle_settings(Plan(parse_config(asked), config), task=task).decisions]


@pytest.mark.parametrize(
    ("name", "value", "user"),
    [
        ("loss.gamma", 3.0, {"loss": {"name": "focal"}}),
        ("loss.gamma_neg", 2.0, {"loss": {"name": "asymmetric"}}),
        ("loss.gamma_pos", 0.5, {"loss": {"name": "asymmetric"}}),
        ("loss.clip", 0.1, {"loss": {"name": "asymmetric"}}),
        ("loss.beta", 0.9, {"loss": {"class_weights": "effective"}}),
        ("data.balance_growth", 2.0, {"data": {"balance": "oversample"}}),
        ("data.fold_training", "finetune", {"data": {"folds": 3}}),
        ("augment.policy_operations", 3, {"augment": {"policy": "rand_augment"}}),
        ("augment.policy_level", 5, {"augment": {"policy": "rand_augment"}}),
        ("augment.alternate_flip", True, {"augment": {"flip": "horizontal"}}),
        ("augment.fill", "zeros", {"augment": {"shear_degrees": 5}}),
        ("augment.distribution", "normal", {"augment": {"shift": 0.1}}),
        ("model.weights", "none", {"model": {"name": "resnet50"}}),
        ("model.allow_download", True, {"model": {"name": "resnet50"}}),
    ],
)
def test_a_knob_of_something_turned_off_is_named(name: str, value: object, user: dict[str, Any]) -> None:
    section, field = name.split(".")
    asked = {section: {field: value}}
    assert idle(asked, {"model": {"name": "mish_cnn"}}) == [name]
    assert idle(asked, overlay({"model": {"name": "mish_cnn"}}, user)) == []


@pytest.mark.parametrize(
    ("name", "value", "user"),
    [
        ("momentum", 0.8, {"optimizer": "sgd"}),
        ("filter_momentum", 0.5, {"optimizer": "muon"}),
        ("smoothing", 0.8, {"optimizer": "rmsprop"}),
        ("drop", 0.5, {"schedule": "step"}),
        ("drop_epochs", 3, {"schedule": "plateau"}),
        ("feature_views", 2, {"train": "head"}),
    ],
)
def test_so_is_a_knob_of_another_optimizer_or_schedule(name: str, value: object, user: dict[str, Any]) -> None:
    asked = {"phases": [{name: value}]}
    assert idle(asked, {"phases": [{"name": "a"}]}) == [f"phases.0.{name}"]
    assert idle(asked, {"phases": [{"name": "a", **user}]}) == []


@pytest.mark.parametrize("name", ["lr", "warmup", "weight_decay", "ema"])
def test_a_head_that_is_solved_for_has_no_steps(name: str) -> None:
    asked = {"phases": [{name: 0.5}]}
    assert idle(asked, HEAD) == [f"phases.0.{name}"]
    assert idle(asked, overlay(HEAD, {"phases": [{"optimizer": "adam"}]})) == []


def test_heads_on_features_see_augmented_images_only_in_several_views_and_never_blended_ones() -> None:
    asked = {"augment": {"brightness": 0.2, "mixup": 0.4}}
    views = overlay(HEAD, {"phases": [{"feature_views": 3}]})
    finetuned = {"phases": [*HEAD["phases"], {"name": "finetune"}]}
    assert idle(asked, HEAD) == ["augment.brightness", "augment.mixup"]
    assert idle(asked, views) == ["augment.mixup"]
    assert idle(asked, finetuned) == []


def test_flips_count_without_being_seen_because_mirror_views_are_offered_where_training_flips() -> None:
    assert idle({"augment": {"flip": "horizontal"}}, HEAD) == []


def test_how_several_labels_are_decided_means_nothing_for_one_and_the_other_way_round() -> None:
    asked = {"evaluate": {"thresholds": "common", "decide": "f1"}}
    assert idle(asked, task="single") == ["evaluate.thresholds"]
    assert idle(asked, task="multi") == ["evaluate.decide"]


@pytest.mark.parametrize("recipe", recipe_names())
def test_a_recipe_by_itself_is_never_blamed(recipe: str) -> None:
    assert idle({"seed": 1}, read_recipe(recipe)) == []


def test_what_says_its_default_is_no_mistake() -> None:
    assert idle({"loss": {"gamma": 2.0}, "data": {"balance_growth": 4.0}}) == []


def test_every_name_is_a_setting() -> None:
    config = RunConfig()
    for name in (*USED, *USED_BY_TASK):
        section, field = name.split(".")
        assert field in type(getattr(config, section)).model_fields
    assert set(USED_IN_PHASE) <= set(type(config.phases[0]).model_fields)
