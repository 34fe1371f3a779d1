"""Settings: strict names, nearest match, recipes, assignments."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from linnaeus.config.pages import (
    RECIPE_ALIASES,
    names_with_aliases,
    overlay,
    read_recipe,
    recipe_names,
    settings_from,
    to_yaml,
)
from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.errors import ConfigError, RecipeError


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ({"augmnt": {}}, ["augmnt", "Did you mean 'augment'?"]),
        ({"augment": {"rotate_degree": 3}}, ["augment.rotate_degree", "Did you mean 'rotate_degrees'?"]),
        ({"phases": [{"learning_rte": 1}]}, ["phases.0.learning_rte"]),
        (
            {"phases": [{"early_stopping": {"patients": 1}}]},
            ["phases.0.early_stopping.patients", "Did you mean 'patience'?"],
        ),
        ({"augment": {"noise": 3}}, ["augment.noise", "3", "less than or equal to 1"]),
        ({"loss": {"l2": {"convs": 0.1}}}, ["convolutions, dense, head or all, not convs"]),
        ({"loss": {"l1": {"dense[2]": 0.1}}}, ["not dense[2]"]),
        ({"phases": []}, ["phases"]),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_meant(page: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(page)
    for word in words:
        assert word in str(caught.value)


def test_assignments_are_yaml_and_reach_into_phases() -> None:
    settings = settings_from(["phases.0.lr=3e-4", "seed=7", "augment.flip=none", "model.options.widths=[8, 8]"])
    assert settings == {
        "phases": [{"lr": 3e-4}],
        "seed": 7,
        "augment": {"flip": "none"},
        "model": {"options": {"widths": [8, 8]}},
    }


@pytest.mark.parametrize("assignment", ["phases.0.lr", "=3", "phases.first.lr=1", "seed.x.y=1"])
def test_an_assignment_that_cannot_be_read_is_an_error(assignment: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        settings_from(["seed=1", assignment])


def test_settings_lie_over_a_recipe_phase_by_phase() -> None:
    page = {"phases": [{"name": "a", "lr": 1.0}, {"name": "b", "lr": 2.0}], "seed": 1}
    assert overlay(page, {"phases": [{}, {"lr": 5.0}]}) == {
        "phases": [{"name": "a", "lr": 1.0}, {"name": "b", "lr": 5.0}],
        "seed": 1,
    }
    assert page["seed"] == 1


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid_and_headed_by_a_command(name: str) -> None:
    parse_config(read_recipe(name))
    source = Path(__file__).parents[2] / "src" / "linnaeus" / "config" / "recipes" / f"{name}.yaml"
    head = source.read_text().splitlines()[0]
    assert head.startswith("#")
    assert f"--recipe {name}" in head


@pytest.mark.parametrize("alias", RECIPE_ALIASES)
def test_every_alias_names_a_recipe_and_none_hides_one(alias: str) -> None:
    assert read_recipe(alias) == read_recipe(RECIPE_ALIASES[alias])
    assert alias not in recipe_names()
    assert f"{RECIPE_ALIASES[alias]} ({alias})" in names_with_aliases()


def test_every_reference_system_has_one_alias() -> None:
    systems = [name for name in recipe_names() if not name.startswith("best-")]
    assert sorted(RECIPE_ALIASES.values()) == systems


def test_a_saved_page_is_a_recipe_again(tmp_path: Path) -> None:
    config = parse_config(overlay(read_recipe("c1"), {"seed": 5, "data": {"source": "Bilder für alle"}}))
    page = tmp_path / "again.yaml"
    page.write_text(to_yaml(config), encoding="utf-8")
    assert parse_config(read_recipe(str(page))) == config
    assert set(yaml.safe_load(page.read_text())) == set(RunConfig.model_fields)


def test_unknown_and_broken_recipes_are_errors(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Did you mean 'c1'"):
        read_recipe("c11")
    with pytest.raises(RecipeError, match=r"Did you mean 'mish-cnn'.* c1 \(mish-cnn\)"):
        read_recipe("mish-cn")
    with pytest.raises(RecipeError, match="Cannot read"):
        read_recipe(str(tmp_path / "none.yaml"))
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(RecipeError, match="not a recipe"):
        read_recipe(str(tmp_path / "list.yaml"))
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(RecipeError, match="not YAML"):
        read_recipe(str(tmp_path / "bad.yaml"))


def test_a_precision_of_32_may_be_a_number_as_yaml_reads_it() -> None:
    settings = settings_from(["runtime.precision=32"])
    assert parse_config(settings).runtime.precision == "32"
    with pytest.raises(ConfigError, match=r"runtime\.precision"):
        parse_config({"runtime": {"precision": 16}})
