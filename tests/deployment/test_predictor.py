"""Predictions are those of the network on exactly prepared images; what cannot be read is a row that says so."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from linnaeus.bundle import Bundle
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.images.decode import read_image
from linnaeus.deployment.predictor import Predictor, expand_paths
from linnaeus.errors import ConfigError, DeviceError
from linnaeus.models import build_classifier
from linnaeus.predictions import view_logits

CLASSES = ("ant", "bee", "crow", "dog")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="file names of arbitrary bytes")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    torch.manual_seed(5)
    classifier = build_classifier("speed_cnn", num_classes=4, image_size=16, options={"widths": [8, 8, 8]})
    with torch.no_grad():
        classifier.train()(torch.randn(32, 3, 16, 16))
        assert isinstance(classifier.head, nn.Linear)
        classifier.head.weight.mul_(40)  # so that the classes differ
    spec = ImageSpec(16, 16, "pad", "bilinear", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    return Bundle(classifier.eval(), spec, CLASSES, "flip", temperature=2.5)


def write_image(path: Path, *, seed: int, size: tuple[int, int] = (20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 200, 3, np.uint8) + random.integers(0, 56, (*size, 3), np.uint8)  # a colour and noise
    Image.fromarray(pixels).save(path, format="PNG")
    return path


def reference(bundle: Bundle, path: Path) -> np.ndarray:
    """Probabilities computed step by step, one image at a time."""
    pixels = torch.from_numpy(bundle.image_spec.fit(read_image(str(path))).copy())
    normalized = bundle.image_spec.normalize(pixels.permute(2, 0, 1)[None])
    with torch.inference_mode():
        logits = view_logits(bundle.classifier, normalized, tta=bundle.tta)[0].numpy().astype(np.float64)
    exponents = np.exp(logits / bundle.temperature)
    return exponents / exponents.sum()


def test_probabilities_are_those_computed_by_hand(bundle: Bundle, tmp_path: Path) -> None:
    files = [write_image(tmp_path / f"{k}.png", seed=k, size=(9 + 3 * k, 31)) for k in range(7)]
    table = Predictor(bundle, batch_size=3, precision="32").predict(files, top_k=4)
    assert list(table["path"]) == [str(file) for file in files]
    assert (table["error"] == "").all()
    assert table["label"].nunique() > 1
    for (_, row), file in zip(table.iterrows(), files, strict=True):
        expected = reference(bundle, file)
        order = np.argsort(-expected)
        labels = [row["label"], row["label_2"], row["label_3"], row["label_4"]]
        found = [row["probability"], row["probability_2"], row["probability_3"], row["probability_4"]]
        assert labels == [CLASSES[k] for k in order]
        np.testing.assert_allclose(found, expected[order], rtol=1e-4)


def test_without_top_k_there_are_four_columns_and_never_more_ranks_than_classes(bundle: Bundle, tmp_path: Path) -> None:
    file = write_image(tmp_path / "a.png", seed=1)
    predictor = Predictor(bundle)
    assert list(predictor.predict([file]).columns) == ["path", "label", "probability", "error"]
    assert list(predictor.predict(file, top_k=99).columns)[-1] == "probability_4"
    with pytest.raises(ConfigError, match="1 at least"):
        predictor.predict([file], top_k=0)
    with pytest.raises(ConfigError, match="1 at least"):
        Predictor(bundle, batch_size=0)


def test_what_cannot_be_read_is_an_error_row_and_the_others_are_as_without_it(bundle: Bundle, tmp_path: Path) -> None:
    good = [write_image(tmp_path / f"good{k}.png", seed=k) for k in range(4)]
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(good[0].read_bytes()[:200])
    (tmp_path / "text.jpg").write_text("I am a poem")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    bad = {
        truncated: "truncated",
        tmp_path / "text.jpg": "not an image",
        tmp_path / "empty.jpg": "the file is empty",
        tmp_path / "folder": "no images in this folder",
        tmp_path / "nowhere.jpg": "no such file",
        tmp_path / "*.webp": "no such file",
    }
    asked = [good[0], *list(bad)[:3], good[1], *list(bad)[3:], good[2], good[3]]
    predictor = Predictor(bundle, batch_size=2)
    table = predictor.predict(asked).set_index("path")
    for path, message in bad.items():
        error = str(table.loc[str(path), "error"])
        assert message in error and str(path) not in error
        assert table.loc[str(path), ["label", "probability"]].isna().all()
    alone = predictor.predict(good).set_index("path")
    assert (table.loc[alone.index, "label"] == alone["label"]).all()
    np.testing.assert_allclose(table.loc[alone.index, "probability"], alone["probability"], rtol=1e-5)
    assert list(table.index) == [str(path) for path in asked]


def test_a_batch_of_errors_only_is_no_error(bundle: Bundle) -> None:
    table = Predictor(bundle, batch_size=2).predict(["x", "y", "z"])
    assert list(table["error"]) == ["no such file"] * 3


def test_nothing_asked_gives_an_empty_table_with_columns(bundle: Bundle) -> None:
    table = Predictor(bundle).predict([], top_k=2)
    assert list(table.columns) == ["path", "label", "probability", "error", "label_2", "probability_2"]
    assert len(table) == 0


def test_folders_are_searched_as_training_data_are(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub folder/ü.PNG", ".hidden.png", ".git/x.png", "__MACOSX/x.png"):
        write_image(tmp_path / "data" / name, seed=0)
    (tmp_path / "data/notes.txt").write_text("no image")
    expected = [tmp_path / "data" / name for name in ("a.JPG", "b.png", "sub folder/ü.PNG")]
    assert expand_paths([tmp_path / "data"]) == expected


def test_a_named_file_counts_whatever_its_extension_and_stays_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Bundle
) -> None:
    write_image(tmp_path / "scan.dat", seed=3)
    monkeypatch.chdir(tmp_path)
    table = Predictor(bundle).predict("scan.dat")
    assert [table.loc[0, "path"], table.loc[0, "error"]] == ["scan.dat", ""]


def test_patterns_are_expanded_and_a_file_of_that_very_name_comes_first(tmp_path: Path) -> None:
    files = [write_image(tmp_path / name, seed=0) for name in ("a1.png", "a2.png", "deep/a3.png")]
    assert expand_paths([str(tmp_path / "a?.png")]) == files[:2]
    assert expand_paths([str(tmp_path / "**")]) == files, "each file once, though ** matches its folder too"
    literal = write_image(tmp_path / "a[12].png", seed=0)
    assert expand_paths([literal]) == [literal]


def test_links_are_followed_and_broken_ones_said(bundle: Bundle, tmp_path: Path) -> None:
    file = write_image(tmp_path / "real.png", seed=1)
    (tmp_path / "link.png").symlink_to(file)
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "around").mkdir()
    (tmp_path / "around/self").symlink_to(tmp_path / "around")
    table = Predictor(bundle).predict([tmp_path / "link.png", tmp_path / "broken.png", tmp_path / "around"])
    assert list(table["error"]) == ["", "no such file", "no images in this folder"]


@linux_only
def test_a_pipe_is_refused_instead_of_waited_for(bundle: Bundle, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert list(Predictor(bundle).predict(tmp_path / "pipe.png")["error"]) == ["not a regular file"]


@linux_only
def test_names_that_are_no_text_can_still_be_written(bundle: Bundle, tmp_path: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    write_image(file, seed=1)
    table = Predictor(bundle).predict(file)
    assert table.loc[0, "path"] == f"{tmp_path}/caf\\xe9.png"
    assert table.loc[0, "error"] == ""
    table.to_csv(tmp_path / "out.csv")


def test_a_name_too_long_for_the_system_is_an_error_row(bundle: Bundle) -> None:
    table = Predictor(bundle).predict(["x" * 5000])
    assert "cannot be reached" in str(table.loc[0, "error"])


def test_progress_counts_every_file(bundle: Bundle, tmp_path: Path) -> None:
    class Recorder:
        counted = 0

        def task(self, description: str, *, total: int, unit: str):
            from contextlib import nullcontext

            self.total = total
            return nullcontext(self)

        def advance(self, count: int = 1, *, status: str = "") -> None:
            self.counted += count

        def say(self, message: str) -> None:
            raise AssertionError("nothing to say")

        def log_to(self, path: Path) -> None:
            raise AssertionError("no log to keep")

    recorder = Recorder()
    write_image(tmp_path / "a.png", seed=1)
    Predictor(bundle, batch_size=2).predict([tmp_path / "a.png", "x", "y"], progress=recorder)
    assert (recorder.total, recorder.counted) == (3, 3)


def test_only_two_batches_are_decoded_ahead(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write_image(tmp_path / f"{k}.png", seed=k) for k in range(12)]
    predictor = Predictor(bundle, batch_size=2)
    started: list[Path] = []
    decode = predictor._decode
    monkeypatch.setattr(predictor, "_decode", lambda path: (started.append(path), decode(path))[1])
    batches = predictor._batches(files)
    next(batches)
    assert len(started) <= 4
    assert isinstance(batches, Generator)
    batches.close()


def test_a_device_that_is_not_there_is_a_plain_error(bundle: Bundle) -> None:
    with pytest.raises(DeviceError, match="abacus"):
        Predictor(bundle, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="cuda"):
            Predictor(bundle, device="cuda")
