"""The plan: what is chosen for which data, with a reason for everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.settled import settled

from linnaeus.config.pages import overlay, read_recipe
from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.data.manifest import TRAIN, manifest_from_columns
from linnaeus.planning.fingerprint import Fingerprint, take_fingerprint
from linnaeus.planning.image import plan_image
from linnaeus.planning.plan import Decision, Plan, plan_page
from linnaeus.planning.recipe import choose_recipe
from linnaeus.planning.time_limit import plan_epochs_within, plan_phases_within
from linnaeus.planning.training import default_epochs, forward_batch, plan_training
from linnaeus.planning.transfer import plan_backbone

CIFAR = Fingerprint(num_train=47_500, num_classes=10, width=32, height=32)
PHOTOS = Fingerprint(num_train=3_000, num_classes=10, width=224, height=168)


def settle(name: str, fingerprint: Fingerprint, *, grey: bool = False, **settings: object):
    config = parse_config(overlay(read_recipe(name), settings))
    plan = plan_image(Plan(parse_config(settings), config), fingerprint)
    plan = plan_training(plan, fingerprint, grey=grey)
    return plan.config, plan.decisions


def recipe_for(fingerprint: Fingerprint) -> Plan:
    def configure(name: str) -> RunConfig:
        return parse_config(read_recipe(name))

    return choose_recipe(Plan(RunConfig(), RunConfig()), fingerprint, configure)


@pytest.mark.parametrize(("fingerprint", "recipe"), [(CIFAR, "best-scratch-small"), (PHOTOS, "best-frozen")])
def test_the_recipe_follows_the_size_of_the_images(fingerprint: Fingerprint, recipe: str) -> None:
    plan = recipe_for(fingerprint)
    [decision] = plan.decisions
    assert decision.choice == recipe and plan.config == parse_config(read_recipe(recipe))
    assert f"{fingerprint.width} x {fingerprint.height}" in decision.why


@given(
    num_train=st.integers(2, 10**7),
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    grey=st.booleans(),
)
def test_nothing_is_left_open_whatever_the_data(num_train: int, width: int, height: int, grey: bool) -> None:
    fingerprint = Fingerprint(num_train, 2, width, height)
    plan = plan_image(plan_backbone(recipe_for(fingerprint)), fingerprint)
    plan = plan_training(plan, fingerprint, grey=grey).change({"data.out_of_fold": 0})  # of folds: test_plan_folds
    config, decisions = plan.resolved, plan.decisions
    for phase in config.phases:
        assert phase.epochs >= 1
        assert 2 <= phase.batch_size <= max(2, num_train)
    assert all(decision.why for decision in decisions)


def test_grey_images_are_not_mirrored_and_photos_are() -> None:
    assert settle("best-scratch-small", CIFAR, grey=True)[0].augment.flip == "none"
    config, decisions = settle("best-scratch-small", CIFAR)
    assert config.augment.flip == "horizontal"
    assert config.evaluate.tta == "flip"
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
    assert config.evaluate.tta == "none", "vertical flips do not make mirror images at prediction"


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
    plan = trained({"epochs": 20.0})
    plan = plan_epochs_within(
        plan,
        plan.resolved.phases[0],
        seconds=seconds,
        num_train=10_000,
        num_validation=2_000,
        images_per_second=1000.0,
    )
    assert plan.resolved.phases[0].epochs == pytest.approx(epochs)
    [decision] = plan.decisions
    assert f"{seconds:.0f} s allowed" in decision.why


def trained(*phases: dict[str, object]) -> Plan:
    """A settled plan with these phases."""
    named = [{"name": f"phase {k}", "batch_size": 10, **phase} for k, phase in enumerate(phases)]
    config = settled({"phases": named})
    return Plan(config, config)


@pytest.mark.parametrize(
    ("seconds", "epochs"),
    [
        (1000.0, [1.0, 4.0, 6.0]),  # all of them fit
        (20.0, [1.0, 2.8, 4.2]),  # of 19,000 images seen, 5,000 for the features: 14,000 of the 20,000 asked
        (6.5, [1.0]),  # 1,175 images are less than half an epoch of each, and a head is trained
    ],
)
def test_phases_share_the_time_that_features_leave(seconds: float, epochs: list[float]) -> None:
    plan = trained({"epochs": 1.0}, {"epochs": 4.0}, {"epochs": 6.0})
    costs = [(5_000.0, 0.0), (0.0, 2_000.0), (0.0, 2_000.0)]
    plan = plan_phases_within(plan, plan.resolved.phases, seconds=seconds, costs=costs, images_per_second=1000.0)
    assert [phase.epochs for phase in plan.resolved.phases] == pytest.approx(epochs)


def test_fewer_images_are_shown_more_often() -> None:
    for small in (True, False):
        epochs = [default_epochs(n, small=small) for n in (10, 1_000, 10_000, 10**6)]
        assert epochs == sorted(epochs, reverse=True)
        assert epochs[-1] == 10


def test_the_plan_page_is_a_table_that_survives_odd_names() -> None:
    page = plan_page([*recipe_for(CIFAR).decisions, Decision("a|b", "c\nd", "why")])
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
