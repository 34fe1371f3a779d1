"""Losses for one label per image, against torch and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from torchvision.ops import sigmoid_focal_loss

from linnaeus.config.settings import LossConfig
from linnaeus.losses import build_class_weights, build_loss, cross_entropy, focal_loss
from linnaeus.losses.multilabel import binary_focal_loss


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


COUNTS = torch.tensor([50.0, 30.0, 15.0, 5.0])
TARGETS = torch.tensor([0, 1, 2, 3, 0, 1, 2])


def test_weighted_cross_entropy_is_torchs_up_to_the_divisor() -> None:
    """torch's mean divides by the weights in the batch, ours by its length."""
    weights = torch.tensor([0.5, 1.0, 2.0, 3.0])
    for smoothing in (0.0, 0.1):
        peer = torch.nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)(_logits(), TARGETS)
        ours = cross_entropy(_logits(), TARGETS, label_smoothing=smoothing, class_weights=weights)
        torch.testing.assert_close(ours.sum(), peer * weights[TARGETS].sum())
        soft = cross_entropy(_logits(), F.one_hot(TARGETS, 4).float(), label_smoothing=smoothing, class_weights=weights)
        torch.testing.assert_close(soft, ours)


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.repeat(np.arange(4), COUNTS.int().numpy())
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    weights = build_class_weights(LossConfig(class_weights="balanced"), COUNTS)
    assert weights is not None
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)


def test_effective_weights_are_those_of_the_paper() -> None:
    """arXiv 1901.05555: E_n = (1 - beta^n) / (1 - beta), weights 1 / E_n scaled to add up to the number of classes."""
    weights = build_class_weights(LossConfig(class_weights="effective", beta=0.9), COUNTS)
    effective = np.array([sum(0.9**k for k in range(int(n))) for n in COUNTS])
    expected = 1 / effective
    assert weights is not None
    np.testing.assert_allclose(weights.numpy(), 4 * expected / expected.sum(), rtol=1e-5)
    even = build_class_weights(LossConfig(class_weights="effective", beta=0.0), COUNTS)
    assert even is not None and torch.equal(even, torch.ones(4))


@pytest.mark.parametrize("kind", ["balanced", "effective"])
def test_a_class_without_images_has_no_weight_and_no_infinity(kind: str) -> None:
    weights = build_class_weights(LossConfig.model_validate({"class_weights": kind}), torch.tensor([4.0, 0.0, 4.0]))
    assert weights is not None and weights.tolist() == pytest.approx([1.0, 0.0, 1.0])


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.5])
def test_focal_loss_of_two_classes_is_torchvisions(gamma: float) -> None:
    """A softmax over (0, z) is a sigmoid of z."""
    z, targets = 2 * _logits(9, 1), torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 1])
    peer = sigmoid_focal_loss(z[:, 0], targets.float(), alpha=-1, gamma=gamma, reduction="none")
    ours = focal_loss(torch.cat([torch.zeros_like(z), z], dim=1), targets, gamma=gamma)
    torch.testing.assert_close(ours, peer)
    torch.testing.assert_close(binary_focal_loss(z, targets[:, None], gamma=gamma), peer)


def test_focal_loss_by_hand_with_class_weights() -> None:
    """Probabilities 1/4 and 3/4, gamma 2: -w (3/4)^2 log 1/4 and -w (1/4)^2 log 3/4."""
    logits = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    loss = focal_loss(logits, torch.tensor([0, 1]), gamma=2.0, class_weights=torch.tensor([3.0, 0.5]))
    assert loss.tolist() == pytest.approx([-3 * (9 / 16) * math.log(1 / 4), -0.5 * (1 / 16) * math.log(3 / 4)])


def test_focal_loss_has_finite_gradients_where_it_is_sure() -> None:
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([0, 0]), gamma=0.5).mean().backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_logit_adjustment_is_equation_10() -> None:
    """-log exp(f_y + tau log pi_y) / sum_k exp(f_k + tau log pi_k)."""
    tau, pi = 1.5, COUNTS / COUNTS.sum()
    scores = _logits().double().exp() * pi.double() ** tau
    expected = -(scores[torch.arange(7), TARGETS] / scores.sum(1)).log().mean()
    loss = build_loss(LossConfig(logit_adjustment=tau), class_counts=COUNTS)(_logits(), TARGETS)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"class_weights": "balanced"},
        {"class_weights": "effective", "name": "focal"},
        {"logit_adjustment": 1.0, "label_smoothing": 0.1},
        {"name": "focal", "label_smoothing": 0.1},
    ],
)
def test_every_loss_of_mixed_targets_is_the_mixture_of_the_losses(settings: dict[str, object]) -> None:
    logits, first, second = _logits(3), torch.tensor([0, 1, 2]), torch.tensor([3, 2, 2])
    loss = build_loss(LossConfig.model_validate(settings), class_counts=COUNTS)
    mixed = 0.3 * F.one_hot(first, 4).float() + 0.7 * F.one_hot(second, 4).float()
    torch.testing.assert_close(loss(logits, mixed), 0.3 * loss(logits, first) + 0.7 * loss(logits, second))
