"""`linnaeus recipes`: the recipes in the package."""

from __future__ import annotations

from typing import Literal

from linnaeus.config.pages import names_with_aliases, read_recipe, recipe_names, recipe_text
from linnaeus.errors import RecipeError


def recipes(action: Literal["list", "show"] = "list", name: str = "", /) -> int:
    """List the recipes that come with Linnaeus, or print one, ready to edit.

    Example: linnaeus recipes show mish-cnn > mine.yaml; linnaeus train photos/ --recipe mine.yaml

    Parameters
    ----------
    action
        `list`, or `show NAME`.
    name
        The recipe to print: its name, or the alias in parentheses.
    """
    if action == "show":
        if not name:
            raise RecipeError(f"Name the recipe to show: {', '.join(names_with_aliases())}")
        read_recipe(name)
        print(recipe_text(name), end="")
        return 0
    shown = names_with_aliases()
    width = max(map(len, shown))
    for recipe, words in zip(recipe_names(), shown, strict=True):
        print(f"{words:<{width}}  {recipe_text(recipe).splitlines()[0].removeprefix('# ')}")
    return 0
