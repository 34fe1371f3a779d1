"""What a person says about the data on the command line reaches the reader, whole and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linnaeus.cli.data_options import parse_pixels, parse_shape, split_names
from linnaeus.cli.main import main
from linnaeus.config.settings import parse_config
from linnaeus.data.intake import source_options
from linnaeus.data.sources.options import SourceOptions
from linnaeus.errors import ConfigError, DataError
from linnaeus.run import fit as fit_module


def test_every_option_reaches_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def fit(settings: dict[str, Any], **_: object) -> None:
        seen.update(settings)
        raise DataError("far enough")

    monkeypatch.setattr(fit_module, "fit", fit)
    words = (
        "train x.csv --format table --image-column Id --label-columns a,b --label-columns N/A --image-root pics "
        "--image-shape 30,20,3 --top-classes 12 --box-padding 0.2 --min-box-size 4px"
    )
    assert main([*words.split(), "--classes", "Small car,Bus"]) == 2
    config = parse_config(seen).data
    assert (config.source, config.format) == ("x.csv", "table")
    assert source_options(config) == SourceOptions(
        image_column="Id",
        label_columns=("a", "b", "N/A"),
        image_root=Path("pics"),
        image_shape=(30, 20, 3),
        classes=("Small car", "Bus"),
        top_classes=12,
        box_padding=0.2,
        min_box_size_px=4.0,
    )


def test_nothing_said_leaves_everything_to_the_reader() -> None:
    assert source_options(parse_config({}).data) == SourceOptions()


@pytest.mark.parametrize(
    ("text", "shape"), [("300,300,3", [300, 300, 3]), ("3x32x32", [3, 32, 32]), ("28, 28", [28, 28])]
)
def test_a_shape_is_two_or_three_numbers(text: str, shape: list[int]) -> None:
    assert parse_shape(text) == shape


@pytest.mark.parametrize("text", ["", "3", "a,b", "0,3,3", "1,2,3,4", "-1,2"])
def test_anything_else_is_no_shape(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--image-shape takes two or three numbers"):
        parse_shape(text)


@pytest.mark.parametrize(("text", "pixels"), [("4px", 4.0), ("4", 4.0), ("0.5px", 0.5)])
def test_pixels_may_say_so(text: str, pixels: float) -> None:
    assert parse_pixels(text) == pixels


@pytest.mark.parametrize("text", ["", "px", "-1", "4cm", "nan", "inf"])
def test_anything_else_is_no_number_of_pixels(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--min-box-size takes a number of pixels"):
        parse_pixels(text)


def test_names_are_divided_at_commas() -> None:
    assert split_names(("a, b", "c d")) == ["a", "b", "c d"]
    assert split_names(()) is None
