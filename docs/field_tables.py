"""Tables of fields for the pages that are written from docstrings, by the scripts `make_*.py` beside this one."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Words:
    """How a page names types.

    Attributes:
        section: a link to the table of another model.
        nothing: what None is called, such as `null`.
    """

    section: Callable[[type[BaseModel]], str]
    nothing: str

    def of(self, field: FieldInfo) -> str:
        """Such as "number, > 0, < 1", "`none`, `both` or `auto`", "text or nothing"."""
        return ", ".join([either(self._parts(field.annotation)), *_limits(field)])

    def _parts(self, annotation: Any) -> Iterator[str]:
        origin, inner = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            yield either(self._parts(inner[0])) + "".join(f" {limit}" for limit in _limits(inner[1]))
        elif origin in (Union, types.UnionType):
            for part in inner:
                yield from self._parts(part)
        elif origin is Literal:
            yield from (f"`{choice}`" for choice in inner)
        elif origin is list:
            yield f"list of {either(self._several(inner[0]))}"
        elif origin is dict:
            value = either(self._parts(inner[1]))
            yield f"names, each with {value if value.startswith('names') else f'a {value}'}"
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield self.section(annotation)
        else:
            known = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): self.nothing}
            yield known[annotation]

    def _several(self, annotation: Any) -> Iterator[str]:
        """The same in the plural: "numbers", "lists of numbers"."""
        for part in self._parts(annotation):
            head, of, rest = part.partition(" of ")
            yield f"{head}s{of}{rest}"


def table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table; cells may go over several lines."""
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(flat(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def tables_of(model: type[BaseModel], words: Words) -> list[str]:
    """A heading, sentences and a table for a type and for each below it, in the order in which they are met."""
    parts = []
    for section in dict.fromkeys(_sections(model)):
        rows = [
            (f"`{field.serialization_alias or name}`", words.of(field), field.description or "")
            for name, field in section.model_fields.items()
        ]
        parts += [f"## {section.__name__}", _sentences(section), table(("field", "type", "meaning"), rows)]
    return parts


def link(section: type[BaseModel]) -> str:
    """To the table of a type on the same page."""
    return f"[{section.__name__}](#{section.__name__.lower()})"


def _sections(section: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield section
    for field in section.model_fields.values():
        for inner in _models(field.annotation):
            yield from _sections(inner)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _sentences(section: type[BaseModel]) -> str:
    """The docstring, its paragraphs unwrapped."""
    return "\n\n".join(flat(paragraph) for paragraph in inspect.cleandoc(section.__doc__ or "").split("\n\n"))


def either(words: Iterator[str]) -> str:
    """ "a", "a or b", "a, b or c"."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def number(value: Any) -> str:
    """A limit or default: whole floats without their point."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def flat(text: str) -> str:
    """One line: docstrings are wrapped and indented."""
    return " ".join(text.split())


def _limits(field: FieldInfo) -> Iterator[str]:
    for limit in field.metadata:
        match limit:
            case Gt():
                yield f"> {number(limit.gt)}"
            case Ge():
                yield f">= {number(limit.ge)}"
            case Lt():
                yield f"< {number(limit.lt)}"
            case Le():
                yield f"<= {number(limit.le)}"
            case MinLen():
                yield f"{limit.min_length} at least"
            case MaxLen():
                yield f"{limit.max_length} at most"
