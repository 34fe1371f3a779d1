"""What a new run may write over: an old run once the new one can begin, and never the user's data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.forms import LABELS, NAMES, folders, pngs

from linnaeus.cli.main import main
from linnaeus.config.settings import DataConfig
from linnaeus.data.folders import check_outside, data_folders
from linnaeus.data.intake import read_manifest
from linnaeus.data.manifest import manifest_from_columns
from linnaeus.errors import OutputError
from linnaeus.run.finished import Run

QUICK = ["--epochs", "1", "--set", "runtime.threads=1", "--set", "model.options.widths=[8, 8, 8]"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_replaced_only_when_the_new_one_can_begin_and_corrections_stay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """--force deleted it before the new one was planned, and refused to where labels had been corrected."""
    train = ["train", str(folders(Path("photos"))), "--out", "run", *QUICK]
    assert main(train) == 0
    corrections = "id,given,decision,labels,time\n"
    Path("run/corrections.csv").write_text(corrections)
    before = content(Path("run"))
    assert main([*train, "--force", "--set", "model.options.nonsense=1"]) == 2
    assert "nonsense" in capsys.readouterr().err
    assert content(Path("run")) == before
    assert main([*train, "--force", "--seed", "5", "--corrections", "run/corrections.csv"]) == 0
    assert Run(Path("run")).config.seed == 5
    assert Path("run/corrections.csv").read_text() == corrections
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["cache", "photos", "run"]


def table(root: Path, images: Path) -> str:
    """A table in one folder of images in another, by their paths from the table."""
    root.mkdir(parents=True, exist_ok=True)
    names = [str(Path(*[".."] * len(root.parts)) / images / name) for name in pngs(images)]
    pd.DataFrame({"path": names, "label": np.array(NAMES)[LABELS]}).to_csv(root / "labels.csv", index=False)
    return str(root / "labels.csv")


def image_root() -> list[str]:
    pd.DataFrame({"path": pngs(Path("images")), "label": np.array(NAMES)[LABELS]}).to_csv("labels.csv", index=False)
    return ["labels.csv", "--image-root", "images"]


@pytest.mark.parametrize("out", ["images/run", "images"])
def test_nothing_is_written_into_the_image_root(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = image_root()
    before = content(Path("images"))
    assert main(["train", *arguments, "--out", out, *QUICK]) == 2
    assert "would be written into the data" in capsys.readouterr().err
    assert content(Path("images")) == before


@pytest.mark.parametrize("images", ["data", "data/a", "data/a/b"])
def test_nothing_is_written_into_a_tables_folder_of_images(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [table(Path("data"), Path(images))]
    before = content(Path("data"))
    assert main(["train", *arguments, "--out", f"{images}/run", *QUICK]) == 2
    assert "would be written into the data" in capsys.readouterr().err
    assert content(Path("data")) == before


def test_nor_into_test_data(capsys: pytest.CaptureFixture[str]) -> None:
    photos, extra = folders(Path("photos")), folders(Path("extra"))
    before = content(extra)
    assert main(["train", str(photos), "--test-data", str(extra), "--out", "extra/run", *QUICK]) == 2
    assert "would be written into the data" in capsys.readouterr().err
    assert content(extra) == before


def refused(path: str, config: DataConfig) -> bool:
    try:
        check_outside(Path(path), config, read_manifest(config))
    except OutputError:
        return True
    return False


def test_a_table_beside_its_folder_of_images_leaves_room_for_runs() -> None:
    config = DataConfig(source=table(Path(), Path("photos")))
    assert not refused("runs/labels", config)
    assert refused("photos/run", config) and refused("labels.csv", config)


def test_images_in_several_folders_below_a_table_make_its_folder_theirs() -> None:
    names = [f"{'ab'[k % 2]}/{name}" for k, name in enumerate(pngs(Path("data/a")))]
    pngs(Path("data/b"))
    pd.DataFrame({"path": names, "label": np.array(NAMES)[LABELS]}).to_csv("data/labels.csv", index=False)
    config = DataConfig(source="data/labels.csv")
    assert refused("data/run", config) and refused("data/a/run", config) and not refused("runs/labels", config)


def test_a_table_of_images_all_over_the_disk_protects_their_own_folders_only(tmp_path: Path) -> None:
    places = [tmp_path / "x" / "1.png", tmp_path / "y" / "z" / "2.png"]
    manifest = manifest_from_columns(["1", "2"], [str(place) for place in places], ["a", "b"])
    found = data_folders(DataConfig(source="table"), manifest)
    assert found == [(tmp_path / "x").resolve(), (tmp_path / "y" / "z").resolve()]
