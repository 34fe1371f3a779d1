"""Losses and hits of the running epoch: left on the device by every step, read together every now and then.

Beside the loop. A number that is read makes the host wait until the device has computed it; so nothing is read within a
step. What is read is added up in the order of the steps, so that sums do not depend on when they were read.
"""

from __future__ import annotations

import math

import torch

from linnaeus.config.settings import PhaseConfig
from linnaeus.errors import TrainingError
from linnaeus.training.checkpoint import Position, Unread
from linnaeus.training.runtime import Runtime

_NONE = 2**31 - 1
"""No batch: more than any has."""


def count_right(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """int64 scalar: images whose class is right, from logits [B, K] and targets int64 [B].

    With targets uint8 [B, K]: labels of all images that are right at a probability of 0.5.
    """
    if targets.ndim == 1:
        return (logits.argmax(1) == targets).sum()
    return ((logits >= 0) == targets.bool()).sum()


def read_sums(unread: list[Unread], position: Position, phase: PhaseConfig, *, together: Runtime | None) -> None:
    """Add what is unread to the sums of the position, and forget it.

    Args:
        together: of the processes that share each batch, which read after the same one and then all have the sums of
            all; None where this process is alone.

    Raises TrainingError, on every process, if a loss of any of them is no number.
    """
    if not unread:
        return
    numbers = torch.stack([torch.stack([each.loss, each.num_right.float()]) for each in unread]).cpu().numpy()
    first_bad, value = _NONE, 0.0
    added: list[tuple[float, float]] = []
    for each, (loss, num_right) in zip(unread, numbers.tolist(), strict=True):
        if not math.isfinite(loss) and first_bad == _NONE:
            first_bad, value = each.batch, loss
        added.append((loss * each.num_images, int(num_right) if each.labels == 1 else int(num_right) / each.labels))
    unread.clear()
    first = first_bad
    if together is not None:
        first = together.least(first_bad)
        loss_sum, num_right = together.sums([sum(loss for loss, _ in added), sum(right for _, right in added)])
        added = [(loss_sum, num_right)]
    if first != _NONE:
        became = value if first_bad == first else math.nan
        raise TrainingError(
            f"The loss became {became} in epoch {position.epoch + 1}, batch {first}. Try a smaller learning rate, for "
            f"example --set phases.{position.phase}.lr={phase.lr / 10:g}, or --set runtime.precision=32."
        )
    for loss, right in added:
        position.loss_sum += loss
        position.num_correct += right
