"""What a phase trains: the parameters it names, at the rates it names, in the mode it names."""

from __future__ import annotations

import pytest
import torch

from linnaeus.config.resolved import ResolvedPhase
from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.models import build_classifier
from linnaeus.models.classifier import Classifier
from linnaeus.training.optim import build_optimizers
from linnaeus.training.phases import (
    depth_scales,
    fixed_parameters,
    moving_average,
    on_features,
    set_mode,
    set_trainable,
)


def network(name: str = "resnet10t") -> Classifier:
    torch.manual_seed(0)
    return build_classifier(name, num_classes=3, image_size=32, options={})


def phase(**settings: object) -> ResolvedPhase:
    return ResolvedPhase.model_validate({"batch_size": 4, "epochs": 1, **settings})


def trained(classifier: Classifier) -> set[str]:
    return {".".join(name.split(".")[:2]) for name, p in classifier.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"train": "head"}, set()),
        ({"last_stages": 1}, {"backbone.layer4"}),
        ({"last_stages": 2}, {"backbone.layer4", "backbone.layer3"}),
        ({}, {"backbone.conv1", "backbone.bn1", *(f"backbone.layer{k}" for k in range(1, 5))}),
    ],
)
def test_only_what_the_phase_names_is_trained(settings: dict[str, object], expected: set[str]) -> None:
    classifier = network()
    set_trainable(classifier, phase(**settings), fixed=frozenset())
    assert trained(classifier) == expected | {"head.weight", "head.bias"}


def test_the_last_layers_are_the_last_blocks_with_parameters() -> None:
    classifier = network("resnet18")
    set_trainable(classifier, phase(last_layers=1), fixed=frozenset())
    names = [name for name, p in classifier.backbone.named_parameters() if p.requires_grad]
    assert names and all(name.startswith("layer4.1.") for name in names)


def test_what_an_architecture_fixes_stays_fixed_through_all_phases() -> None:
    classifier = build_classifier("speed_cnn", num_classes=3, image_size=32, options={"widths": [8, 16, 16]})
    fixed = fixed_parameters(classifier)
    assert "backbone.whiten.weight" in fixed
    for settings in ({"train": "head"}, {}):
        set_trainable(classifier, phase(**settings), fixed=fixed)
        assert not any(p.requires_grad for name, p in classifier.named_parameters() if name in fixed)


def test_rates_fall_from_stage_to_stage_towards_the_input() -> None:
    classifier = network()
    settings = phase(layer_decay=0.5, lr=0.8, optimizer="adamw", weight_decay=0.1)
    groups = build_optimizers(classifier, settings)[0].param_groups
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    found = {name: rate[id(p)] for name, p in classifier.named_parameters()}
    assert found["head.weight"] == pytest.approx(0.8)
    stages = ["layer4", "layer3", "layer2", "layer1"]
    for depth, stage in enumerate(stages, 1):
        values = {value for name, value in found.items() if name.startswith(f"backbone.{stage}.")}
        assert len(values) == 1 and values.pop() == pytest.approx(0.8 * 0.5**depth)
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    vectors = [decay[id(p)] for p in classifier.parameters() if p.ndim == 1]
    assert set(vectors) == {0.0}
    assert len(rate) == len(list(classifier.parameters()))
    assert max(depth_scales(classifier, settings).values()) == 0.5


@pytest.mark.parametrize("settings", [{"batch_norm": "frozen"}, {"train": "head"}])
def test_frozen_batch_norm_keeps_its_statistics(settings: dict[str, object]) -> None:
    classifier = network()
    set_mode(classifier, phase(**settings))
    before = {k: v.clone() for k, v in classifier.state_dict().items() if "running" in k}
    classifier(torch.randn(4, 3, 32, 32))
    assert all(torch.equal(value, classifier.state_dict()[key]) for key, value in before.items())
    set_mode(classifier, phase())
    classifier(torch.randn(4, 3, 32, 32))
    assert not all(torch.equal(value, classifier.state_dict()[key]) for key, value in before.items())


def test_the_moving_average_is_that_of_its_equation() -> None:
    classifier = network()
    average = moving_average(classifier, phase(ema_decay=0.75))
    assert average is not None
    assert isinstance(classifier.head, torch.nn.Linear) and isinstance(average.module, Classifier)
    wanted = None
    for step in range(4):
        with torch.no_grad():
            classifier.head.bias.fill_(float(step))
        average.update(classifier, first=step == 0)
        wanted = float(step) if wanted is None else 0.75 * wanted + 0.25 * step
    assert wanted is not None
    assert isinstance(average.module.head, torch.nn.Linear)
    assert torch.allclose(average.module.head.bias, torch.full((3,), wanted))
    assert moving_average(classifier, phase()) is None


def test_features_are_used_where_nothing_makes_them_differ() -> None:
    def config(**head: float) -> RunConfig:
        return parse_config({"model": {"head": head}})

    assert on_features(config(), phase(train="head"))
    assert not on_features(config(), phase())
    assert not on_features(config(map_dropout=0.4), phase(train="head"))
