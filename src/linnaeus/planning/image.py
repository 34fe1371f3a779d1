"""The size at which the network sees images.

Before the cache is built, as that needs the size. A backbone knows the size that it was trained with; networks of our
own see small images as they are, and large ones made small.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from linnaeus.planning.fingerprint import Fingerprint
from linnaeus.planning.plan import Plan
from linnaeus.planning.transfer import is_backbone, is_head_alone

if TYPE_CHECKING:
    from linnaeus.models.backbones import BackboneSpec

SMALL_PX = 64
LARGE_PX = 64
MIN_PX = 16
MIN_BACKBONE_PX, STEP_PX = 96, 32
ENLARGED, ENLARGED_ONCE = 4, 7
"""For a backbone, small images are enlarged so many times at most, where each is seen in every epoch or only once."""


def plan_image(plan: Plan, fingerprint: Fingerprint) -> Plan:
    """Settle `image.size`; `model.name` is settled where the network is a backbone."""
    image = plan.config.image
    if image.size != "auto":
        return plan.note("image size", f"{image.size} px", "as asked")
    longest = max(fingerprint.width, fingerprint.height)
    size, why = _backbone_size(plan, longest) if is_backbone(plan.config.model) else _own_size(longest)
    return plan.settle("image size", f"{size} px, {image.resize}", why, {"image.size": size})


def _own_size(longest_px: int) -> tuple[int, str]:
    if longest_px > SMALL_PX:
        return (
            LARGE_PX,
            f"smaller than their {longest_px} px: larger ones are not worth their time from scratch",
        )
    if longest_px >= MIN_PX:
        return longest_px, "the images' own size"
    return MIN_PX, f"enlarged from {longest_px} px: shifts need room"


def _backbone_size(plan: Plan, longest_px: int) -> tuple[int, str]:
    """What the backbone was trained with, or less for images that are much smaller.

    For a head alone, what a whole image measures of which the backbone was tested on the centre: nothing is cut off
    here, and frozen layers know things at the size at which they saw them (Touvron et al., arXiv 1906.06423).
    """
    from linnaeus.models.backbones import backbone_spec  # takes seconds: timm

    spec = backbone_spec(plan.config.model.name)
    return _size_for(spec, longest_px, head_alone=is_head_alone(plan.config.phases))


def _size_for(spec: BackboneSpec, longest_px: int, *, head_alone: bool) -> tuple[int, str]:
    if spec.fixed_size:
        return spec.input_size, "the only size that the backbone takes"
    known, why = spec.input_size, "the size that the backbone was trained at"
    if head_alone and spec.whole_size > known:
        known = round(spec.whole_size / STEP_PX) * STEP_PX
        why = f"images whose central {spec.input_size} px a backbone was tested on are {spec.whole_size} px wide"
    times = ENLARGED_ONCE if head_alone else ENLARGED
    enlarged = max(MIN_BACKBONE_PX, math.ceil(times * longest_px / STEP_PX) * STEP_PX)
    if enlarged < known:
        return enlarged, f"{times} times the images' {longest_px} px; the backbone knows {known} px"
    return known, why
