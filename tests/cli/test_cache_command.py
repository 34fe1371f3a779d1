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
    for expected in (
        path.name[:15],
        "4 images of 16 x 12 px",
        "kB images",
        f"in {folder}. Delete all with: linnaeus cache",
    ):
        assert expected in listing
    assert main(["cache", "clear"]) == 0
    assert "kB freed in" in capsys.readouterr().out
    assert not path.exists()
    assert (tmp_path / "0.png").exists()
    assert main(["cache"]) == 0
    assert "Nothing is cached" in capsys.readouterr().out


def test_every_kind_is_listed_with_its_size_and_cleared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = [f"images-{'0' * 32}", f"features-{'1' * 24}", f"extracted-{'2' * 32}", "torchvision-CIFAR10", "hf-a--b.c"]
    for name in [*kinds, ".torchvision-MNIST.part"]:
        (folder / name / "deep").mkdir(parents=True)
        (folder / name / "deep" / "file").write_bytes(bytes(3000))
    for name in ("other-of-mine", "features-of-mine", ".hidden"):
        (folder / name).mkdir()
    assert main(["cache"]) == 0
    listing = capsys.readouterr().out
    shown = ["images-00000000…", "features-11111111…", "extracted-22222222…", *kinds[3:], ".torchvision-MNIST.part"]
    assert all(name in listing for name in shown)
    sums = "3.0 kB images, 3.0 kB features, 3.0 kB extracted, 6.0 kB torchvision, 3.0 kB hf"
    assert f"18.0 kB ({sums}) in" in listing and listing.count("3.0 kB") >= 6 and "of-mine" not in listing
    assert main(["cache", "clear"]) == 0
    assert "18.0 kB freed" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == [".hidden", "features-of-mine", "other-of-mine"]
