"""The plan for several labels: a loss and a score that fit, and plain words where what was asked for does not."""

from __future__ import annotations

import dataclasses

import pytest

from linnaeus.config.pages import read_recipe
from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.errors import ConfigError
from linnaeus.planning.fingerprint import Fingerprint
from linnaeus.planning.labels import plan_labels
from linnaeus.planning.plan import Plan
from linnaeus.planning.recipe import choose_recipe


def plan(page: dict, asked: dict | None = None, *, task: str = "multi") -> tuple[RunConfig, dict[str, str]]:
    settled = plan_labels(Plan(parse_config(asked or {}), parse_config(page)), task=task)  # type: ignore[arg-type]
    return settled.config, {decision.what: decision.choice for decision in settled.decisions}


def recipe_for(asked: dict, fingerprint: Fingerprint) -> str:
    config = parse_config(asked)
    [decision] = choose_recipe(Plan(config, config), fingerprint, lambda _: config).decisions
    return decision.choice


def test_one_label_changes_nothing() -> None:
    page = {"loss": {"name": "cross_entropy", "label_smoothing": 0.1}}
    config, decisions = plan(page, task="single")
    assert config == parse_config(page) and decisions == {}


def test_a_recipe_for_one_label_is_made_to_fit() -> None:
    page = {
        "loss": {"label_smoothing": 0.1},
        "phases": [
            {
                "name": "a",
                "monitor": "validation_balanced_accuracy",
                "early_stopping": {"monitor": "validation_accuracy"},
            },
            {"name": "b", "monitor": "last"},
        ],
    }
    config, decisions = plan(page)
    assert (config.loss.name, config.loss.label_smoothing) == ("bce", 0.0)
    assert [phase.monitor for phase in config.phases] == ["validation_mean_average_precision", "last"]
    assert config.phases[0].early_stopping is not None
    assert config.phases[0].early_stopping.monitor == "validation_mean_average_precision"
    assert decisions["loss"] == "bce" and decisions["label smoothing"] == "none"


def test_what_the_user_asked_for_stays() -> None:
    config, _ = plan({"loss": {"name": "asymmetric"}, "phases": [{"name": "a", "monitor": "validation_micro_f1"}]})
    assert config.loss.name == "asymmetric" and config.phases[0].monitor == "validation_micro_f1"
    config, decisions = plan({"loss": {"label_smoothing": 0.2}}, {"loss": {"label_smoothing": 0.2}})
    assert config.loss.label_smoothing == 0.2 and "label smoothing" not in decisions


@pytest.mark.parametrize(
    ("page", "task", "words"),
    [
        ({"loss": {"name": "cross_entropy"}}, "multi", "these have several"),
        ({"loss": {"name": "bce"}}, "single", "these have one"),
        (
            {"phases": [{"name": "a", "monitor": "validation_micro_f1"}]},
            "single",
            r"phases\.0\.monitor=validation_micro_f1",
        ),
        (
            {"phases": [{"name": "a", "early_stopping": {"monitor": "validation_mean_average_precision"}}]},
            "single",
            r"phases\.0\.early_stopping\.monitor",
        ),
    ],
)
def test_what_cannot_be_is_refused(page: dict, task: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan(page, page, task=task)


def test_smoothing_that_a_loss_does_not_know_is_never_silently_dropped() -> None:
    config, decisions = plan({"loss": {"name": "asymmetric", "label_smoothing": 0.1}})
    assert config.loss.label_smoothing == 0.0 and decisions["label smoothing"] == "none"
    page = {"loss": {"name": "asymmetric", "label_smoothing": 0.1}}
    with pytest.raises(ConfigError, match=r"label_smoothing has no meaning for loss\.name=asymmetric"):
        plan(page, asked=page)


def test_a_backbone_for_several_labels_has_a_recipe_of_its_own() -> None:
    page = {"model": {"name": "resnet18"}}
    several = Fingerprint(num_train=500, num_classes=3, width=200, height=200, task="multi")
    assert recipe_for(page, several) == "best-multilabel"
    assert recipe_for(page, dataclasses.replace(several, task="single")) == "best-transfer"
    assert recipe_for({}, several) == "best-frozen"


def test_the_recipe_for_several_labels_needs_no_change_by_the_plan() -> None:
    config = parse_config(read_recipe("best-multilabel"))
    planned = plan_labels(Plan(RunConfig(), config), task="multi")
    assert planned.config == config and planned.decisions == ()
