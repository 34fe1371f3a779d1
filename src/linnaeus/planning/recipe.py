"""The recipe for someone who named none.

The first step of planning, as everything else is settled within a recipe. Knows how large the images are, not what
they show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from linnaeus.config.settings import RunConfig
from linnaeus.planning.fingerprint import Fingerprint
from linnaeus.planning.image import SMALL_PX
from linnaeus.planning.plan import Plan
from linnaeus.planning.transfer import is_backbone


def choose_recipe(plan: Plan, fingerprint: Fingerprint, configure: Callable[[str], RunConfig]) -> Plan:
    """Take the recipe that fits the images and what was asked for.

    `configure` gives the configuration of the person's settings over the recipe of a name.
    """
    name, why = _recipe_for(plan.asked, fingerprint)
    return replace(plan, config=configure(name)).note("recipe", name, why)


def _recipe_for(asked: RunConfig, fingerprint: Fingerprint) -> tuple[str, str]:
    if is_backbone(asked.model) and asked.model.weights != "none":
        if fingerprint.task == "multi":
            return "best-multilabel", "a pretrained backbone is asked for, and images have several labels"
        return "best-transfer", "a pretrained backbone is asked for"
    small = max(fingerprint.width, fingerprint.height) <= SMALL_PX
    size = f"the images are {fingerprint.width} x {fingerprint.height} px (median)"
    name = "best-scratch-small" if small else "best-scratch-large"
    return name, f"{size}, {'at most' if small else 'more than'} {SMALL_PX}"
