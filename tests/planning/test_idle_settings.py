"""Settings that change nothing are named, with what would use them; those that do something are not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from linnaeus.config.conditions import conditions_of
from linnaeus.config.pages import overlay, read_recipe, recipe_names
from linnaeus.config.settings import SECTIONS, parse_config
from linnaeus.data.manifest import Task
from linnaeus.planning.idle_settings import SITUATIONS, plan_idle_settings
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
        ("data.oversample_factor", 2.0, {"data": {"balance": "oversample"}}),
        ("data.fold_training", "finetune", {"data": {"folds": 3}}),
        ("augment.policy_num_ops", 3, {"augment": {"policy": "rand_augment"}}),
        ("augment.policy_magnitude", 5, {"augment": {"policy": "rand_augment"}}),
        ("augment.alternate_flip", True, {"augment": {"flip": "horizontal"}}),
        ("augment.fill", "zeros", {"augment": {"shear_degrees": 5}}),
        ("augment.distribution", "normal", {"augment": {"translate": 0.1}}),
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
        ("muon_momentum", 0.5, {"optimizer": "muon"}),
        ("rmsprop_alpha", 0.8, {"optimizer": "rmsprop"}),
        ("lr_decay_factor", 0.5, {"schedule": "step"}),
        ("lr_decay_epochs", 3, {"schedule": "plateau"}),
        ("feature_views", 2, {"train": "head"}),
    ],
)
def test_so_is_a_knob_of_another_optimizer_or_schedule(name: str, value: object, user: dict[str, Any]) -> None:
    asked = {"phases": [{name: value}]}
    assert idle(asked, {"phases": [{"name": "a"}]}) == [f"phases.0.{name}"]
    assert idle(asked, {"phases": [{"name": "a", **user}]}) == []


@pytest.mark.parametrize("name", ["lr", "warmup_fraction", "weight_decay", "ema_decay"])
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


def test_flips_count_without_being_seen_because_flip_tta_is_suggested_where_training_flips() -> None:
    assert idle({"augment": {"flip": "horizontal"}}, HEAD) == []


def test_how_several_labels_are_decided_means_nothing_for_one_and_the_other_way_round() -> None:
    asked = {"evaluate": {"thresholds": "global", "decide": "f1"}}
    assert idle(asked, task="single") == ["evaluate.thresholds"]
    assert idle(asked, task="multi") == ["evaluate.decide"]


@pytest.mark.parametrize("recipe", recipe_names())
def test_a_recipe_by_itself_is_never_blamed(recipe: str) -> None:
    assert idle({"seed": 1}, read_recipe(recipe)) == []


def test_what_says_its_default_is_no_mistake() -> None:
    assert idle({"loss": {"gamma": 2.0}, "data": {"oversample_factor": 4.0}}) == []


def test_prediction_sets_are_for_several_labels_too() -> None:
    """The plan said that `evaluate.coverage` has no effect there."""
    assert idle({"evaluate": {"coverage": 0.8}}, task="multi") == idle({"evaluate": {"coverage": 0.8}}) == []


def test_what_asks_for_no_folds_is_named_where_there_are_folds() -> None:
    asked = {"data": {"out_of_fold": 3}}
    assert idle(asked, HEAD) == []
    assert idle(asked, overlay(HEAD, {"data": {"folds": 4}})) == ["data.out_of_fold"]


ALWAYS = {
    "data": """source format image_column label_columns image_root image_shape corrections classes top_classes
        box_padding min_box_size_px test_data validation_fraction validation_max folds balance test_fraction""",
    "image": "size resize interpolation normalize",
    "augment": "flip",
    "model": "name options head",
    "head": "hidden activation batch_norm dropout feature_dropout map_dropout cosine",
    "loss": "name label_smoothing class_weights logit_adjustment l1 l2",
    "phases": "name train batch_norm optimizer monitor",
    "early_stopping": "monitor patience min_delta",
    "evaluate": """tta logit_adjustment confidence coverage in_distribution_fraction targets costs bootstrap_samples
        explained_errors batch_size""",
    "runtime": "device devices precision threads checkpoint_seconds log_every_steps tensorboard",
}
"""Fields that act in every run, or are refused where they would not. Whoever adds a field decides: here, or by a marker
that says when it acts."""


@pytest.mark.parametrize("section", SECTIONS)
def test_a_field_either_always_acts_or_says_when(section: str) -> None:
    always = {name for name in SECTIONS[section].model_fields if not conditions_of(SECTIONS[section], name)}
    assert always == set(ALWAYS[section].split())


@pytest.mark.parametrize("section", SECTIONS)
def test_conditions_name_fields_and_values_that_there_are(section: str) -> None:
    for name in SECTIONS[section].model_fields:
        conditions = conditions_of(SECTIONS[section], name)
        assert set(conditions.only_for) <= set(SITUATIONS)
        for marker in conditions.only_with:
            for other in marker.fields:
                for value in (*marker.values, *marker.but):
                    field = SECTIONS[section].model_fields[other]
                    assert field.annotation is not None
                    TypeAdapter(field.annotation).validate_python(value)
