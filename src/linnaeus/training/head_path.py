"""Linear heads solved for on features: logistic regression under a path of penalties, of which validation takes one.

After the features, in the life of an image. Plain functions of arrays; knows nothing of backbones or phases.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        sample_weights: float32 [N], of mean 1; None counts every row the same.
        penalties: from strong to weak.
    """
    mean, scale = _standardisation(features)
    inputs = torch.from_numpy((features - mean) / scale)
    unseen = torch.from_numpy((validation[0] - mean) / scale)
    wanted, unseen_wanted = torch.from_numpy(np.asarray(targets)), torch.from_numpy(np.asarray(validation[1]))
    weights = None if sample_weights is None else torch.from_numpy(sample_weights)
    weight = torch.zeros(num_classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    best: tuple[float, float, torch.Tensor, torch.Tensor] | None = None
    path: list[Step] = []
    worse = 0
    for penalty in penalties:
        train_loss = _solve(weight, bias, inputs, wanted, penalty, label_smoothing, weights)
        with torch.no_grad():
            loss = float(_loss(F.linear(unseen, weight, bias), unseen_wanted, 0.0, None))
        path.append(Step(penalty, train_loss, loss))
        if best is None or loss < best[0]:
            best, worse = (loss, penalty, weight.detach().clone(), bias.detach().clone()), 0
        else:
            worse += 1
            if worse == _PATIENCE:
                break
    assert best is not None
    chosen = best[2].numpy() / scale
    return Solution(
        weight=np.asarray(chosen, np.float32),
        bias=np.asarray(best[3].numpy() - chosen @ mean, np.float32),
        penalty=best[1],
        path=tuple(path),
    )


def _standardisation(features: Floats) -> tuple[Floats, Floats]:
    mean, std = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
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
        loss = _loss(F.linear(inputs, weight, bias), targets, label_smoothing, sample_weights)
        total = loss + penalty / 2 * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return float(_loss(F.linear(inputs, weight, bias), targets, label_smoothing, sample_weights))


def _loss(
    logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float, sample_weights: torch.Tensor | None
) -> torch.Tensor:
    if targets.ndim == 1:
        each = F.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")
    else:
        each = F.binary_cross_entropy_with_logits(logits, targets.float(), reduction="none").sum(1)
    return each.mean() if sample_weights is None else (each * sample_weights).mean()
