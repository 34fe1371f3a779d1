"""`linnaeus models`: what it lists of which architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from linnaeus.cli.main import main


@pytest.fixture(autouse=True)
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("COLUMNS", "120")


def test_a_pattern_lists_size_counts_and_where_weights_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "resnet50.safetensors").write_bytes(b"")
    assert main(["models", "resnet5*", "--weights", str(tmp_path)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:] if line.strip()}
    assert lines["resnet50"].split()[1:] == ["224", "23.5", "2,048", "here:", "resnet50.safetensors"]
    assert "on the hub" in lines["resnet50d"]


def test_part_of_a_name_is_enough_and_many_are_listed_without_building_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "vgg16" in out and "efficientnet_b0" in out and "parameters (M)" not in out
    assert main(["models", "inception_resnet"]) == 0
    assert "1,536" in capsys.readouterr().out


def test_no_match_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "resnet5O"]) == 2
    assert "Did you mean 'resnet50" in capsys.readouterr().err
