"""The plan: what is chosen for which data, with a reason for everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from linnaeus.config.pages import overlay, read_recipe
from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.data.manifest import TRAIN, manifest_from_columns
from linnaeus.planning.fingerprint import Fingerprint, take_fingerprint
from linnaeus.planning.plan import (
    choose_recipe,
    default_epochs,
    epochs_within,
    forward_batch,
    plan_image,
    plan_page,
    plan_training,
)

CIFAR = Fingerprint(num_train=47_500, num_classes=10, width=32, height=32)
PHOTOS = Fingerprint(num_train=3_000, num_classes=10, width=224, height=168)


def settle(name: str, fingerprint: Fingerprint, *, grey: bool = False, **settings: object):  # type: ignore[no-untyped-def]
    config, decisions = plan_image(parse_config(overlay(read_recipe(name), settings)), fingerprint)
    config, more = plan_training(config, fingerprint, grey=grey)
    return config, decisions + more


@pytest.mark.parametrize(("fingerprint", "recipe"), [(CIFAR, "best-scratch-small"), (PHOTOS, "best-scratch-large")])
def test_the_recipe_follows_the_size_of_the_images(fingerprint: Fingerprint, recipe: str) -> None:
    name, decision = choose_recipe(RunConfig(), fingerprint)
    assert name == decision.choice == recipe
    assert f"{fingerprint.width} x {fingerprint.height}" in decision.why


@given(
    num_train=st.integers(2, 10**7),
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    grey=st.booleans(),
)
def test_nothing_is_left_open_whatever_the_data(num_train: int, width: int, height: int, grey: bool) -> None:
    fingerprint = Fingerprint(num_train, 2, width, height)
    config, decisions = settle(choose_recipe(RunConfig(), fingerprint)[0], fingerprint, grey=grey)
    assert "auto" not in [config.image.size, config.model.name, config.augment.flip, config.augment.pad_crop_px]
    assert "auto" not in (config.evaluate.views, config.evaluate.batch_size)
    for phase in config.phases:
        assert isinstance(phase.epochs, int | float) and phase.epochs >= 1
        assert isinstance(phase.batch_size, int) and 2 <= phase.batch_size <= max(2, num_train)
    assert all(decision.why for decision in decisions)


def test_grey_images_are_not_mirrored_and_photos_are() -> None:
    assert settle("best-scratch-small", CIFAR, grey=True)[0].augment.flip == "none"
    config, decisions = settle("best-scratch-small", CIFAR)
    assert config.augment.flip == "horizontal"
    assert config.evaluate.views == "mirror"
    assert any("augment.flip=none" in decision.why for decision in decisions)


def test_what_the_user_says_stays() -> None:
    config, _ = settle(
        "best-scratch-small",
        CIFAR,
        image={"size": 24},
        augment={"flip": "vertical", "pad_crop_px": 0},
        phases=[{"batch_size": 77, "epochs": 3}],
        model={"options": {"widths": [4, 5, 6]}},
    )
    assert (config.image.size, config.augment.flip, config.augment.pad_crop_px) == (24, "vertical", 0)
    assert (config.phases[0].batch_size, config.phases[0].epochs) == (77, 3)
    assert config.model.options["widths"] == [4, 5, 6]
    assert config.evaluate.views == "one", "vertical flips do not make mirror images at prediction"


def test_a_batch_is_never_larger_than_the_data() -> None:
    few = Fingerprint(num_train=50, num_classes=2, width=32, height=32)
    config, decisions = settle("c1", few)
    assert config.phases[0].batch_size == 50
    assert any("no more images" in decision.why for decision in decisions)


def test_forward_passes_of_large_images_hold_fewer_of_them() -> None:
    assert [forward_batch(size) for size in (8, 32, 64, 224, 448, 1024)] == [500, 500, 500, 64, 16, 16]


@pytest.mark.parametrize(
    ("seconds", "epochs"),
    [
        (100.0, 7.9),  # 95,000 images seen: 7 times 12,000, and 9,000 of the 11,000 left are trained on
        (10.0, 0.75),  # 9,500 images seen, of which validation takes 2,000
        (12.3, 0.96),
        (1e6, 20.0),
        (0.001, 0.01),
    ],
)
def test_epochs_fit_the_time_with_their_validations(seconds: float, epochs: float) -> None:
    chosen, decision = epochs_within(
        seconds, num_train=10_000, num_validation=2_000, images_per_second=1000.0, wanted=20.0
    )
    assert chosen == pytest.approx(epochs)
    assert f"{seconds:.0f} s allowed" in decision.why


def test_fewer_images_are_shown_more_often() -> None:
    for small in (True, False):
        epochs = [default_epochs(n, small=small) for n in (10, 1_000, 10_000, 10**6)]
        assert epochs == sorted(epochs, reverse=True)
        assert epochs[-1] == 10


def test_the_plan_page_is_a_table_that_survives_odd_names() -> None:
    _, decision = choose_recipe(RunConfig(), CIFAR)
    page = plan_page([decision, type(decision)("a|b", "c\nd", "why")])
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert rows[2].startswith("| recipe | best-scratch-small |")
    assert rows[3] == "| a\\|b | c d | why |"


def test_the_fingerprint_is_of_the_training_images(tmp_path: Path) -> None:
    paths = []
    for k, (width, height) in enumerate([(40, 20), (40, 20), (60, 30), (500, 500)]):
        paths.append(tmp_path / f"{k}.png")
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(paths[-1])
    (tmp_path / "broken.png").write_bytes(b"no image")
    uris = [str(path) for path in (*paths, tmp_path / "broken.png")]
    splits = [TRAIN, TRAIN, TRAIN, 2, TRAIN]
    manifest = manifest_from_columns(list("abcde"), uris, ["x", "x", "x", "y", "y"], splits=splits)
    assert take_fingerprint(manifest) == Fingerprint(4, 2, 40, 20)
