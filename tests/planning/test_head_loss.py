"""Losses and penalties that L-BFGS does not minimise are named, and refused where they would change nothing."""

from __future__ import annotations

import pytest

from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.errors import ConfigError
from linnaeus.planning.head_loss import check_head_loss, plan_head_loss
from linnaeus.planning.plan import Decision, Plan

HEAD = {"name": "head", "train": "head", "optimizer": "lbfgs"}
FINETUNE = {"name": "finetune"}


def config(loss: dict[str, object], *phases: dict[str, str]) -> RunConfig:
    return parse_config({"loss": loss, "phases": list(phases)})


def told(page: RunConfig) -> tuple[Decision, ...]:
    return plan_head_loss(Plan(page, page)).decisions


@pytest.mark.parametrize(
    ("loss", "minimised", "word"),
    [
        ({"name": "focal"}, "cross-entropy", "focal applies to finetune"),
        ({"name": "asymmetric"}, "binary cross-entropy", "asymmetric applies to finetune"),
        ({"name": "squeezed_bce"}, "binary cross-entropy", "squeezed_bce applies to finetune"),
        ({"name": "binary_focal"}, "binary cross-entropy", "binary_focal applies to finetune"),
        ({"l2": {"all": 1e-4}}, "cross-entropy", "loss.l2 applies to finetune"),
        ({"name": "bce", "l1": {"head": 1e-4}}, "binary cross-entropy", "loss.l1 applies to finetune"),
        ({"name": "focal", "l2": {"all": 1e-4}}, "cross-entropy", "focal and loss.l2 apply to finetune"),
    ],
)
def test_what_a_solved_head_does_not_obey_is_said(loss: dict[str, object], minimised: str, word: str) -> None:
    page = config(loss, HEAD, FINETUNE)
    check_head_loss(page)
    (decision,) = told(page)
    assert (decision.what, decision.choice) == ("loss (head)", minimised)
    assert word in decision.why


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ({"name": "focal"}, "loss.name=focal would change nothing"),
        ({"name": "asymmetric"}, "which minimises binary cross-entropy"),
        ({"l1": {"head": 0.1}, "l2": {"all": 1e-4}}, "loss.l1 and loss.l2 would change nothing"),
    ],
)
def test_it_is_refused_where_every_phase_is_solved(loss: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_head_loss(config(loss, HEAD))


def test_a_phase_that_the_time_leaves_out_is_not_promised() -> None:
    (decision,) = told(config({"name": "focal"}, HEAD))
    assert "focal applies to no phase" in decision.why


@pytest.mark.parametrize(
    ("loss", "phases"),
    [
        ({}, [HEAD]),
        ({"name": "bce", "label_smoothing": 0.1}, [HEAD, FINETUNE]),
        ({"class_weights": "balanced", "logit_adjustment": 1.0}, [HEAD]),
        ({"l2": {"all": 0.0}}, [HEAD]),
        ({"name": "focal", "l2": {"all": 1e-4}}, [FINETUNE]),
    ],
)
def test_where_every_phase_obeys_nothing_is_said(loss: dict[str, object], phases: list[dict[str, str]]) -> None:
    page = config(loss, *phases)
    check_head_loss(page)
    assert told(page) == ()
