"""What fits a time limit, at a speed that was measured on this machine.

The last step of planning, when the network has been built. Knows nothing of how the speed was measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from linnaeus.config.resolved import ResolvedPhase
from linnaeus.planning.plan import Plan


def plan_epochs_within(
    plan: Plan,
    phase: ResolvedPhase,
    *,
    seconds: float,
    num_train: int,
    num_validation: float,
    images_per_second: float,
) -> Plan:
    """Cut the only phase to a time limit, leaving a twentieth for saving and surprises.

    Args:
        plan: of which only the epochs are left to settle.
        phase: its only one.
        seconds: allowed.
        num_train: images of an epoch.
        num_validation: images whose training would take as long as one validation.
        images_per_second: of training.

    Where fewer than all epochs fit, the last one is broken off, so that the learning rate comes to its end in time.
    """
    seen = 0.95 * seconds * images_per_second
    whole, rest = divmod(seen, num_train + num_validation)
    fit = whole + max(0.0, rest - num_validation) / num_train
    epochs = min(phase.epochs, max(0.01, math.floor(100 * fit) / 100))
    why = _reason(images_per_second, seconds)
    if epochs == phase.epochs:
        return plan.note("epochs", f"{epochs:g}", f"{why}: all of them fit")
    return plan.settle("epochs", f"{epochs:g}", f"{why}; without a limit {phase.epochs:g}", {"phases.0.epochs": epochs})


def plan_phases_within(
    plan: Plan,
    phases: Sequence[ResolvedPhase],
    *,
    seconds: float,
    costs: Sequence[tuple[float, float]],
    images_per_second: float,
) -> Plan:
    """Cut several phases to a time limit, leaving a twentieth for saving and surprises.

    Args:
        plan: of which only the epochs are left to settle.
        phases: all of them.
        seconds: allowed for all.
        costs: of each phase (fixed, per epoch), in images whose training takes as long; phases without a cost per
            epoch are never cut.
        images_per_second: of training on images.

    What the fixed costs leave is divided in proportion; a phase of which less than half an epoch is left after a head
    was trained is dropped.
    """
    seen = 0.95 * seconds * images_per_second - sum(fixed for fixed, _ in costs)
    wanted = sum(per_epoch * phase.epochs for phase, (_, per_epoch) in zip(phases, costs, strict=True))
    fraction = 1.0 if not wanted else max(0.0, min(1.0, seen / wanted))
    why = _reason(images_per_second, seconds)
    if fraction == 1.0:
        return plan.note("epochs", ", ".join(f"{phase.epochs:g}" for phase in phases), f"{why}: all of them fit")
    kept: list[ResolvedPhase] = []
    for phase, (_, per_epoch) in zip(phases, costs, strict=True):
        epochs = math.floor(100 * fraction * phase.epochs) / 100
        if not per_epoch:
            kept.append(phase)
        elif epochs >= 0.5 or not kept:
            kept.append(phase.model_copy(update={"epochs": max(0.01, epochs)}))
    return plan.settle("epochs", _listed(kept), f"{why}; without a limit {_listed(phases)}", {"phases": tuple(kept)})


def _reason(images_per_second: float, seconds: float) -> str:
    return f"{images_per_second:,.0f} images/s measured, {seconds:.0f} s allowed"


def _listed(phases: Sequence[ResolvedPhase]) -> str:
    return ", ".join(f"{phase.name} {phase.epochs:g}" for phase in phases)
