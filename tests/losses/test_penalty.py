"""Penalties on the size of weights: Keras' l1 and l2, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from linnaeus.errors import ConfigError
from linnaeus.losses.penalty import choose_penalties, weight_penalty
from linnaeus.models.classifier import Classifier


def network() -> Classifier:
    """Convolutions of -1s (8 weights) and 3s (4), dense layers of 2s (6) and of -4s (3, the head); biases of 5s."""
    first, second, dense, head = nn.Conv2d(1, 2, 2), nn.Conv2d(2, 2, 1), nn.Linear(2, 3), nn.Linear(3, 1)
    backbone = nn.Sequential(first, nn.BatchNorm2d(2), second, nn.Flatten(), dense, nn.BatchNorm1d(3))
    classifier = Classifier(backbone, head, name="test", options={})
    for parameter in classifier.parameters():
        nn.init.constant_(parameter, 5.0)
    for weight, value in ((first.weight, -1.0), (second.weight, 3.0), (dense.weight, 2.0), (head.weight, -4.0)):
        nn.init.constant_(weight, value)
    return classifier


def cost(l1: dict[str, float], l2: dict[str, float]) -> float:
    return weight_penalty(choose_penalties(network(), l1=l1, l2=l2)).item()


@pytest.mark.parametrize(
    ("factors", "l1", "l2"),
    [
        ({}, 0, 0),
        ({"convolutions": 0.5}, (8 + 12) / 2, (8 + 36) / 2),
        ({"dense": 0.25}, (12 + 12) / 4, (24 + 48) / 4),
        ({"head": 0.5}, 12 / 2, 48 / 2),
        ({"all": 0.5}, (20 + 24) / 2, (44 + 72) / 2),
        ({"convolutions": 0.5, "all": 1.0}, 10 + 44, 22 + 116),
        ({"convolutions[-1:]": 1.0}, 12, 36),
        ({"convolutions[:1]": 1.0}, 8, 8),
        ({"dense[1:]": 1.0, "dense[0:1]": 2.0}, 12 + 24, 48 + 48),
        ({"all[1:3]": 1.0}, 12 + 12, 36 + 24),
    ],
)
def test_the_penalty_is_the_factor_times_the_sum_over_the_named_layers(
    factors: dict[str, float], l1: float, l2: float
) -> None:
    assert cost(factors, {}) == pytest.approx(l1)
    assert cost({}, factors) == pytest.approx(l2)
    assert cost(factors, factors) == pytest.approx(l1 + l2)


def test_it_pulls_weights_and_neither_biases_nor_norms() -> None:
    """The derivative of a |w| + b w^2 is a sign(w) + 2 b w."""
    classifier = network()
    weight_penalty(choose_penalties(classifier, l1={"all": 0.25}, l2={"all": 0.5})).backward()
    assert isinstance(classifier.backbone, nn.Sequential)
    first, norm, _, _, dense, _ = classifier.backbone
    assert isinstance(first, nn.Conv2d) and isinstance(dense, nn.Linear) and isinstance(norm, nn.BatchNorm2d)
    assert isinstance(classifier.head, nn.Linear)
    gradients = [layer.weight.grad for layer in (first, dense, classifier.head)]
    for gradient, expected in zip(
        gradients, (torch.full((2, 1, 2, 2), -1.25), torch.full((3, 2), 2.25), torch.full((1, 3), -4.25)), strict=True
    ):
        assert gradient is not None and torch.equal(gradient, expected)
    assert (
        first.bias is not None
        and first.bias.grad is None
        and classifier.head.bias.grad is None
        and norm.weight.grad is None
    )


def test_frozen_layers_pay_nothing_while_they_are_frozen() -> None:
    classifier = network()
    penalties = choose_penalties(classifier, l1={}, l2={"all": 1.0})
    classifier.backbone.requires_grad_(False)
    assert weight_penalty(penalties).item() == pytest.approx(48)
    classifier.backbone.requires_grad_(True)
    assert weight_penalty(penalties).item() == pytest.approx(116)


@pytest.mark.parametrize("name", ["convolutions[2:]", "dense[:-2]"])
def test_a_name_that_takes_no_layer_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match="no layer of this network"):
        choose_penalties(network(), l1={name: 1.0}, l2={})
