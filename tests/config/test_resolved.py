"""A settled configuration: nothing is left to choose in it, and its page is a recipe again."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError
from tests.settled import PAGE

from linnaeus.config.pages import to_yaml
from linnaeus.config.resolved import ResolvedConfig, read_resolved, resolve
from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.errors import ConfigError

MACHINE = {"runtime.device", "runtime.precision"}
"""These follow the machine at every start."""


def left_open(section: type[BaseModel], address: str = "") -> Iterator[str]:
    """Addresses of the fields that may be "auto", by their type or by their default."""
    for name, field in section.model_fields.items():
        where = f"{address}{name}"
        if "auto" in choices(field.annotation) or (field.default == "auto" and not field.is_required()):
            yield where
        for part in parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from left_open(part, f"{where}.")


def parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from parts(inner)


def choices(annotation: Any) -> set[Any]:
    return {choice for part in parts(annotation) if get_origin(part) is Literal for choice in get_args(part)}


def test_no_type_allows_auto_but_for_the_machine_and_weights_that_a_network_of_ours_has_none_of() -> None:
    assert len(set(left_open(RunConfig))) >= 10
    assert set(left_open(ResolvedConfig)) == MACHINE | {"model.weights"}


def test_every_field_is_that_of_the_settings() -> None:
    def fields(section: type[BaseModel]) -> Any:
        return {
            name: next((fields(part) for part in parts(field.annotation) if _is_section(part)), None)
            for name, field in section.model_fields.items()
        }

    assert fields(ResolvedConfig) == fields(RunConfig)


def _is_section(part: Any) -> bool:
    return isinstance(part, type) and not isinstance(part, types.GenericAlias) and issubclass(part, BaseModel)


@pytest.mark.parametrize(
    "address",
    [
        *("data.out_of_fold", "image.size", "augment.flip", "augment.pad_crop_px", "model.name", "model.features"),
        *("phases.0.batch_size", "phases.0.epochs", "evaluate.tta", "evaluate.batch_size"),
    ],
)
def test_what_is_left_open_is_named(address: str) -> None:
    page = {name: [dict(value[0])] if name == "phases" else dict(value) for name, value in PAGE.items()}
    node: Any = page
    *path, field = [int(part) if part.isdigit() else part for part in address.split(".")]
    for part in path:
        node = node[part]
    node[field] = "auto"
    with pytest.raises(ConfigError, match=rf"In the plan: '{address}.*' = 'auto' does not fit"):
        resolve(parse_config(page), where="the plan")


def test_the_saved_page_is_a_recipe_and_the_same_configuration_again(tmp_path: Path) -> None:
    config = resolve(parse_config(PAGE))
    page = tmp_path / "config.yaml"
    page.write_text(to_yaml(config), encoding="utf-8")
    assert read_resolved(page) == config
    assert to_yaml(parse_config(config.model_dump())) == page.read_text(encoding="utf-8")


@pytest.mark.parametrize(("section", "field"), [("evaluate", "batch_size"), ("data", "out_of_fold")])
def test_limits_of_the_settings_hold_here_too(section: str, field: str) -> None:
    page = {**PAGE, section: {**PAGE[section], field: -1}}
    with pytest.raises(ConfigError, match="greater than or equal to"):
        parse_config(page)
    with pytest.raises(ValidationError, match="greater than or equal to"):
        ResolvedConfig.model_validate(page)
