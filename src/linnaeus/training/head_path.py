"""Linear heads solved for on features: logistic regression under a path of penalties, of which validation takes one.

After the features, in the life of an image. Plain functions of arrays; knows nothing of backbones or phases.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from linnaeus.training.lbfgs import minimise

Floats = npt.NDArray[np.float32]
Targets = npt.NDArray[np.int64] | npt.NDArray[np.uint8]

PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
"""From strong to weak: each solution is where the next one begins."""
_PATIENCE, _CLEARLY_WORSE = 2, 0.01
_FLOOR = 1e-3
"""Features that vary less than this fraction of the one that varies most are taken to be noise."""
_MAX_ITERATIONS = 60
_MEMORY = 20
_GRADIENT_TOLERANCE = 1e-5
TOLERANCE = 3e-5
"""A thirtieth of it costs up to twice the time and moves validation losses by less than a hundredth of themselves."""
LOGITS_AT_ONCE = 2**26
"""Rows times classes times folds that are solved for together; each takes some 20 bytes while it is."""


@dataclass(frozen=True)
class Step:
    """One penalty of the path, with the mean loss on the training rows and on the validation rows."""

    penalty: float
    train_loss: float
    validation_loss: float


@dataclass(frozen=True)
class Head:
    """A linear head: weight float32 [K, D] and bias float32 [K], for features as they come."""

    weight: Floats
    bias: Floats

    def logits(self, features: npt.NDArray[np.float16] | Floats) -> Floats:
        """float [N, D] -> float32 [N, K]."""
        return np.asarray(features.astype(np.float32, copy=False) @ self.weight.T + self.bias, np.float32)


@dataclass(frozen=True)
class Solution:
    """The head that was chosen, its penalty, and every step of the path that was tried."""

    head: Head
    penalty: float
    path: tuple[Step, ...]


def solve_path(
    features: Floats,
    targets: Targets,
    *,
    validation: tuple[Floats, Targets],
    num_classes: int,
    label_smoothing: float = 0.0,
    sample_weights: Floats | None = None,
    adjustment: Floats | None = None,
    penalties: Sequence[float] = PENALTIES,
    tolerance: float = TOLERANCE,
) -> Solution:
    """Minimise, for each penalty p, the mean loss + p / 2 |W|^2 over standardised features, by L-BFGS.

    The loss is softmax cross-entropy for one label per image, the sum over labels of binary cross-entropy for several;
    biases carry no penalty. The step with the lowest validation loss is taken, the stronger penalty on ties: loss and
    not accuracy, because it judges every validation image and not only those near a border. The path ends after two
    steps that are worse than the best, or one that is worse by more than a hundredth.

    Args:
        features: float32 [N, D].
        targets: int64 [N], or uint8 [N, K].
        validation: the same of the validation rows; at least one.
        label_smoothing: 0-1, of the training loss, for one label per image.
        sample_weights: float32 [N], not negative, in units of their mean; None counts every row the same. A weight of
            2 is what the row twice would be, one of 0 what the set without it would be.
        adjustment: float32 [K], added to the logits of the training loss alone (logit adjustment).
        penalties: from strong to weak.
        tolerance: a head is solved for where a step lowers its loss by no more, as a fraction of it where it is above
            1.
    """
    heads: list[Head] = []
    steps: list[Step] = []
    weights = np.ones(len(features), np.float32) if sample_weights is None else sample_weights
    settings = num_classes, label_smoothing, adjustment, penalties, tolerance
    walk = _walk(features, targets, weights[:, None], *settings)
    for penalty, (head,) in walk:
        losses = _losses(head.logits(features), targets, label_smoothing=label_smoothing, adjustment=adjustment)
        held_out = _losses(head.logits(validation[0]), validation[1])
        steps.append(Step(penalty, float(np.average(losses, weights=weights)), float(held_out.mean())))
        heads.append(head)
        best = min(range(len(steps)), key=lambda k: steps[k].validation_loss)
        clearly = steps[-1].validation_loss > (1 + _CLEARLY_WORSE) * steps[best].validation_loss
        if clearly or len(steps) - 1 - best == _PATIENCE:
            break
    return Solution(heads[best], steps[best].penalty, tuple(steps))


@dataclass(frozen=True)
class FoldSolution:
    """Heads that each left out one fold.

    Attributes:
        heads: one per fold, all with the same penalty.
        penalty: the one with the lowest out-of-fold loss over all rows.
        logits: float32 [N, K], out of fold: of each row by the head that has not seen it.
        path: every penalty with its mean losses over the folds.
    """

    heads: tuple[Head, ...]
    penalty: float
    logits: Floats
    path: tuple[Step, ...]


def solve_folds(
    features: Floats,
    targets: Targets,
    folds: npt.NDArray[np.int64],
    *,
    num_classes: int,
    label_smoothing: float = 0.0,
    sample_weights: Floats | None = None,
    adjustment: Floats | None = None,
    penalties: Sequence[float] = PENALTIES,
    tolerance: float = TOLERANCE,
) -> FoldSolution:
    """Solve for a head without each fold in turn; the penalty is chosen by the out-of-fold loss over all rows.

    Args:
        features: float32 [N, D].
        targets: int64 [N], or uint8 [N, K].
        folds: int [N], the fold of each row, 0 to F - 1, none empty.
        label_smoothing, sample_weights, adjustment, penalties, tolerance: as for `solve_path`; every row counts the
            same in the losses by which the penalty is chosen.
    """
    num_folds = int(folds.max()) + 1
    weights = np.ones(len(features), np.float32) if sample_weights is None else sample_weights
    seen = weights[:, None] * (folds[:, None] != np.arange(num_folds))
    at_once = max(1, min(num_folds, LOGITS_AT_ONCE // (len(features) * num_classes)))
    settings = num_classes, label_smoothing, adjustment, penalties, tolerance
    walks = [
        _walk(features, targets, part, *settings) for part in np.array_split(seen, -(-num_folds // at_once), axis=1)
    ]
    best: FoldSolution | None = None
    path: list[Step] = []
    for found in zip(*walks, strict=True):
        penalty, heads = found[0][0], tuple(head for _, part in found for head in part)
        logits = np.zeros((len(features), num_classes), np.float32)
        train_loss = 0.0
        for fold, head in enumerate(heads):
            answers, left_out = head.logits(features), folds == fold
            logits[left_out] = answers[left_out]
            losses = _losses(answers, targets, label_smoothing=label_smoothing, adjustment=adjustment)
            train_loss += float(np.average(losses, weights=seen[:, fold])) * left_out.mean()
        path.append(Step(penalty, train_loss, validation_loss=float(_losses(logits, targets).mean())))
        if best is None or path[-1].validation_loss < min(step.validation_loss for step in path[:-1]):
            best = FoldSolution(heads, penalty, logits, ())
    assert best is not None
    return replace(best, path=tuple(path))


def _walk(
    features: Floats,
    targets: Targets,
    weights: Floats,
    num_classes: int,
    label_smoothing: float,
    adjustment: Floats | None,
    penalties: Sequence[float],
    tolerance: float,
) -> Iterator[tuple[float, list[Head]]]:
    """Each penalty with P heads, one for each column of `weights` float32 [N, P], which say how much it sees a row."""
    mean, scale = _standardisation(features)
    inputs = torch.from_numpy((features - mean) / scale)
    fractions = torch.from_numpy(weights / np.maximum(weights.sum(axis=0, dtype=np.float64), 1e-12)).float()
    problem = _Problem(
        inputs,
        torch.from_numpy(_wanted(targets, num_classes, label_smoothing)),
        fractions,
        _relative_scales(inputs, fractions, torch.from_numpy(scale)),
        torch.zeros(num_classes) if adjustment is None else torch.from_numpy(adjustment),
        several=targets.ndim == 2,
    )
    point = torch.zeros(weights.shape[1], num_classes * (features.shape[1] + 1))
    for penalty in penalties:
        point = minimise(
            functools.partial(problem.evaluate, penalty=penalty),
            point,
            max_iterations=_MAX_ITERATIONS,
            memory=_MEMORY,
            gradient_tolerance=_GRADIENT_TOLERANCE,
            value_tolerance=tolerance,
        )
        weight, bias = (part.numpy() for part in problem.parts(point))
        plain = weight / scale
        yield penalty, [Head(w, np.asarray(b - w @ mean, np.float32)) for w, b in zip(plain, bias, strict=True)]


def _standardisation(features: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of each feature, float32 [D]; of nearly constant ones a floor instead."""
    mean, std = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    return mean.astype(np.float32), np.maximum(std, _FLOOR * max(float(std.max()), 1e-12)).astype(np.float32)


def _relative_scales(inputs: torch.Tensor, fractions: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """float32 [P, D]: the deviation of each feature as a head sees it, in units of `scale`.

    All heads share one standardised matrix; a penalty on weights times these is the penalty on the weights of the
    matrix that each would have standardised for itself.
    """
    mean = fractions.T @ inputs
    std = (fractions.T @ inputs.square() - mean.square()).clamp(min=0.0).sqrt() * scale
    return torch.maximum(std, _FLOOR * std.amax(1, keepdim=True).clamp(min=1e-12)) / scale


def _wanted(targets: Targets, num_classes: int, label_smoothing: float) -> Floats:
    """float32 [N, K]: the probabilities that the training loss asks for."""
    if targets.ndim == 2:
        return targets.astype(np.float32)
    wanted = np.full((len(targets), num_classes), label_smoothing / num_classes, np.float32)
    wanted[np.arange(len(targets)), targets] += 1.0 - label_smoothing
    return wanted


@dataclass(frozen=True)
class _Problem:
    """P heads that minimise the loss on the same rows, each with its own fractions of them.

    Attributes:
        inputs: float32 [N, D], standardised.
        wanted: float32 [N, K].
        fractions: float32 [N, P], each column with sum 1.
        scales: float32 [P, D], of `_relative_scales`.
        adjustment: float32 [K], added to the logits.
        several: labels per image.
    """

    inputs: torch.Tensor
    wanted: torch.Tensor
    fractions: torch.Tensor
    scales: torch.Tensor
    adjustment: torch.Tensor
    several: bool

    def parts(self, point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[P, K * (D + 1)] -> weight [P, K, D] and bias [P, K]."""
        num_heads, num_classes = len(point), self.wanted.shape[1]
        split = num_classes * self.inputs.shape[1]
        return point[:, :split].view(num_heads, num_classes, -1), point[:, split:]

    def evaluate(self, point: torch.Tensor, *, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Points float32 [P, K * (D + 1)] -> values float64 [P], gradients [P, K * (D + 1)].

        The gradient by the logits is what is predicted less what is wanted, for the softmax and for sigmoids alike.
        """
        weight, bias = self.parts(point)
        logits = (self.inputs @ weight.flatten(0, 1).T).view(len(self.inputs), *bias.shape) + (bias + self.adjustment)
        wanted = self.wanted[:, None]
        if self.several:
            predicted = logits.sigmoid()
            losses = (F.softplus(logits) - wanted * logits).sum(2)
        else:
            predicted = logits.softmax(2)
            losses = logits.logsumexp(2) - (wanted * logits).sum(2)
        scaled = weight * self.scales[:, None]
        value = (losses * self.fractions).sum(0, dtype=torch.float64)
        value += penalty / 2 * scaled.square().sum((1, 2), dtype=torch.float64)
        by_logits = predicted.sub_(wanted).mul_(self.fractions[..., None])
        by_weight = (
            (by_logits.flatten(1).T @ self.inputs).view(weight.shape).add_(scaled * self.scales[:, None], alpha=penalty)
        )
        return value, torch.cat([by_weight.flatten(1), by_logits.sum(0)], dim=1)


def _losses(
    logits: Floats, targets: Targets, *, label_smoothing: float = 0.0, adjustment: Floats | None = None
) -> Floats:
    """float32 [N]: the loss of each row, of several labels their sum."""
    adjusted = torch.from_numpy(logits if adjustment is None else logits + adjustment)
    if targets.ndim == 1:
        wanted = torch.from_numpy(np.asarray(targets))
        each = F.cross_entropy(adjusted, wanted, label_smoothing=label_smoothing, reduction="none")
    else:
        labels = torch.from_numpy(targets.astype(np.float32))
        each = F.binary_cross_entropy_with_logits(adjusted, labels, reduction="none").sum(1)
    losses: Floats = each.numpy()
    return losses
