"""Many smooth problems minimised side by side, each exactly as if it were alone.

L-BFGS (Nocedal and Wright, Numerical Optimization, 2nd edition, algorithms 7.4 and 7.5) whose every number has one
entry per problem: they share the evaluations, where a large matrix is read once for all, and nothing else. Below
`head_path`, which has one problem for each fold that is left out. Knows nothing of heads or losses.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Evaluate = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Points float [P, n] -> values float64 [P] and gradients float [P, n]; no problem may look at another's point."""

_SUFFICIENT = 1e-4
"""Fraction of the decrease promised by the slope that a step must bring (Armijo)."""
_MOST_TRIALS = 12


def minimise(
    evaluate: Evaluate,
    start: torch.Tensor,
    *,
    max_iterations: int,
    memory: int,
    gradient_tolerance: float,
    value_tolerance: float,
) -> torch.Tensor:
    """Points float [P, n] where P convex problems are least, from `start` [P, n].

    Args:
        max_iterations: of each problem.
        memory: pairs of steps and changes of the gradient that stand for the curvature.
        gradient_tolerance: a problem is solved where no entry of its gradient is larger,
        value_tolerance: or where a step lowers its value by no more, as a fraction of it where it is above 1.
    """
    point = start.clone()
    value, gradient = evaluate(point)
    open_ = gradient.abs().amax(1) > gradient_tolerance
    pairs: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    for _ in range(max_iterations):
        if not open_.any():
            break
        direction = -_curved(gradient, pairs)
        slope = (direction * gradient).sum(1)
        first = torch.clamp(1.0 / gradient.abs().sum(1), max=1.0) if not pairs else torch.ones_like(slope)
        size = torch.where(open_ & (slope < 0), first, 0.0)
        moved, new_value, new_gradient = _step(evaluate, point, value, direction, slope, size)
        better = new_value < value
        step, change = moved - point, new_gradient - gradient
        # A problem that stands still has a pair of zeros, which says nothing of its curvature.
        curvature = (step * change).sum(1)
        tells = better & (curvature > 1e-10 * (change * change).sum(1))
        pairs = [*pairs, (step, change, torch.where(tells, 1.0 / curvature, 0.0))][-memory:]
        gain = value - new_value
        point = torch.where(better[:, None], moved, point)
        gradient = torch.where(better[:, None], new_gradient, gradient)
        value = torch.where(better, new_value, value)
        worth = value_tolerance * value.abs().clamp(min=1.0)
        open_ &= (gain > worth) & (gradient.abs().amax(1) > gradient_tolerance)
    return point


def _curved(gradient: torch.Tensor, pairs: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The inverse of the curvature that the pairs tell of, times the gradient (two-loop recursion)."""
    direction, fractions = gradient.clone(), []
    for step, change, inverse in reversed(pairs):
        fraction = inverse * (step * direction).sum(1)
        direction -= fraction[:, None] * change
        fractions.append(fraction)
    if pairs:
        _, change, inverse = pairs[-1]
        length = (change * change).sum(1)
        direction *= torch.where(inverse > 0, 1.0 / (inverse * length), 1.0)[:, None]
    for (step, change, inverse), fraction in zip(pairs, reversed(fractions), strict=True):
        direction += (fraction - inverse * (change * direction).sum(1))[:, None] * step
    return direction


def _step(
    evaluate: Evaluate,
    point: torch.Tensor,
    value: torch.Tensor,
    direction: torch.Tensor,
    slope: torch.Tensor,
    size: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(points, values, gradients) after steps of `size` [P], made shorter until each is worth its length."""
    for _ in range(_MOST_TRIALS):
        moved = point + size[:, None] * direction
        new_value, gradient = evaluate(moved)
        promised = _SUFFICIENT * size * slope
        short = new_value > value + promised
        if not short.any():
            break
        # The minimum of the parabola through value, slope and new value, within a tenth and a half of this step.
        fitted = (-slope * size**2 / (2 * (new_value - value - slope * size)).clamp(min=1e-30)).to(size.dtype)
        size = torch.where(short, torch.clamp(fitted, min=0.1 * size, max=0.5 * size), size)
    return moved, new_value, gradient
