"""Penalties on the size of weights, as Keras adds them to the loss (`kernel_regularizer=l1_l2(...)`).

Which weights is settled once per phase; what they cost is asked at every batch. Knows nothing of logits or targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from linnaeus.config.settings import LAYERS
from linnaeus.errors import ConfigError

_KINDS: dict[str, tuple[type[nn.Conv2d] | type[nn.Linear], ...]] = {
    "convolutions": (nn.Conv2d,),
    "dense": (nn.Linear,),
    "head": (nn.Conv2d, nn.Linear),
    "all": (nn.Conv2d, nn.Linear),
}


@dataclass(frozen=True)
class Penalty:
    """What one layer's weight costs: l1 * sum |w| + l2 * sum w**2."""

    weight: torch.Tensor
    l1: float
    l2: float


def choose_penalties(model: nn.Module, *, l1: Mapping[str, float], l2: Mapping[str, float]) -> list[Penalty]:
    """The layers that the factors name, in the order in which the model holds them.

    Args:
        model: its convolutions (nn.Conv2d) and dense layers (nn.Linear) are taken, wherever they sit; "head" are those
            in its attribute `head`.
        l1, l2: factors by names that LAYERS matches. A layer that several names take pays for each.

    Weights only: neither biases nor norms. Raises ConfigError for a name that takes no layer.
    """
    factors: dict[int, list[float]] = {}
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for place, named in enumerate((l1, l2)):
        for name, factor in named.items():
            chosen = _layers_named(name, model)
            if not chosen:
                raise ConfigError(f"loss.l{place + 1}: no layer of this network is meant by {name}.")
            for layer in chosen:
                factors.setdefault(id(layer), [0.0, 0.0])[place] += factor
    return [Penalty(layer.weight, *factors[id(layer)]) for layer in layers if id(layer) in factors]


def _layers_named(name: str, model: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    match = LAYERS.fullmatch(name)
    assert match is not None, "the configuration has checked it"
    kind, start, stop = match.groups()
    part = getattr(model, "head", nn.Module()) if kind == "head" else model
    layers = [module for module in part.modules() if isinstance(module, _KINDS[kind])]
    return layers[int(start) if start else None : int(stop) if stop else None]


def weight_penalty(penalties: Sequence[Penalty]) -> torch.Tensor:
    """The sum of all that are being trained (as in Keras): a float32 scalar that gradients flow through."""
    device = penalties[0].weight.device if penalties else torch.device("cpu")
    total = torch.zeros((), device=device)
    for penalty in penalties:
        if not penalty.weight.requires_grad:
            continue
        weight = penalty.weight.float()
        if penalty.l1:
            total = total + penalty.l1 * weight.abs().sum()
        if penalty.l2:
            total = total + penalty.l2 * weight.square().sum()
    return total
