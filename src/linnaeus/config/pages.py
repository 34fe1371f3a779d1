"""A configuration as a page of YAML: recipes read, settings of the command line laid over them, settled pages written.

Beside `config`, which knows what the fields mean; here they are nested dicts and lists. Holds no default.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from linnaeus.config.settings import RunConfig
from linnaeus.errors import ConfigError, RecipeError, nearest_name


def overlay(page: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A page with nested settings laid over it; lists are laid over item by item."""
    result = dict(page)
    for name, value in settings.items():
        below = result.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            result[name] = overlay(below, value)
        elif isinstance(value, list) and isinstance(below, list):
            pairs: Iterable[tuple[Any, Any]] = itertools.zip_longest(below, value, fillvalue={})
            result[name] = [overlay(b, v) if isinstance(v, Mapping) and isinstance(b, Mapping) else v for b, v in pairs]
        else:
            result[name] = value
    return result


def settings_from(assignments: Iterable[str]) -> dict[str, Any]:
    """Nested settings from `section.field=value` assignments (values in YAML); `phases.0.lr=3e-4` reaches into lists.

    Raises ConfigError for an assignment without `=`, or through something that has no parts.
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        if not equals or not dotted.strip():
            raise ConfigError(f"--set takes section.field=value, not '{assignment}'. Example: --set phases.0.lr=3e-4")
        _assign(settings, dotted.strip().split("."), _scalar(text), assignment)
    return settings


def _scalar(text: str) -> Any:
    """YAML, but `3e-4` is a number (YAML 1.1 reads it as a string)."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set cannot read the value '{text}': {error}") from error
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _assign(settings: dict[str, Any], path: list[str], value: Any, assignment: str) -> None:
    node: Any = settings
    for part, following in zip(path, [*path[1:], None], strict=True):
        if isinstance(node, list):
            if not part.isdigit():
                raise ConfigError(f"--set {assignment}: '{part}' should be a number, such as phases.0.lr.")
            key: Any = int(part)
            node.extend({} for _ in range(key + 1 - len(node)))
        elif isinstance(node, dict):
            key = part
        else:
            raise ConfigError(f"--set {assignment}: what comes before '{part}' has no parts.")
        if following is None:
            node[key] = value
        elif isinstance(node, list) or key in node:
            node = node[key]
        else:
            node[key] = [] if part == "phases" else {}
            node = node[key]


def read_page(path: Path) -> dict[str, Any]:
    """Read a YAML page; raises RecipeError if it is missing or is not a mapping."""
    try:
        page = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"Cannot read {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML: {error}") from error
    if not isinstance(page, dict):
        raise RecipeError(f"{path} is not a recipe: it should hold sections such as 'model:' and 'phases:'.")
    return page


RECIPE_ALIASES = {
    "mish-cnn": "c1",
    "inception-resnet-v2-frozen": "c2",
    "resnext50-linear": "m1",
    "resnext101-linear": "m2",
    "resnext101-hidden": "m2-hidden",
    "residual-inception-cnn": "m3",
    "joined-backbones-linear": "m4",
    "vgg16-letterbox": "p1",
    "efficientnetv2-b0-finetune": "p2",
    "efficientnetv2-l-finetune": "p3",
    "relu-cnn": "u1",
    "resnet50-finetune": "u2",
    "feed-forward": "x1",
    "gelu-cnn": "x2",
    "efficientnet-b0-finetune": "x3",
    "efficientnet-b0-dropout": "x4",
}
"""What the reference systems are, for whoever does not know their ids; a recipe is found by either name."""


def recipe_names() -> list[str]:
    """Names of the recipes in the package, sorted, without aliases."""
    folder = resources.files("linnaeus.config") / "recipes"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def names_with_aliases() -> list[str]:
    """The same with the alias of each that has one, such as `c1 (mish-cnn)`."""
    aliases = {name: alias for alias, name in RECIPE_ALIASES.items()}
    return [f"{name} ({aliases[name]})" if name in aliases else name for name in recipe_names()]


def recipe_text(name: str) -> str:
    """The page of a recipe in the package, by its name or alias, as it is written."""
    file = resources.files("linnaeus.config") / "recipes" / f"{RECIPE_ALIASES.get(name, name)}.yaml"
    return file.read_text(encoding="utf-8")


def read_recipe(name: str) -> dict[str, Any]:
    """The page of a recipe, by its name or alias in the package or as the path of a user's own file.

    Raises RecipeError with the nearest name if there is none.
    """
    own = RECIPE_ALIASES.get(name, name)
    if own in recipe_names():
        return read_page(Path(str(resources.files("linnaeus.config") / "recipes" / f"{own}.yaml")))
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return read_page(path)
    near = nearest_name(name, [*recipe_names(), *RECIPE_ALIASES])
    raise RecipeError(f"There is no recipe '{name}'.{near} Recipes: {', '.join(names_with_aliases())}")


def to_yaml(config: RunConfig) -> str:
    """The whole page, every field written out, ready to be a recipe again."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
