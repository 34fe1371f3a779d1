"""Losses for one label per image, against torch and numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from linnaeus.config import LossConfig
from linnaeus.losses import build_loss


def _logits(num: int = 7, classes: int = 4) -> torch.Tensor:
    return torch.randn(num, classes, generator=torch.Generator().manual_seed(0))


def test_cross_entropy_by_hand() -> None:
    """Logits log 1, log 3: probabilities 1/4 and 3/4."""
    logits = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    loss = build_loss(LossConfig())(logits, torch.tensor([0, 1]))
    assert loss.shape == () and loss.item() == pytest.approx(-(math.log(1 / 4) + math.log(3 / 4)) / 2)


def test_label_smoothing_by_hand() -> None:
    """Smoothing 0.2 over two classes: the target (1, 0) becomes (0.9, 0.1)."""
    logits = torch.tensor([[0.0, math.log(3)]])
    loss = build_loss(LossConfig(label_smoothing=0.2))(logits, torch.tensor([0]))
    assert loss.item() == pytest.approx(-(0.9 * math.log(1 / 4) + 0.1 * math.log(3 / 4)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_soft_targets_that_are_certain_equal_hard_ones_and_torch(smoothing: float) -> None:
    logits, targets = _logits(), torch.tensor([0, 1, 2, 3, 0, 1, 2])
    loss = build_loss(LossConfig(label_smoothing=smoothing))
    expected = F.cross_entropy(logits, targets, label_smoothing=smoothing)
    torch.testing.assert_close(loss(logits, targets), expected)
    torch.testing.assert_close(loss(logits, F.one_hot(targets, 4).float()), expected)


def test_mixed_targets_give_the_mixture_of_the_losses() -> None:
    """Mixup's identity: the loss of the mixed target is the mixture of both targets' losses."""
    logits, first, second = _logits(3), torch.tensor([0, 1, 2]), torch.tensor([3, 2, 2])
    loss = build_loss(LossConfig(label_smoothing=0.1))
    mixed = 0.3 * F.one_hot(first, 4).float() + 0.7 * F.one_hot(second, 4).float()
    torch.testing.assert_close(loss(logits, mixed), 0.3 * loss(logits, first) + 0.7 * loss(logits, second))


@pytest.mark.parametrize("name", ["cross_entropy", "bce", "squeezed_bce", "asymmetric"])
def test_a_weight_of_2_is_an_image_twice_and_one_of_0_none(name: str) -> None:
    """Up to the number of images that the mean divides by."""
    logits = _logits(4, 3)
    several = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]])
    targets = torch.tensor([0, 1, 2, 1]) if name == "cross_entropy" else several
    loss = build_loss(LossConfig.model_validate({"name": name}))
    weighted = loss(logits, targets, torch.tensor([2.0, 1.0, 0.0, 1.0]))
    rows = torch.tensor([0, 0, 1, 3])
    torch.testing.assert_close(weighted, loss(logits[rows], targets[rows]))
    assert not torch.isclose(weighted, loss(logits, targets))


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits, targets = _logits().bfloat16(), torch.tensor([0, 1, 2, 3, 0, 1, 2])
    loss = build_loss(LossConfig())(logits, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(logits.float(), targets))
