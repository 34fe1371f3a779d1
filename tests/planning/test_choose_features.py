"""Which features of a backbone a head stands on, where nobody says."""

from __future__ import annotations

import pytest
import timm
from torch.nn import Linear

from linnaeus.config.settings import HeadConfig, ModelConfig, PhaseConfig, RunConfig
from linnaeus.planning.plan import Plan
from linnaeus.planning.transfer import choose_features

HEAD, FINETUNE = PhaseConfig(train="head"), PhaseConfig(train="all")


def chosen(name: str, *phases: PhaseConfig, **settings: object) -> str:
    config = RunConfig(model=ModelConfig(name=name, **settings), phases=phases)
    plan = choose_features(Plan(config, config))
    model, [decision] = plan.config.model, plan.decisions
    assert decision.choice == model.features
    return model.features


def test_a_head_alone_stands_on_all_stages() -> None:
    assert chosen("resnet18", HEAD) == "stages"
    assert chosen("resnet18", HEAD, HEAD) == "stages"
    assert chosen("resnet18+resnet34", HEAD) == "stages"


def test_everything_else_stands_on_the_last_layer() -> None:
    assert chosen("resnet18", HEAD, FINETUNE) == "last"
    assert chosen("resnet18+resnet34", HEAD, FINETUNE) == "last"
    assert chosen("resnet18", HEAD, head=HeadConfig(map_dropout=0.4)) == "last"


def test_a_backbone_without_stages_keeps_all_that_stand_beside_it_on_the_last_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **more: Linear(1, 1) if name == "resnet34" else create(name))
    assert chosen("resnet18", HEAD) == "stages"
    assert chosen("resnet34", HEAD) == "last"
    assert chosen("resnet18+resnet34", HEAD) == chosen("resnet34+resnet18", HEAD) == "last"


def test_what_is_asked_for_stays() -> None:
    assert chosen("resnet18", HEAD, features="last") == "last"
    assert chosen("resnet18", HEAD, FINETUNE, features="stages") == "stages"
