"""Several classifiers that answer together: the weighted mean of their probabilities (Caruana et al., ICML 2004).

Each sees the image in its own normalization and names classes in its own order; the mean is in the order of the first.
Knows nothing of runs, files or how the members were chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from linnaeus.errors import ModelError
from linnaeus.models.classifier import Classifier

Task = Literal["single", "multi"]
NAME = "ensemble"


class EnsembleClassifier(Classifier):
    """`features` are the members' logits side by side, `logits` those of the mean of their probabilities.

    Args:
        members: M classifiers of K classes each.
        orders: of each, for every class of the ensemble its place among the member's own.
        normalizations: of each, (mean, std) of values in 0-1.
        temperatures: of each, one number or one per label in its own order; its logits are divided by it.
        weights: of each in the mean, above 0.
        same_image: they see images of one size, fitted in one way. Where they do not, no one tensor fits them all:
            every call raises ModelError, and `linnaeus.deployment.predictor` asks each member by itself.
        task: "single" averages softmax probabilities, "multi" the sigmoid ones of several labels.
    """

    def __init__(
        self,
        members: Sequence[Classifier],
        *,
        orders: Sequence[Sequence[int]],
        normalizations: Sequence[tuple[Sequence[float], Sequence[float]]],
        temperatures: Sequence[float | tuple[float, ...]],
        weights: Sequence[float],
        same_image: bool,
        task: Task,
    ) -> None:
        super().__init__(
            Members(
                members, orders=orders, normalizations=normalizations, temperatures=temperatures, same_image=same_image
            ),
            MeanProbability(weights, task=task),
            name=NAME,
            options={},
        )
        self._num_features = sum(len(order) for order in orders)

    @property
    def num_features(self) -> int:
        """M * K."""
        return self._num_features


class Members(nn.Module):
    """Images float [B, 3, H, W], 0-1 -> logits [B, M * K], each member's over its temperature and in one order."""

    def __init__(
        self,
        members: Sequence[Classifier],
        *,
        orders: Sequence[Sequence[int]],
        normalizations: Sequence[tuple[Sequence[float], Sequence[float]]],
        temperatures: Sequence[float | tuple[float, ...]],
        same_image: bool,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.same_image = same_image
        for k, (order, (mean, std)) in enumerate(zip(orders, normalizations, strict=True)):
            self.register_buffer(f"order_{k}", torch.tensor(order), persistent=False)
            self.register_buffer(f"temperature_{k}", torch.tensor(temperatures[k]), persistent=False)
            self.register_buffer(f"mean_{k}", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
            self.register_buffer(f"std_{k}", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float [B, 3, H, W], 0-1 -> [B, M * K]."""
        if not self.same_image:
            raise ModelError(
                "The members of this ensemble see images of different sizes, so no one image fits them all. Take an "
                "ensemble of runs with the same --image-size for this."
            )
        own = dict(self.named_buffers(recurse=False))
        logits = []
        for k, member in enumerate(self.members):
            seen = (images - own[f"mean_{k}"]) / own[f"std_{k}"]
            answer = member(seen).float() / own[f"temperature_{k}"]
            logits.append(answer.index_select(1, own[f"order_{k}"]))
        return torch.cat(logits, dim=1)


class MeanProbability(nn.Module):
    """Logits [B, M * K] of M members -> logits [B, K] of the weighted mean of their probabilities."""

    def __init__(self, weights: Sequence[float], *, task: Task) -> None:
        super().__init__()
        self.task = task
        fractions = torch.tensor(weights, dtype=torch.float64)
        self.register_buffer("log_fractions", (fractions / fractions.sum()).log().float(), persistent=False)

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """[B, M * K] -> [B, K]; in logarithms throughout, so that no probability is rounded to 0 or 1."""
        log_fractions = dict(self.named_buffers())["log_fractions"]
        each = logits.view(len(logits), len(log_fractions), -1)
        weigh = log_fractions.view(1, -1, 1)
        if self.task == "single":
            return torch.logsumexp(each.log_softmax(dim=2) + weigh, dim=1)
        yes = torch.logsumexp(nn.functional.logsigmoid(each) + weigh, dim=1)
        no = torch.logsumexp(nn.functional.logsigmoid(-each) + weigh, dim=1)
        return yes - no
