"""The user's folder is byte for byte the same afterwards, in whatever form the images come."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tests.forms import FORMS

from linnaeus.cli.main import main

TINY = ("model.name=mish_cnn", "image.size=8", "phases.0.batch_size=8", "runtime.threads=1", "evaluate.tta=none")


def snapshot(root: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time of the last change and content of every file and folder, the root too; nothing may come or go."""
    found = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, hashlib.sha256(content).hexdigest())
    return found


@pytest.mark.parametrize("form", FORMS)
def test_the_users_folder_is_byte_for_byte_the_same_afterwards(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    data, elsewhere = FORMS[form](tmp_path / "data"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = snapshot(tmp_path / "data")
    settings = [word for setting in TINY for word in ("--set", setting)]
    assert main(["inspect", str(data), "--save", "saved.parquet"]) == 0, capsys.readouterr().err
    assert snapshot(tmp_path / "data") == before
    assert main(["train", str(data), "--epochs", "1", *settings]) == 0, capsys.readouterr().err
    assert snapshot(tmp_path / "data") == before
    assert main(["predict", *_run(elsewhere), str(_picture(tmp_path))]) == 0, capsys.readouterr().err
    assert snapshot(tmp_path / "data") == before


def _run(folder: Path) -> list[str]:
    return [str(path.parent) for path in (folder / "runs").glob("*/config.yaml")]


def _picture(root: Path) -> Path:
    """A picture in the user's folder where there is a file of one, else one beside it."""
    own = sorted(path for path in (root / "data").rglob("*") if path.suffix in (".png", ".tif"))
    if own:
        return own[0]
    from PIL import Image

    Image.new("RGB", (32, 32)).save(root / "picture.png")
    return root / "picture.png"
