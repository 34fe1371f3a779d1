"""What the plan says about rare classes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.data.manifest import TRAIN, Manifest
from linnaeus.errors import ConfigError
from linnaeus.planning.balance import plan_balance
from linnaeus.planning.plan import Plan
from linnaeus.training.job import class_counts


def manifest(counts: list[int], *, several: bool = False) -> Manifest:
    targets = np.repeat(np.arange(len(counts)), counts)
    names = pa.array([f"{k}" for k in range(len(targets))], pa.large_string())
    return Manifest(
        ids=names,
        uris=names,
        targets=np.eye(len(counts), dtype=np.uint8)[targets] if several else targets,
        splits=np.full(len(targets), TRAIN, np.int8),
        classes=tuple("abcdefghijklmnopqrstuvwxyz"[: len(counts)]),
        task="multi" if several else "single",
    )


def decide(counts: list[int], **settings: object) -> list[str]:
    config: RunConfig = parse_config(settings)
    found = manifest(counts)
    plan = plan_balance(Plan(config, config), found, shown=class_counts(config, found))
    return [" | ".join((d.what, d.choice, d.why)) for d in plan.decisions]


def test_imbalance_is_pointed_out_and_even_classes_are_not_mentioned() -> None:
    [line] = decide([60, 10])
    assert "every image counts the same" in line and "6 times" in line
    assert decide([60, 30]) == []


def test_oversampling_is_said_with_images_before_and_after_the_rarest_first() -> None:
    [line] = decide([60, 6], data={"balance": "oversample"})
    assert line == "balancing | oversample | images that an epoch shows: b 6 → 132, a 60 → 132"


def test_many_classes_are_cut_short() -> None:
    [line] = decide(list(range(1, 21)), data={"balance": "square_root"})
    assert "a 1 → " in line and "t 20 → " in line and "... 11 more ..." in line


def test_weights_and_logit_adjustment_are_said() -> None:
    lines = decide(
        [60, 6], loss={"class_weights": "effective", "logit_adjustment": 1.0}, evaluate={"logit_adjustment": 0.5}
    )
    assert [line.partition(" | ")[0] for line in lines] == ["class weights", "logit adjustment", "logit adjustment"]
    assert "0.5, after training" in lines[2]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": {"class_weights": "balanced"}}, "loss.class_weights is for images with one label"),
        ({"evaluate": {"logit_adjustment": 1.0}}, "evaluate.logit_adjustment is for images with one label"),
    ],
)
def test_what_is_for_one_label_is_refused_for_several(settings: dict[str, object], words: str) -> None:
    config = parse_config(settings)
    found = manifest([5, 5], several=True)
    with pytest.raises(ConfigError, match=words):
        plan_balance(Plan(config, config), found, shown=np.array([5.0, 5.0]))


def test_adjusting_afterwards_is_refused_with_folds() -> None:
    with pytest.raises(ConfigError, match=r"take loss\.logit_adjustment"):
        decide([5, 5], data={"folds": 3}, evaluate={"logit_adjustment": 1.0})
