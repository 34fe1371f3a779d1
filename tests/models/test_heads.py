"""Heads: counts, equations, and what an average of them is."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from linnaeus.errors import ModelError
from linnaeus.models.classifier import count_parameters
from linnaeus.models.heads import build_head, shift_logits


def dense(*widths: int) -> int:
    """Weights and biases of a chain of dense layers."""
    return sum(before * after + after for before, after in itertools.pairwise(widths))


@pytest.mark.parametrize(
    ("features", "hidden", "classes", "trainable"),
    [
        (1536, (512, 128), 10, 855_178),  # C2: 786,944 + 65,664 + 1,290, and two batch norms of 2 x 512 and 2 x 128
        (1280, (512, 256, 128), 8, dense(1280, 512, 256, 128, 8) + 2 * (512 + 256 + 128)),
        (2048, (), 12, dense(2048, 12)),
    ],
)
def test_heads_have_the_published_number_of_parameters(
    features: int, hidden: tuple[int, ...], classes: int, trainable: int
) -> None:
    head = build_head(features, classes, hidden=hidden, batch_norm=True, dropout=0.4)
    assert count_parameters(head)[1] == trainable


def test_a_plain_head_is_one_linear_layer_that_starts_undecided() -> None:
    head = build_head(100, 4)
    assert isinstance(head, nn.Linear)
    probabilities = head(torch.randn(50, 100)).softmax(1)
    assert (probabilities - 0.25).abs().max() < 0.1


def test_each_hidden_layer_is_followed_by_activation_norm_and_dropout() -> None:
    head = build_head(6, 3, hidden=(5, 4), activation="mish", batch_norm=True, dropout=0.2, feature_dropout=0.1)
    kinds = [type(layer).__name__ for layer in head.children()]
    block = ["Linear", "Mish", "BatchNorm1d", "Dropout"]
    assert kinds == ["Dropout", *block, *block, "Linear"]


def test_cosine_logits_do_not_depend_on_the_length_of_features() -> None:
    head = build_head(8, 3, cosine=True)
    features = torch.randn(5, 8)
    assert torch.allclose(head(features), head(7 * features), atol=1e-5)
    weight = dict(head.named_parameters())["weight"]
    cosine = nn.functional.cosine_similarity(features[:, None], weight[None], dim=2)
    assert torch.allclose(head(features), 16 * cosine, atol=1e-5)


@pytest.mark.parametrize("hidden", [[], [8]])
def test_shifted_logits_are_the_same_for_every_image(hidden: list[int]) -> None:
    torch.manual_seed(0)
    head, features = build_head(6, 3, hidden=hidden), torch.randn(4, 6)
    before, amounts = head(features), torch.tensor([1.0, -2.0, 0.5])
    shift_logits(head, amounts)
    torch.testing.assert_close(head(features), before + amounts)


def test_a_head_without_a_bias_cannot_be_shifted() -> None:
    with pytest.raises(ModelError, match=r"loss\.logit_adjustment"):
        shift_logits(build_head(6, 3, cosine=True), torch.zeros(3))
