"""Losses for several labels: each against its equation, written out plainly in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.config.settings import LossConfig
from linnaeus.losses import build_loss
from linnaeus.losses.multilabel import asymmetric_loss, binary_cross_entropy, squeezed_binary_cross_entropy


def batch(seed: int = 0, num: int = 9, labels: int = 5, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(num, labels, generator=generator)
    return logits, (torch.rand(num, labels, generator=generator) < 0.3).to(torch.uint8)


def plain(logits: torch.Tensor, targets: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and targets in float64."""
    return 1 / (1 + np.exp(-logits.double().numpy())), targets.double().numpy()


def test_bce_equals_torch_and_smoothing_moves_targets_to_the_middle() -> None:
    logits, targets = batch()
    expected = F.binary_cross_entropy_with_logits(logits, targets.float())
    torch.testing.assert_close(binary_cross_entropy(logits, targets).mean(), expected)
    p, y = plain(logits, targets)
    y = 0.8 * y + 0.1
    by_hand = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert binary_cross_entropy(logits, targets, label_smoothing=0.2).mean().item() == pytest.approx(by_hand, rel=1e-6)


@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 20))
def test_squeezed_bce_is_the_sum_of_binary_cross_entropies_on_the_squeezed_output(seed: int, scale: float) -> None:
    """s(p) = 0.99 p + 0.005; summed over labels, averaged over images."""
    logits, targets = batch(seed, scale=scale)
    p, y = plain(logits, targets)
    s = 0.99 * p + 0.005
    expected = -(y * np.log(s) + (1 - y) * np.log(1 - s)).sum(axis=1).mean()
    assert squeezed_binary_cross_entropy(logits, targets).mean().item() == pytest.approx(expected, rel=2e-6)


def test_squeezed_bce_to_the_digit() -> None:
    """p = 0.5 for one label that is there: -log 0.5; p = 0.9 for one that is not: -log(1 - 0.896)."""
    logits = torch.tensor([[0.0, math.log(9)]])
    loss = squeezed_binary_cross_entropy(logits, torch.tensor([[1, 0]]))
    assert loss.item() == pytest.approx(math.log(2) - math.log(0.104), rel=1e-6)


def test_squeezed_bce_is_bounded_and_has_finite_gradients_where_the_network_is_sure() -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = squeezed_binary_cross_entropy(logits, torch.tensor([[0, 1]]))
    loss.backward()
    assert loss.item() == pytest.approx(-2 * math.log(0.005), rel=1e-6)
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


@given(
    seed=st.integers(0, 1000),
    gamma_neg=st.sampled_from([0.0, 1.0, 4.0, 2.5]),
    gamma_pos=st.sampled_from([0.0, 1.0, 2.0]),
    clip=st.sampled_from([0.0, 0.05, 0.2]),
)
def test_asymmetric_loss_is_that_of_the_paper(seed: int, gamma_neg: float, gamma_pos: float, clip: float) -> None:
    """arXiv 2009.14119, equation 7: L+ = (1 - p)^g+ log p, L- = p_m^g- log(1 - p_m), p_m = max(p - m, 0)."""
    logits, targets = batch(seed)
    p, y = plain(logits, targets)
    shifted = np.maximum(p - clip, 0)
    present = (1 - p) ** gamma_pos * np.log(p)
    absent = shifted**gamma_neg * np.log(1 - shifted)
    expected = -(y * present + (1 - y) * absent).sum(axis=1).mean()
    found = asymmetric_loss(logits, targets, gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip)
    assert found.mean().item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_asymmetric_loss_without_its_parameters_is_the_sum_of_cross_entropies() -> None:
    logits, targets = batch()
    found = asymmetric_loss(logits, targets, gamma_neg=0.0, gamma_pos=0.0, clip=0.0)
    torch.testing.assert_close(found, binary_cross_entropy(logits, targets) * targets.shape[1])


def test_absent_labels_below_the_clip_have_no_gradient() -> None:
    logits = torch.tensor([[-5.0, -1.0]], requires_grad=True)  # probabilities 0.007 and 0.27
    asymmetric_loss(logits, torch.tensor([[0, 0]]), gamma_neg=4.0, gamma_pos=1.0, clip=0.05).sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] == 0 and logits.grad[0, 1] > 0


@pytest.mark.parametrize("name", ["bce", "squeezed_bce", "asymmetric"])
def test_the_configured_loss_takes_soft_targets_and_any_logits(name: str) -> None:
    logits, targets = batch(scale=60.0)
    logits.requires_grad_()
    loss = build_loss(LossConfig(name=name))(logits, 0.7 * targets.float() + 0.1)
    loss.backward()
    assert torch.isfinite(loss) and logits.grad is not None and torch.isfinite(logits.grad).all()
    right = torch.where(targets > 0, 9.0, -9.0)
    assert build_loss(LossConfig(name=name))(right, targets) < build_loss(LossConfig(name=name))(-right, targets)


def test_asymmetric_takes_its_numbers_from_the_configuration() -> None:
    logits, targets = batch()
    config = LossConfig(name="asymmetric", gamma_neg=2.0, gamma_pos=0.5, clip=0.1)
    expected = asymmetric_loss(logits, targets, gamma_neg=2.0, gamma_pos=0.5, clip=0.1)
    torch.testing.assert_close(build_loss(config)(logits, targets), expected.mean())
