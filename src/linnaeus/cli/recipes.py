"""`linnaeus recipes`: the recipes in the package."""

from __future__ import annotations

from importlib import resources
from typing import Literal

from linnaeus.config.pages import read_recipe, recipe_names
from linnaeus.errors import RecipeError


def recipes(action: Literal["list", "show"] = "list", name: str = "", /) -> int:
    """List the recipes in the package, or show one, ready to edit.

    Example: linnaeus recipes show c1 > mine.yaml; linnaeus train photos/ --recipe mine.yaml

    Parameters
    ----------
    action
        `list`, or `show NAME`.
    name
        The recipe to show.
    """
    if action == "show":
        if not name:
            raise RecipeError(f"Name the recipe to show: {', '.join(recipe_names())}")
        read_recipe(name)
        print(_page(name), end="")
        return 0
    width = max(len(recipe) for recipe in recipe_names())
    for recipe in recipe_names():
        print(f"{recipe:<{width}}  {_page(recipe).splitlines()[0].removeprefix('# ')}")
    return 0


def _page(name: str) -> str:
    return (resources.files("linnaeus.config") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
