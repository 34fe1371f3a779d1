"""`linnaeus predict`: tables on the screen and in files, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from linnaeus.bundle import Bundle
from linnaeus.bundle.files import save_bundle
from linnaeus.cli.main import main
from linnaeus.cli.predict import write_table
from linnaeus.data.image_spec import ImageSpec
from linnaeus.errors import OutputError
from linnaeus.models import build_classifier


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a model in it and images beside it."""
    path = tmp_path_factory.mktemp("work") / "run"
    torch.manual_seed(0)
    classifier = build_classifier("speed_cnn", num_classes=3, image_size=8, options={"widths": [4, 4, 4]})
    (path).mkdir()
    (path / "config.yaml").write_text("")
    save_bundle(Bundle(classifier.eval(), ImageSpec(8, 8), ("[red]", "ü b", "c"), "none"), path / "model")
    images = path.parent / "images"
    images.mkdir()
    for k in range(3):
        pixels = np.random.default_rng(k).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(images / f"{k} é.PNG")
    return path


@pytest.fixture
def images(run: Path) -> Path:
    return run.parent / "images"


def test_all_fine_is_a_table_and_status_0(run: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run), str(images)]) == 0
    out, err = capsys.readouterr()
    for k in range(3):
        assert f"{images}/{k} é.PNG" in out
    assert any(name in out for name in ("[red]", "ü b", "c"))
    assert err.startswith("Predicting: 3 images")


def test_the_model_folder_alone_works_too(run: Path, images: Path) -> None:
    assert main(["predict", str(run / "model"), str(images / "0 é.PNG")]) == 0


@pytest.mark.parametrize("extension", ["csv", "jsonl", "parquet", "CSV"])
def test_every_kind_of_file_holds_the_same_rows(
    run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], extension: str
) -> None:
    out = tmp_path / "new folder" / f"out.{extension}"
    arguments = ["predict", str(run), str(images), str(images / "gone.png"), "--out", str(out), "--top-k", "2"]
    assert main(arguments) == 1
    printed, err = capsys.readouterr()
    assert printed == f"4 rows written to {out}\n"
    assert "1 of 4 could not be read" in err
    if extension == "jsonl":
        lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        assert lines[3] == {
            "path": str(images / "gone.png"),
            "label": None,
            "probability": None,
            "error": "no such file",
            "label_2": None,
            "probability_2": None,
        }
        table = pd.DataFrame(lines)
    elif extension == "parquet":
        table = pd.read_parquet(out)
    else:
        table = pd.read_csv(out)
    assert list(table.columns) == ["path", "label", "probability", "error", "label_2", "probability_2"]
    assert list(table["path"]) == [str(images / name) for name in ("0 é.PNG", "1 é.PNG", "2 é.PNG", "gone.png")]
    assert set(table["label"].iloc[:3]) <= {"[red]", "ü b", "c"}
    assert ((table["probability"] >= table["probability_2"]) | table["probability"].isna()).all()
    assert table["label"].isna().tolist() == [False, False, False, True]
    assert [item.name for item in out.parent.iterdir()] == [out.name]


def test_errors_stand_in_the_table_too(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run), str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "no images in this folder" in out
    assert "1 of 1 could not be read" in err


def test_a_long_table_is_cut_and_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run), *[f"missing-{k}.png" for k in range(60)]]) == 1
    out = capsys.readouterr().out
    assert "missing-49.png" in out
    assert "missing-50.png" not in out
    assert "and 10 more" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN", "x.png", "--out", "labels.xlsx"], "must end in one of .csv, .jsonl, .parquet"),
        (["RUN", "x.png", "--out", "FOLDER.csv"], "is a folder"),
        (["RUN", "x.png", "--out", "a-file/labels.csv"], "a-file is a file"),
        (["RUN", "x.png", "--top-k", "0"], "1 at least"),
        (["RUN", "x.png", "--batch-size", "0"], "1 at least"),
        (["nowhere", "x.png"], "There is no folder nowhere"),
        (["FOLDER.csv", "x.png"], "There is no model in FOLDER.csv"),
        (["unfinished", "x.png"], "has no model yet"),
    ],
)
def test_bad_input_is_one_line_and_status_2_and_nothing_written(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FOLDER.csv").mkdir()
    (tmp_path / "a-file").write_text("")
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished/config.yaml").write_text("")
    before = sorted(tmp_path.rglob("*"))
    assert main(["predict", *[str(run) if word == "RUN" else word for word in arguments]]) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith("Error: "), err.count("\n")) == ("", True, 1)
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_model_is_refused_naming_the_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = run / "model/model.safetensors"
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert main(["predict", str(run), "x.png"]) == 2
    finally:
        weights.write_bytes(content)
    assert f"{weights} does not match its checksum" in capsys.readouterr().err


def test_an_output_file_is_kept_when_writing_the_new_one_fails(
    run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labels.csv"
    out.write_text("precious")

    def full_disk(self: pd.DataFrame, path: Path, **_: object) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full_disk)
    assert main(["predict", str(run), str(images), "--out", str(out)]) == 2
    assert "The disk is full" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_in_the_place_of_the_folder_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OutputError, match=r"Cannot write .*labels\.csv"):
        write_table(pd.DataFrame({"path": ["x"]}), tmp_path / "file/labels.csv")
    assert (tmp_path / "file").read_text() == "precious"
