"""Writes docs/configuration.md from the fields of src/linnaeus/config/settings.py and their docstrings.

    python docs/make_configuration.py

The committed page must be what this writes; tests/test_docs.py compares the two.
"""

from __future__ import annotations

from pathlib import Path

from field_tables import Words, flat, number, table
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from linnaeus.config.conditions import conditions_of
from linnaeus.config.settings import SECTIONS, RunConfig

PAGE = Path(__file__).with_name("configuration.md")
_ADDRESSES = {"head": "model.head", "phases": "phases.0", "early_stopping": "phases.0.early_stopping"}
_INTRODUCTION = """# Configuration

<!-- Written by docs/make_configuration.py from the docstrings of config/settings.py. Change those, not this. -->

Every setting of a run, with its default. There are three ways to give one:

- in a recipe, a YAML file such as those that `linnaeus recipes` lists: `image: {size: 64}`;
- on the command line, which overrides the recipe: `linnaeus train photos/ --set image.size=64`;
- in Python: `linnaeus.train("photos/", settings={"image": {"size": 64}})`, which also overrides the recipe.

Values on the command line are read as YAML: `--set augment.flip=none`, `--set 'loss.l2={convolutions: 0.001}'`. Phases
are numbered from 0: `--set phases.0.lr=3e-4`. A setting that does not exist is an error that lists those that do, and
an invalid value is an error that says why; nothing is started then.

Where a value is `auto`, the plan chooses it from the training images and writes the choice and its reason to `plan.md`
(`runtime.device` and `runtime.precision` follow the machine instead, at every start). The resolved configuration is
saved in the run folder as `config.yaml` and is itself a recipe:
`linnaeus train new/ --recipe runs/photos/config.yaml`."""


def configuration_page() -> str:
    """The whole page as Markdown."""
    parts = [_INTRODUCTION, "## The run", _table(RunConfig, own_only=True)]
    for name, section in SECTIONS.items():
        address = _ADDRESSES.get(name, name)
        sentence = flat(section.__doc__ or "")
        parts += [f"## {name}", f"{sentence} Set with `--set {address}.FIELD=VALUE`.", _table(section)]
    return "\n\n".join(parts) + "\n"


def _table(section: type[BaseModel], *, own_only: bool = False) -> str:
    """One row per field; with `own_only`, fields that are sections of their own are left out."""
    rows = [
        (f"`{name}`", _WORDS.of(field), _default_text(field), _meaning(section, name, field))
        for name, field in section.model_fields.items()
        if not (own_only and name in SECTIONS)
    ]
    return table(("field", "type", "default", "meaning"), rows)


def _meaning(section: type[BaseModel], name: str, field: FieldInfo) -> str:
    return f"{field.description or ''} {_condition_text(section, name)}".strip()


def _condition_text(section: type[BaseModel], name: str) -> str:
    """When the field acts, as its markers say; nothing for one that always does, or as all of its section."""
    conditions = conditions_of(section, name)
    words = [f"`{said}`" if "=" in said else said for said in (marker.words() for marker in conditions.only_with)]
    words += [situation for situation in conditions.only_for if situation != getattr(section, "only_for", None)]
    return f"Only with {' and '.join(words)}." if words else ""


def _link(section: type[BaseModel]) -> str:
    name = next(name for name, known in SECTIONS.items() if known is section)
    return f"[{name}](#{name})"


_WORDS = Words(section=_link, nothing="nothing")


def _default_text(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "nothing"
    if value == {} or value == []:
        return "none"
    if isinstance(value, BaseModel):
        return "as below"
    return f"`{str(value).lower() if isinstance(value, bool) else number(value)}`"


if __name__ == "__main__":
    PAGE.write_text(configuration_page(), encoding="utf-8")
    print(f"{PAGE} written")
