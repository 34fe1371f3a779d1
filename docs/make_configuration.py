"""Writes docs/configuration.md from the fields of src/linnaeus/config/settings.py and their docstrings.

    python docs/make_configuration.py

The committed page must be what this writes; tests/test_docs.py compares the two.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from linnaeus.config.conditions import conditions_of
from linnaeus.config.settings import SECTIONS, RunConfig

PAGE = Path(__file__).with_name("configuration.md")
_ADDRESSES = {"head": "model.head", "phases": "phases.0", "stop": "phases.0.stop"}
_INTRODUCTION = """# Configuration

<!-- Written by docs/make_configuration.py from the docstrings of config/settings.py. Change those, not this. -->

Every setting of a run, with its default. There are three ways to give one:

- in a recipe, a YAML page such as those that `linnaeus recipes` lists: `image: {size: 64}`;
- on the command line, which goes before the recipe: `linnaeus train photos/ --set image.size=64`;
- in Python: `linnaeus.train("photos/", settings={"image": {"size": 64}})`, which also goes before the recipe.

Values on the command line are read as YAML: `--set augment.flip=none`, `--set 'loss.l2={convolutions: 0.001}'`. Phases
are numbered from 0: `--set phases.0.lr=3e-4`. A setting that does not exist is an error that lists those that do, and
a value that does not fit is an error that says why; nothing is started then.

Where a value is `auto`, the plan chooses it from the training images and writes the choice and its reason to `plan.md`
(`runtime.device` and `runtime.precision` follow the machine instead, at every start). The settled page is saved in the
folder of the run and is itself a recipe: `linnaeus train new/ --recipe runs/photos/config.yaml`."""


def configuration_page() -> str:
    """The whole page as Markdown."""
    parts = [_INTRODUCTION, "## The run", _table(RunConfig, own_only=True)]
    for name, section in SECTIONS.items():
        address = _ADDRESSES.get(name, name)
        sentence = _flat(section.__doc__ or "")
        parts += [f"## {name}", f"{sentence} Set with `--set {address}.FIELD=VALUE`.", _table(section)]
    return "\n\n".join(parts) + "\n"


def _table(section: type[BaseModel], *, own_only: bool = False) -> str:
    """One row per field; with `own_only`, fields that are sections of their own are left out."""
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, field in section.model_fields.items():
        if own_only and name in SECTIONS:
            continue
        meaning = f"{field.description or ''} {_condition_text(section, name)}"
        cells = (f"`{name}`", _type_text(field), _default_text(field), meaning)
        rows.append("| " + " | ".join(_flat(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _condition_text(section: type[BaseModel], name: str) -> str:
    """When the field acts, as its markers say; nothing for one that always does, or as all of its section."""
    conditions = conditions_of(section, name)
    words = [f"`{said}`" if "=" in said else said for said in (marker.words() for marker in conditions.only_with)]
    words += [situation for situation in conditions.only_for if situation != section.only_for]
    return f"Only with {' and '.join(words)}." if words else ""


def _type_text(field: FieldInfo) -> str:
    """Such as "number, > 0, < 1", "`none`, `both` or `auto`", "text or nothing"."""
    return ", ".join([_either(_words(field.annotation)), *_limits(field)])


def _either(words: Iterator[str]) -> str:
    """ "a", "a or b", "a, b or c"."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _words(annotation: Any) -> Iterator[str]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield _either(_words(inner[0])) + "".join(f" {limit}" for limit in _limits(inner[1]))
    elif origin in (Union, types.UnionType):
        for part in inner:
            yield from _words(part)
    elif origin is Literal:
        yield from (f"`{choice}`" for choice in inner)
    elif origin is list:
        yield f"list of {_either(_words(inner[0]))}s"
    elif origin is dict:
        yield f"names, each with a {_either(_words(inner[1]))}"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        section = annotation.__name__.removesuffix("Config").lower()
        yield f"[{section}](#{section})"
    else:
        known = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "nothing"}
        yield known[annotation]


def _limits(field: FieldInfo) -> Iterator[str]:
    for limit in field.metadata:
        match limit:
            case Gt():
                yield f"> {_number(limit.gt)}"
            case Ge():
                yield f">= {_number(limit.ge)}"
            case Lt():
                yield f"< {_number(limit.lt)}"
            case Le():
                yield f"<= {_number(limit.le)}"
            case MinLen():
                yield f"{limit.min_length} at least"
            case MaxLen():
                yield f"{limit.max_length} at most"


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _default_text(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "nothing"
    if value == {} or value == []:
        return "none"
    if isinstance(value, BaseModel):
        return "as below"
    return f"`{str(value).lower() if isinstance(value, bool) else _number(value)}`"


def _flat(text: str) -> str:
    """One line: docstrings are wrapped and indented."""
    return " ".join(text.split())


if __name__ == "__main__":
    PAGE.write_text(configuration_page(), encoding="utf-8")
    print(f"{PAGE} written")
