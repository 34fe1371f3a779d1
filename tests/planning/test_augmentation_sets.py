"""The augmentation of reference systems by name."""

from __future__ import annotations

import pytest

from linnaeus.augment.sets import REFERENCE_SETS
from linnaeus.config.pages import read_recipe
from linnaeus.config.settings import parse_config
from linnaeus.planning.plan import Plan
from linnaeus.planning.training import plan_augment


@pytest.mark.parametrize("name", sorted(REFERENCE_SETS))
def test_a_set_is_that_of_its_recipe_and_settings_go_before_it(name: str) -> None:
    recipe = parse_config(read_recipe(name)).augment
    asked = parse_config({"image": {"size": 32}, "augment": {"policy": name, "scale": 0.5}})
    plan = plan_augment(Plan(asked, asked), grey=False)
    settled = plan.config.augment
    assert settled.policy == "none" and settled.scale == 0.5
    assert settled.model_copy(update={"scale": recipe.scale}) == recipe
    assert plan.decisions[0].choice == name
