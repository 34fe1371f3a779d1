"""Optimizers and schedules of a phase, against hand-computed numbers and torch's own."""

from __future__ import annotations

import json

import pytest
import torch

from linnaeus.config.resolved import ResolvedPhase
from linnaeus.models import build_classifier
from linnaeus.training.optim import (
    build_optimizers,
    lower_on_plateau,
    normalize_filters,
    plateau_factor,
    schedule_factor,
    set_learning_rates,
)


def phase(**settings: object) -> ResolvedPhase:
    return ResolvedPhase.model_validate({"batch_size": 10, "epochs": 1, **settings})


def factors(total: int, **settings: object) -> list[float]:
    return [schedule_factor(phase(**settings), step=step, total_steps=total) for step in range(total)]


def test_a_constant_schedule_stays_at_the_peak() -> None:
    assert factors(5, schedule="constant") == [1.0] * 5


def test_a_linear_schedule_falls_by_equal_steps() -> None:
    assert factors(4, schedule="linear") == pytest.approx([1.0, 0.75, 0.5, 0.25])


def test_a_cosine_schedule_is_torchs_cosine() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    peer = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
    expected = []
    for _ in range(8):
        expected.append(peer.get_last_lr()[0])
        optimizer.step()
        peer.step()
    assert factors(8, schedule="cosine") == pytest.approx(expected)


def test_a_warm_up_rises_in_equal_steps_before_the_fall() -> None:
    found = factors(8, schedule="linear", warmup_fraction=0.25)
    assert found[:2] == pytest.approx([1 / 3, 2 / 3])
    assert found[2:] == pytest.approx([1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd", "muon"])
def test_every_trainable_parameter_moves_and_no_frozen_one(name: str) -> None:
    torch.manual_seed(0)
    classifier = build_classifier("speed_cnn", num_classes=3, image_size=8, options={"widths": [8, 8, 8]})
    before = {key: value.clone() for key, value in classifier.named_parameters()}
    optimizers = build_optimizers(classifier, phase(optimizer=name, lr=0.1))
    classifier(torch.randn(4, 3, 8, 8)).square().sum().backward()
    normalize_filters(optimizers)
    for optimizer in optimizers:
        optimizer.step()
    for key, value in classifier.named_parameters():
        assert torch.equal(value, before[key]) is not value.requires_grad, key


def test_rates_follow_their_group_and_the_schedule() -> None:
    classifier = build_classifier("mish_cnn", num_classes=3, image_size=8, options={})
    (optimizer,) = build_optimizers(classifier, phase(optimizer="adamw", lr=0.1, head_lr=0.2, bias_lr=0.3))
    set_learning_rates([optimizer], 0.5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    expected = {"backbone.0.weight": 0.05, "head.weight": 0.1, "head.bias": 0.15, "backbone.2.weight": 0.15}
    named = dict(classifier.named_parameters())
    assert {name: rates[id(named[name])] for name in expected} == pytest.approx(expected)


def test_rmsprop_is_torchs_with_the_smoothing_of_the_phase() -> None:
    torch.manual_seed(0)
    classifier = build_classifier("mish_cnn", num_classes=3, image_size=8, options={})
    (optimizer,) = build_optimizers(classifier, phase(optimizer="rmsprop", lr=0.01, rmsprop_alpha=0.8))
    assert isinstance(classifier.head, torch.nn.Linear)
    weight = torch.nn.Parameter(classifier.head.weight.detach().clone())
    peer = torch.optim.RMSprop([weight], lr=0.01, alpha=0.8)
    for gradient in (1.0, -0.5):
        classifier.head.weight.grad = torch.full_like(weight, gradient)
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        peer.step()
    assert torch.equal(classifier.head.weight, weight)


def test_adamw_does_not_decay_biases_and_norms() -> None:
    classifier = build_classifier("mish_cnn", num_classes=3, image_size=8, options={})
    (optimizer,) = build_optimizers(classifier, phase(optimizer="adamw", weight_decay=0.1))
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)


def test_muons_sgd_part_counts_per_image_and_decays_by_a_fraction() -> None:
    classifier = build_classifier("speed_cnn", num_classes=3, image_size=8, options={"widths": [8, 8, 8]})
    settings = phase(optimizer="muon", lr=0.2, head_lr=0.5, bias_lr=0.04, weight_decay=1e-3)
    _, rest = build_optimizers(classifier, settings)
    assert [group["peak_lr"] for group in rest.param_groups] == pytest.approx([5.0, 0.4])
    shrinks = [group["peak_lr"] * group["weight_decay"] for group in rest.param_groups]
    assert shrinks == pytest.approx([1e-2, 1e-2]), "batch of 10 times 1e-3"


def test_filters_keep_their_norm_and_muons_rate_is_the_relative_update() -> None:
    torch.manual_seed(0)
    classifier = build_classifier("speed_cnn", num_classes=3, image_size=8, options={"widths": [16, 16, 16]})
    optimizers = build_optimizers(classifier, phase(optimizer="muon", lr=0.1))
    classifier(torch.randn(8, 3, 8, 8)).square().sum().backward()
    normalize_filters(optimizers)
    filters = [p for group in optimizers[0].param_groups for p in group["params"]]
    assert len(filters) == 6
    before = [p.detach().clone() for p in filters]
    for p in before:
        assert float(p.norm()) == pytest.approx(len(p) ** 0.5, rel=1e-5)
    optimizers[0].step()
    for p, old in zip(filters, before, strict=True):
        relative = float((p.detach() - old).norm() / old.norm())
        # Three Newton-Schulz steps bring singular values to about 0.5-1.3, not exactly to 1.
        assert 0.05 < relative < 0.14


def test_a_one_cycle_schedule_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    peer = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=40, cycle_momentum=False)
    expected = []
    for _ in range(40):
        expected.append(peer.get_last_lr()[0])
        optimizer.step()
        peer.step() if len(expected) < 40 else None
    assert factors(40, schedule="one_cycle") == pytest.approx(expected)


def test_a_step_schedule_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    peer = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)
    expected = []
    for _ in range(10):
        expected += [peer.get_last_lr()[0]] * 7
        optimizer.step()
        peer.step()
    found = factors(70, schedule="step", lr_decay_factor=0.1, lr_decay_epochs=3, epochs=10)
    assert found == pytest.approx(expected)


def test_a_plateau_lowers_the_rate_after_so_many_epochs_without_progress() -> None:
    settings = phase(schedule="plateau", lr_decay_factor=0.5, lr_decay_epochs=2)
    saved: dict[str, object] = {}
    seen = []
    for loss in (1.0, 0.9, 0.95, 0.92, 0.91, 0.93, 0.5):
        saved = json.loads(json.dumps(lower_on_plateau(settings, saved, loss=loss)))
        seen.append(plateau_factor(saved))
    assert seen == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert set(factors(5, schedule="plateau")) == {1.0}
