"""Linear heads solved for on features: logistic regression under a path of penalties, of which validation takes one.

After the features, in the life of an image. Plain functions of arrays; knows nothing of backbones or phases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

Floats = npt.NDArray[np.float32]
Targets = npt.NDArray[np.int64] | npt.NDArray[np.uint8]

PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
"""From strong to weak: each solution is where the next one begins."""
_PATIENCE = 2
_MAX_ITERATIONS = 60


@dataclass(frozen=True)
class Step:
    """One penalty of the path, with the mean loss on the training rows and on the validation rows."""

    penalty: float
    train_loss: float
    validation_loss: float


@dataclass(frozen=True)
class Solution:
    """The head that was chosen.

    Attributes:
        weight: float32 [K, D], for features as they come.
        bias: float32 [K].
        penalty: of the chosen step.
        path: every step that was tried.
    """

    weight: Floats
    bias: Floats
    penalty: float
    path: tuple[Step, ...]

    def logits(self, features: npt.NDArray[np.float16] | Floats) -> Floats:
        """float [N, D] -> float32 [N, K]."""
        return np.asarray(features.astype(np.float32) @ self.weight.T + self.bias, np.float32)


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
) -> Solution:
    """Minimise, for each penalty p, the mean loss + p / 2 |W|^2 over standardised features, by L-BFGS.

    The loss is softmax cross-entropy for one label per image, the sum over labels of binary cross-entropy for several;
    biases carry no penalty. The step with the lowest validation loss is taken, the stronger penalty on ties: loss and
    not accuracy, because it judges every validation image and not only those near a border. The path ends after two
    steps that are worse than the best.

    Args:
        features: float32 [N, D].
        targets: int64 [N], or uint8 [N, K].
        validation: the same of the validation rows; at least one.
        label_smoothing: 0-1, of the training loss, for one label per image.
        sample_weights: float32 [N], not negative, in units of their mean; None counts every row the same. A weight of
            2 is what the row twice would be, one of 0 what the set without it would be.
        adjustment: float32 [K], added to the logits of the training loss alone (logit adjustment).
        penalties: from strong to weak.
    """
    heads: list[tuple[Floats, Floats]] = []
    steps: list[Step] = []
    for step, weight, bias in _walk(
        features, targets, validation, num_classes, label_smoothing, sample_weights, adjustment, penalties=penalties
    ):
        steps.append(step)
        heads.append((weight, bias))
        best = min(range(len(steps)), key=lambda k: steps[k].validation_loss)
        if len(steps) - 1 - best == _PATIENCE:
            break
    return Solution(*heads[best], penalty=steps[best].penalty, path=tuple(steps))


@dataclass(frozen=True)
class FoldSolution:
    """Heads that each left out one fold.

    Attributes:
        solutions: one per fold, all with the same penalty.
        logits: float32 [N, K], out of fold: of each row by the head that has not seen it.
        path: every penalty with its mean losses over the folds.
    """

    solutions: tuple[Solution, ...]
    logits: Floats
    path: tuple[Step, ...]

    @property
    def penalty(self) -> float:
        """The one that all heads share: the lowest out-of-fold loss over all rows."""
        return self.solutions[0].penalty


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
) -> FoldSolution:
    """Solve for a head without each fold in turn; the penalty is chosen by the out-of-fold loss over all rows.

    Args:
        features: float32 [N, D].
        targets: int64 [N], or uint8 [N, K].
        folds: int [N], the fold of each row, 0 to F - 1, none empty.
        label_smoothing, sample_weights, adjustment, penalties: as for `solve_path`; every row counts the same in the
            losses by which the penalty is chosen.
    """
    num_folds = int(folds.max()) + 1
    walks = []
    for fold in range(num_folds):
        seen, left_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        held_out = (features[left_out], targets[left_out])
        weights = None if sample_weights is None else sample_weights[seen]
        inputs = (features[seen], targets[seen], held_out, num_classes, label_smoothing, weights, adjustment)
        walks.append(list(_walk(*inputs, penalties=penalties)))
    sizes = np.bincount(folds, minlength=num_folds) / len(folds)
    path = tuple(
        Step(
            penalty,
            train_loss=float(sum(size * walk[k][0].train_loss for size, walk in zip(sizes, walks, strict=True))),
            validation_loss=float(
                sum(size * walk[k][0].validation_loss for size, walk in zip(sizes, walks, strict=True))
            ),
        )
        for k, penalty in enumerate(penalties)
    )
    best = min(range(len(path)), key=lambda k: path[k].validation_loss)
    solutions = tuple(
        Solution(walk[best][1], walk[best][2], penalty=path[best].penalty, path=tuple(step for step, _, _ in walk))
        for walk in walks
    )
    logits = np.zeros((len(features), num_classes), np.float32)
    for fold, solution in enumerate(solutions):
        left_out = np.flatnonzero(folds == fold)
        logits[left_out] = solution.logits(features[left_out])
    return FoldSolution(solutions, logits, path)


def _walk(
    features: Floats,
    targets: Targets,
    validation: tuple[Floats, Targets],
    num_classes: int,
    label_smoothing: float,
    sample_weights: Floats | None,
    adjustment: Floats | None,
    *,
    penalties: Sequence[float],
) -> Iterator[tuple[Step, Floats, Floats]]:
    """Each step of the path with its weight [K, D] and bias [K], for features as they come."""
    if sample_weights is not None:
        sample_weights = sample_weights / max(float(sample_weights.mean(dtype=np.float64)), 1e-12)
    mean, scale = _standardisation(features, sample_weights)
    inputs = torch.from_numpy((features - mean) / scale)
    unseen = torch.from_numpy((validation[0] - mean) / scale)
    wanted, unseen_wanted = torch.from_numpy(np.asarray(targets)), torch.from_numpy(np.asarray(validation[1]))
    weights = None if sample_weights is None else torch.from_numpy(sample_weights)
    shift_of_loss = None if adjustment is None else torch.from_numpy(adjustment)
    weight = torch.zeros(num_classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    for penalty in penalties:
        train_loss = _solve(weight, bias, inputs, wanted, penalty, label_smoothing, weights, shift_of_loss)
        with torch.no_grad():
            loss = float(_loss(F.linear(unseen, weight, bias), unseen_wanted, 0.0, None, None))
        plain = weight.detach().numpy() / scale
        shift = bias.detach().numpy() - plain @ mean
        yield Step(penalty, train_loss, loss), np.asarray(plain, np.float32), np.asarray(shift, np.float32)


def _standardisation(features: Floats, sample_weights: Floats | None) -> tuple[Floats, Floats]:
    if sample_weights is None:
        mean, std = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    else:
        shares = sample_weights.astype(np.float64) / len(sample_weights)
        mean = shares @ features
        std = np.sqrt(shares @ (features - mean) ** 2)
    floor = 1e-3 * max(float(std.max()), 1e-12)
    return mean.astype(np.float32), np.maximum(std, floor).astype(np.float32)


def _solve(
    weight: torch.Tensor,
    bias: torch.Tensor,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    penalty: float,
    label_smoothing: float,
    sample_weights: torch.Tensor | None,
    adjustment: torch.Tensor | None,
) -> float:
    """Move `weight` and `bias` to the minimum; returns the loss there, without the penalty."""
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=_MAX_ITERATIONS,
        tolerance_grad=1e-5,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = _loss(F.linear(inputs, weight, bias), targets, label_smoothing, sample_weights, adjustment)
        total = loss + penalty / 2 * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return float(_loss(F.linear(inputs, weight, bias), targets, label_smoothing, sample_weights, adjustment))


def _loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    label_smoothing: float,
    sample_weights: torch.Tensor | None,
    adjustment: torch.Tensor | None,
) -> torch.Tensor:
    if adjustment is not None:
        logits = logits + adjustment
    if targets.ndim == 1:
        each = F.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")
    else:
        each = F.binary_cross_entropy_with_logits(logits, targets.float(), reduction="none").sum(1)
    return each.mean() if sample_weights is None else (each * sample_weights).mean()
