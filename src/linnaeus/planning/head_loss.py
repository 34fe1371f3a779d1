"""What heads that are solved for make small, where the settings ask for something that L-BFGS does not minimise.

Beside `labels`, which settles the loss itself. A head by `lbfgs` always minimises cross-entropy (binary cross-entropy
for several labels) under a path of penalties of its own; class weights, logit adjustment and label smoothing it obeys.
Other losses and penalties count for the other phases alone, and that is said. Knows nothing of images.
"""

from __future__ import annotations

from linnaeus.config.settings import RunConfig
from linnaeus.errors import ConfigError
from linnaeus.planning.plan import Plan


def solves_for_loss(config: RunConfig) -> bool:
    """Whether a head by `lbfgs` minimises all that the loss of these settings holds."""
    return not _not_minimised(config)


def check_head_loss(config: RunConfig) -> None:
    """Raises ConfigError where the loss or its penalties would change nothing, because every phase is by `lbfgs`."""
    asked = _not_minimised(config)
    if asked and all(phase.optimizer == "lbfgs" for phase in config.phases):
        raise ConfigError(
            f"{' and '.join(asked.values())} would change nothing: every phase is a head by lbfgs, which minimises "
            f"{_minimised(config)} under penalties of its own. Leave it out, take another optimizer such as adam for "
            "the head, or add a phase that fine-tunes."
        )


def plan_head_loss(plan: Plan) -> Plan:
    """Write down which phases do not minimise the loss that was asked for, and which do; nothing where all of them do.

    `plan` has only the phases that the time allows.
    """
    config = plan.config
    asked = _not_minimised(config)
    solved = [phase.name for phase in config.phases if phase.optimizer == "lbfgs"]
    others = [phase.name for phase in config.phases if phase.optimizer != "lbfgs"]
    if not asked or not solved:
        return plan
    names = " and ".join(asked)
    verb = "applies" if len(asked) == 1 else "apply"
    where = f"to {' and '.join(others)}" if others else "to no phase, as the time allows none but this"
    why = f"L-BFGS solves for it, under penalties of its own; {names} {verb} {where}"
    return plan.note(f"loss ({', '.join(solved)})", _minimised(config), why)


def _minimised(config: RunConfig) -> str:
    """Of one label per image or several, as the loss of the other phases tells (`plan_labels` has made it fit)."""
    return "cross-entropy" if config.loss.name in ("cross_entropy", "focal") else "binary cross-entropy"


def _not_minimised(config: RunConfig) -> dict[str, str]:
    """In a word -> as a setting: what the loss holds that heads by `lbfgs` do not obey."""
    loss = config.loss
    found: dict[str, str] = {}
    if loss.name not in ("cross_entropy", "bce"):
        found[loss.name] = f"loss.name={loss.name}"
    for name, factors in (("l1", loss.l1), ("l2", loss.l2)):
        if any(factors.values()):
            found[f"loss.{name}"] = f"loss.{name}"
    return found
