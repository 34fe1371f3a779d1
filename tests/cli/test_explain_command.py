"""`linnaeus explain` as a person uses it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linnaeus.bundle import Bundle
from linnaeus.bundle.files import save_bundle
from linnaeus.cli.main import main
from linnaeus.data.image_spec import ImageSpec
from linnaeus.models import build_classifier


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    classifier = build_classifier("speed_cnn", num_classes=2, image_size=16, options={"widths": [8, 8, 8]})
    save_bundle(Bundle(classifier, ImageSpec(16, 16), ("Truck w/Box", "<b>bus</b>"), "none"), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for folder in ("a", "b"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / folder / "1.png")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    return tmp_path / "photos"


def test_each_image_becomes_a_picture_beside_its_heat_map(model, photos, tmp_path, capsys):
    out = tmp_path / "explained"
    assert main(["explain", str(model), str(photos / "a"), str(photos / "b"), "--out", str(out)]) == 0
    files = sorted(out.iterdir())
    assert len(files) == 2, "two images of one name do not overwrite each other"
    with Image.open(files[0]) as picture:
        assert picture.size == (448, 224)
    text = capsys.readouterr().out
    assert "2 pictures" in text
    assert "Grad-CAM" in text


def test_a_class_name_is_no_path_and_an_unknown_one_is_an_error(model, photos, tmp_path, capsys):
    out = tmp_path / "explained"
    arguments = ["explain", str(model), str(photos / "a"), "--out", str(out), "--class"]
    assert main([*arguments, "Truck w/Box"]) == 0
    assert [file.name for file in out.iterdir()] == ["1-Truck_w_Box.png"]
    assert main([*arguments, "tram"]) == 2
    assert "tram" in capsys.readouterr().err


def test_an_unreadable_image_is_a_row_with_an_error_and_the_others_go_on(model, photos, tmp_path, capsys):
    out = tmp_path / "explained"
    paths = [str(photos / "broken.jpg"), str(photos / "gone.jpg"), str(photos / "a" / "1.png")]
    assert main(["explain", str(model), *paths, "--out", str(out)]) == 1
    captured = capsys.readouterr()
    assert "no such file" in captured.out
    assert "2 of 3 could not be read" in captured.err
    assert len(list(out.iterdir())) == 1


def test_a_file_in_the_way_of_the_folder_is_named_before_any_work(model, photos, tmp_path, capsys):
    (tmp_path / "explained").write_text("mine", encoding="utf-8")
    assert main(["explain", str(model), str(photos / "a"), "--out", str(tmp_path / "explained")]) == 2
    assert "is a file" in capsys.readouterr().err
