"""Optimizers and learning-rate schedules of one phase. Update rules come from torch and timm."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from linnaeus.config.resolved import ResolvedPhase
from linnaeus.models.classifier import Classifier
from linnaeus.training.phases import depth_scales

_RISE, _FIRST, _LAST = 0.3, 25.0, 25.0 * 1e4
"""Of torch's OneCycleLR: pct_start, div_factor, and that times final_div_factor."""
_ROUNDING = 1e-9


def build_optimizers(classifier: Classifier, phase: ResolvedPhase) -> list[Optimizer]:
    """One optimizer, or for "muon" two: Muon for the convolutions' filters, SGD for all the rest.

    With `layer_decay` the rates of the backbone's stages fall towards its input (for `muon` they do not).
    Every group carries `peak_lr`, which `set_learning_rates` scales by the schedule. Frozen parameters are left out.
    """
    head = {id(p) for p in classifier.head.parameters()}
    trainable = [p for p in classifier.parameters() if p.requires_grad]
    head_weights = [p for p in trainable if p.ndim > 1 and id(p) in head]
    vectors = [p for p in trainable if p.ndim <= 1]
    filters = [p for p in trainable if p.ndim > 1 and id(p) not in head]
    head_lr, bias_lr = phase.head_lr or phase.lr, phase.bias_lr or phase.lr
    if phase.optimizer == "muon":
        return _muon(phase, filters, head_weights, vectors, head_lr, bias_lr)
    vector_decay = 0.0 if phase.optimizer == "adamw" else phase.weight_decay
    groups = [
        {"params": filters, "lr": phase.lr, "weight_decay": phase.weight_decay},
        {"params": head_weights, "lr": head_lr, "weight_decay": phase.weight_decay},
        {"params": vectors, "lr": bias_lr, "weight_decay": vector_decay},
    ]
    groups = _by_depth(groups, classifier, phase)
    optimizer: Optimizer
    if phase.optimizer == "sgd":
        nesterov = phase.momentum > 0
        optimizer = torch.optim.SGD(groups, lr=phase.lr, momentum=phase.momentum, nesterov=nesterov, fused=True)
    elif phase.optimizer == "rmsprop":
        optimizer = torch.optim.RMSprop(groups, lr=phase.lr, alpha=phase.rmsprop_alpha)
    elif phase.optimizer == "adam":
        optimizer = torch.optim.Adam(groups, lr=phase.lr, fused=True)
    else:
        optimizer = torch.optim.AdamW(groups, lr=phase.lr, fused=True)
    return _with_peaks([optimizer])


def _by_depth(groups: list[dict[str, Any]], classifier: Classifier, phase: ResolvedPhase) -> list[dict[str, Any]]:
    """The groups that are not empty, divided by depth where the learning rate falls with it."""
    if phase.layer_decay == 1.0:
        return [group for group in groups if group["params"]]
    scales = depth_scales(classifier, phase)
    factors = {id(p): scales.get(name, 1.0) for name, p in classifier.backbone.named_parameters()}
    divided = []
    for group in groups:
        for factor in sorted({factors.get(id(p), 1.0) for p in group["params"]}):
            params = [p for p in group["params"] if factors.get(id(p), 1.0) == factor]
            divided.append({**group, "params": params, "lr": group["lr"] * factor})
    return divided


def _muon(
    phase: ResolvedPhase,
    filters: list[nn.Parameter],
    head_weights: list[nn.Parameter],
    vectors: list[nn.Parameter],
    head_lr: float,
    bias_lr: float,
) -> list[Optimizer]:
    """Muon (Jordan et al. 2024) as timm has it, with three Newton-Schulz steps as in airbench94_muon.

    There the loss is a sum over the batch, so that rates and decay of the SGD part are per image; ours is a mean, so
    they are multiplied by the batch size. Decay is stated as a fraction per step, hence divided by the rate.
    """
    from timm.optim.muon import Muon  # timm takes seconds to import

    assert isinstance(phase.batch_size, int)
    shrink = phase.weight_decay * phase.batch_size
    groups = [
        {"params": params, "lr": rate * phase.batch_size, "weight_decay": shrink / (rate * phase.batch_size)}
        for params, rate in ((head_weights, head_lr), (vectors, bias_lr))
        if params
    ]
    rest = torch.optim.SGD(groups, lr=bias_lr, momentum=phase.momentum, nesterov=True)
    muon: Optimizer = Muon(
        [{"params": filters}],
        lr=phase.lr,
        momentum=phase.muon_momentum,
        nesterov=True,
        ns_steps=3,
        ns_coefficients="original",
        adjust_lr_fn="original",
    )
    return _with_peaks([muon, rest])


def _with_peaks(optimizers: list[Optimizer]) -> list[Optimizer]:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


@torch.no_grad()
def normalize_filters(optimizers: list[Optimizer]) -> None:
    """Scale every filter bank that Muon moves to the Frobenius norm sqrt(out channels), before each step.

    With the norm fixed, Muon's rate is the relative size of an update (airbench94_muon). No-op without Muon.
    """
    for optimizer in optimizers:
        if "ns_steps" not in optimizer.defaults:
            continue
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.mul_(math.sqrt(len(p)) / p.norm())


def schedule_factor(phase: ResolvedPhase, *, step: int, total_steps: int) -> float:
    """Fraction of the peak learning rate at `step` (0-based) of `total_steps`.

    Rises linearly over the warm-up, then stays ("constant", and "plateau", which falls by `lower_on_plateau`), falls
    linearly or by half a cosine to zero, in steps of whole epochs, or rises and falls as torch's OneCycleLR.
    """
    warmup_steps = phase.warmup_fraction * total_steps
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / max(1.0, total_steps - warmup_steps)
    if phase.schedule == "linear":
        return max(0.0, 1.0 - done)
    if phase.schedule == "step":
        return phase.lr_decay_factor ** (
            math.floor(phase.epochs * step / total_steps + _ROUNDING) // phase.lr_decay_epochs
        )
    if phase.schedule == "one_cycle":
        return _one_cycle(step - warmup_steps, total_steps - warmup_steps)
    if phase.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
    return 1.0


def _one_cycle(step: float, total_steps: float) -> float:
    """torch's OneCycleLR with its defaults: by half a cosine from 1 / 25 to 1 over the first 0.3, and from there to
    1 / 250,000. Momentum stays as it is.
    """
    top, last = _RISE * total_steps - 1, total_steps - 1
    if step <= top:
        return _half_cosine(1 / _FIRST, 1.0, step / top if top > 0 else 1.0)
    return _half_cosine(1.0, 1 / _LAST, min(1.0, (step - top) / (last - top)))


def _half_cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))


def lower_on_plateau(phase: ResolvedPhase, saved: dict[str, Any], *, loss: float) -> dict[str, Any]:
    """What torch's ReduceLROnPlateau remembers after one more epoch with this validation loss.

    `saved` is what it remembered before, {} at the beginning of a phase: plain numbers, which a checkpoint holds. The
    optimizer that torch wants to see is only where the factor stands.
    """
    bare = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=plateau_factor(saved))
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        bare, factor=phase.lr_decay_factor, patience=phase.lr_decay_epochs - 1
    )
    if saved:
        scheduler.load_state_dict(saved)
    scheduler.step(loss)
    return {**scheduler.state_dict(), "_last_lr": [float(bare.param_groups[0]["lr"])]}


def plateau_factor(saved: dict[str, Any]) -> float:
    """The fraction of the learning rate that `lower_on_plateau` has left."""
    return float(saved["_last_lr"][0]) if saved else 1.0


def set_learning_rates(optimizers: list[Optimizer], factor: float) -> None:
    """Set every group's rate to its peak times `factor`."""
    for optimizer in optimizers:
        groups: list[dict[str, Any]] = optimizer.param_groups
        for group in groups:
            group["lr"] = group["peak_lr"] * factor
