"""`linnaeus cache`: what is kept is listed and can be deleted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaeus.cli.main import main
from linnaeus.data.cache.images import open_cache
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.manifest import manifest_from_columns


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cached [1]"))
    return tmp_path / "cached [1]"


def build_cache(tmp_path: Path) -> Path:
    uris = []
    for k in range(4):
        uris.append(str(tmp_path / f"{k}.png"))
        Image.fromarray(np.full((9, 9, 3), k, np.uint8)).save(uris[-1])
    manifest = manifest_from_columns(list("abcd"), uris, ["x", "x", "y", "y"])
    return open_cache(manifest, ImageSpec(12, 16)).path


def test_an_empty_cache_says_where_it_would_be(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 0
    assert capsys.readouterr().out == f"Nothing is cached in {folder}.\n"


def test_caches_are_listed_and_cleared(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = build_cache(tmp_path)
    assert main(["cache"]) == 0
    listing = capsys.readouterr().out
    for expected in (path.name, " 4 ", "16x12", "kB", f"in {folder}. Delete all with: linnaeus cache clear"):
        assert expected in listing
    assert main(["cache", "clear"]) == 0
    assert "kB freed in" in capsys.readouterr().out
    assert not path.exists()
    assert (tmp_path / "0.png").exists()
    assert main(["cache"]) == 0
    assert "Nothing is cached" in capsys.readouterr().out
