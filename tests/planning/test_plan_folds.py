"""Out-of-fold predictions nobody asked for: where they are cheap, in as many parts as the classes allow."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.data.manifest import TEST, TRAIN, VALIDATION, Manifest, manifest_from_columns
from linnaeus.planning import labels
from linnaeus.planning.labels import plan_folds
from linnaeus.planning.plan import Plan

HEAD = [{"name": "head", "train": "head", "optimizer": "lbfgs"}]


def images(*counts: int) -> Manifest:
    """So many training images of each class, and two test images of the first."""
    names = [f"c{k}" for k, count in enumerate(counts) for _ in range(count)] + ["c0"] * 2
    ids = [str(row) for row in range(len(names))]
    splits = [TRAIN if row % 4 else VALIDATION for row in range(len(names) - 2)] + [TEST] * 2
    return manifest_from_columns(ids, ids, names, splits=splits)


def planned(manifest: Manifest, **settings: object) -> int | str:
    return folded(parse_config({"phases": HEAD, **settings}), manifest).config.data.out_of_fold


def folded(config: RunConfig, manifest: Manifest) -> Plan:
    return plan_folds(Plan(config, config), manifest)


@pytest.mark.parametrize(("counts", "folds"), [((40, 30), 5), ((40, 3), 3), ((40, 1), 0)])
def test_no_fold_is_without_a_class(counts: tuple[int, ...], folds: int) -> None:
    assert planned(images(*counts)) == folds


def test_groups_count_once() -> None:
    manifest = images(40, 10)
    assert planned(dataclasses.replace(manifest, groups=np.arange(len(manifest)) // 5)) == 2


def test_heads_that_are_not_solved_for_have_none() -> None:
    plan = folded(RunConfig(), images(40, 40))
    assert (plan.config.data.out_of_fold, plan.decisions) == (0, ())


def test_what_is_asked_for_stays() -> None:
    assert planned(images(40, 40), data={"out_of_fold": 3}) == 3
    assert planned(images(40, 40), data={"folds": 4}) == 0


def test_many_images_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MOST_FOLDED", 50)
    plan = folded(parse_config({"phases": HEAD}), images(40, 40))
    assert plan.config.data.out_of_fold == 0
    assert "--folds" in plan.decisions[0].why
