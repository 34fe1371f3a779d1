"""The recipe for someone who named none.

The first step of planning, as everything else is settled within a recipe. Knows how large the images are and which
weights are here, not what the images show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from linnaeus.config.settings import HeadConfig, RunConfig
from linnaeus.models import MODELS
from linnaeus.planning.fingerprint import Fingerprint
from linnaeus.planning.head_loss import solves_for_loss
from linnaeus.planning.image import SMALL_PX
from linnaeus.planning.plan import Plan
from linnaeus.planning.transfer import DEFAULT_BACKBONE, has_default_backbone, is_backbone, missing_default

GAIN = "with photos a pretrained backbone would probably give more accuracy in less time (docs/transfer.md)"
"""What those are told who train on photos from scratch."""


def choose_recipe(plan: Plan, fingerprint: Fingerprint, configure: Callable[[str], RunConfig]) -> Plan:
    """Take the recipe that fits the images and what was asked for.

    Photos are given to a pretrained backbone where there are weights of one; images of at most SMALL_PX, of which there
    may be many, and which may be no photos, to a small network from scratch.

    `configure` gives the configuration of the person's settings over the recipe of a name.
    """
    asked = plan.asked
    if asked.model.name == "auto" and asked.model.weights == "none":
        # Without a backbone that could start from random weights, this is another way to ask for none.
        none = asked.model.model_copy(update={"name": "none", "weights": "auto"})
        plan = replace(plan, asked=asked.model_copy(update={"model": none}))
    if is_backbone(asked.model) and asked.model.weights != "none":
        return _take(
            plan, configure, _finetuning(fingerprint), f"a pretrained backbone is asked for{_several(fingerprint)}"
        )
    size = f"the images are {fingerprint.width} x {fingerprint.height} px (median)"
    if max(fingerprint.width, fingerprint.height) <= SMALL_PX:
        return _take(plan, configure, "best-scratch-small", f"{size}, at most {SMALL_PX}")
    own = _reason_for_scratch(asked)
    if own is None and has_default_backbone(allow_download=asked.model.allow_download):
        here = f"weights of {DEFAULT_BACKBONE} are here, and {size}, more than {SMALL_PX}"
        finetuned = _reason_for_finetuning(asked)
        if finetuned is not None:
            return _take(plan, configure, _finetuning(fingerprint), f"{here}; {finetuned}{_several(fingerprint)}")
        return _take(plan, configure, "best-frozen", f"{here}; --backbone none trains from scratch")
    plan = _take(plan, configure, "best-scratch-large", f"{size}, more than {SMALL_PX}")
    why = f"{GAIN}. {missing_default()}" if own is None else f"{own}; {GAIN}"
    return plan.note("pretrained backbone", "none", why)


def _take(plan: Plan, configure: Callable[[str], RunConfig], name: str, why: str) -> Plan:
    return replace(plan, config=configure(name)).note("recipe", name, why)


def _finetuning(fingerprint: Fingerprint) -> str:
    return "best-multilabel" if fingerprint.task == "multi" else "best-transfer"


def _several(fingerprint: Fingerprint) -> str:
    return ", and images have several labels" if fingerprint.task == "multi" else ""


def _reason_for_scratch(asked: RunConfig) -> str | None:
    """What of a person's settings asks for a network without pretrained weights; None for nothing."""
    model = asked.model
    if model.name == "none":
        return "backbone none was asked for"
    if model.weights == "none":
        return "weights none were asked for"
    if model.name in MODELS:
        return f"{model.name} was asked for"
    if model.options:
        return "model.options without a backbone are for a network of our own"
    return None


def _reason_for_finetuning(asked: RunConfig) -> str | None:
    """What of a person's settings a head that is solved for cannot do; None for nothing."""
    if any(phase.model_fields_set - {"feature_views"} for phase in asked.phases):
        return "epochs or other settings of training are asked for, and a head that is solved for has none"
    if asked.model.head != HeadConfig():
        return "another head than a linear one is asked for, and only linear heads are solved for"
    if asked.augment.model_fields_set - {"flip"}:
        return "augmentation is asked for, and a head that is solved for sees none"
    if asked.data.fold_training == "finetune":
        return "whole networks are asked for in each fold"
    if not solves_for_loss(asked):
        return "the loss that is asked for needs more than a head that is solved for"
    return None
