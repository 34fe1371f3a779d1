"""Heads solved for: the minimum that scikit-learn finds, penalties chosen by validation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from linnaeus.training import head_path
from linnaeus.training.head_path import PENALTIES, solve_folds, solve_path

EXACT = 1e-6
"""Tolerance where solutions are compared with each other or with those of scikit-learn."""


def problem(seed: int, *, num: int = 400, dim: int = 12, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    features, targets = make_classification(
        num, dim, n_informative=6, n_classes=classes, n_clusters_per_class=1, flip_y=0.2, random_state=seed
    )
    shifted = features * np.linspace(0.1, 30, dim) + np.linspace(-50, 50, dim)
    return shifted.astype(np.float32), targets.astype(np.int64)


@pytest.mark.parametrize("penalty", [0.3, 0.01])
def test_the_solution_is_that_of_scikit_learn(penalty: float) -> None:
    features, targets = problem(0)
    standard = (features - features.mean(0)) / features.std(0)
    reference = LogisticRegression(C=1 / (penalty * len(targets)), tol=1e-8, max_iter=5000)
    reference.fit(standard.astype(np.float64), targets)
    wanted = reference.predict_proba(standard)
    settings = {"num_classes": 4, "penalties": [penalty], "tolerance": EXACT}
    solution = solve_path(features, targets, validation=(features, targets), **settings)  # type: ignore[arg-type]
    logits = solution.head.logits(features).astype(np.float64)
    found = np.exp(logits - logits.max(1, keepdims=True))
    assert np.abs(found / found.sum(1, keepdims=True) - wanted).max() < 2e-3


def test_several_labels_are_as_many_separate_problems() -> None:
    features, targets = problem(1, classes=3)
    labels = np.eye(3, dtype=np.uint8)[targets]
    penalty = 0.05
    settings = {"num_classes": 3, "penalties": [penalty], "tolerance": EXACT}
    solution = solve_path(features, labels, validation=(features, labels), **settings)  # type: ignore[arg-type]
    standard = ((features - features.mean(0)) / features.std(0)).astype(np.float64)
    for k in range(3):
        reference = LogisticRegression(C=1 / (penalty * len(targets)), tol=1e-8, max_iter=5000)
        wanted = reference.fit(standard, labels[:, k]).decision_function(standard)
        assert np.abs(solution.head.logits(features)[:, k] - wanted).max() < 2e-2


def test_noise_asks_for_a_strong_penalty_and_signal_for_a_weak_one() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 40)).astype(np.float32)
    noise = rng.integers(0, 2, 300)
    signal = (features[:, 0] > 0).astype(np.int64)
    halves = slice(0, 150), slice(150, 300)

    def chosen(targets: np.ndarray) -> float:
        train, held_out = halves
        validation = (features[held_out], targets[held_out])
        return solve_path(features[train], targets[train], validation=validation, num_classes=2).penalty

    assert chosen(noise) == PENALTIES[0]
    assert chosen(signal) < 0.1


def test_the_path_ends_when_validation_gets_worse() -> None:
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(60, 40)).astype(np.float32), rng.integers(0, 3, 60)
    held_out = rng.normal(size=(60, 40)).astype(np.float32), rng.integers(0, 3, 60)
    solution = solve_path(features, targets, validation=held_out, num_classes=3)
    losses = [step.validation_loss for step in solution.path]
    assert len(losses) < len(PENALTIES)
    assert solution.penalty == solution.path[int(np.argmin(losses))].penalty


def test_one_clearly_worse_step_ends_the_path() -> None:
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(60, 40)).astype(np.float32), rng.integers(0, 3, 60)
    path = solve_path(features, targets, validation=(features[::-1].copy(), targets), num_classes=3).path
    assert path[1].validation_loss > 1.01 * path[0].validation_loss
    assert len(path) == 2


def test_the_default_tolerance_settles_the_loss_to_the_third_digit() -> None:
    features, targets = problem(8, num=2000, dim=60)
    train, held_out = slice(0, 1500), slice(1500, 2000)
    settings = {"validation": (features[held_out], targets[held_out]), "num_classes": 4, "penalties": (0.1, 0.01, 1e-3)}
    loose = solve_path(features[train], targets[train], **settings)  # type: ignore[arg-type]
    exact = solve_path(features[train], targets[train], tolerance=1e-8, **settings)  # type: ignore[arg-type]
    for one, other in zip(loose.path, exact.path, strict=True):
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=5e-3)


def test_a_weight_of_2_is_the_row_twice_and_one_of_0_the_set_without_it() -> None:
    features, targets = problem(2, num=120)
    weights = np.where(np.arange(120) < 40, 2.0, 1.0).astype(np.float32)
    weights[100:] = 0.0
    rows = np.repeat(np.arange(120), weights.astype(int))
    settings = {"validation": (features, targets), "num_classes": 4, "penalties": [0.1], "tolerance": EXACT}
    weighted = solve_path(features, targets, sample_weights=weights, **settings)  # type: ignore[arg-type]
    repeated = solve_path(features[rows], targets[rows], **settings)  # type: ignore[arg-type]
    plain = solve_path(features, targets, **settings)  # type: ignore[arg-type]
    assert np.abs(weighted.head.logits(features) - repeated.head.logits(features)).max() < 1e-2
    assert np.abs(plain.head.logits(features) - repeated.head.logits(features)).max() > 0.05


def test_folds_weigh_the_rows_that_a_head_sees() -> None:
    features, targets = problem(6, num=120)
    folds, weights = np.arange(120) % 3, np.where(np.arange(120) < 40, 3.0, 1.0).astype(np.float32)
    found = solve_folds(features, targets, folds, num_classes=4, sample_weights=weights, penalties=[0.1])
    seen, left_out = folds != 1, folds == 1
    held_out = (features[left_out], targets[left_out])
    alone = solve_path(
        features[seen],
        targets[seen],
        validation=held_out,
        num_classes=4,
        sample_weights=weights[seen],
        penalties=[0.1],
    )
    assert np.abs(alone.head.logits(features[left_out]) - found.logits[left_out]).max() < 1e-2


def test_a_constant_feature_does_no_harm() -> None:
    features, targets = problem(3)
    with_constant = np.concatenate([features, np.full((len(features), 1), 7.0, np.float32)], axis=1)
    one = solve_path(features, targets, validation=(features, targets), num_classes=4, penalties=[0.1])
    other = solve_path(with_constant, targets, validation=(with_constant, targets), num_classes=4, penalties=[0.1])
    assert np.abs(one.head.logits(features) - other.head.logits(with_constant)).max() < 1e-2


def test_out_of_fold_logits_come_from_heads_that_have_not_seen_the_row() -> None:
    features, targets = problem(4)
    folds = np.arange(len(targets)) % 5
    found = solve_folds(features, targets, folds, num_classes=4, tolerance=EXACT)
    assert len(found.heads) == 5
    for fold in range(5):
        seen, left_out = folds != fold, folds == fold
        alone = solve_path(
            features[seen],
            targets[seen],
            validation=(features[left_out], targets[left_out]),
            num_classes=4,
            penalties=[step.penalty for step in found.path if step.penalty >= found.penalty],
            tolerance=EXACT,
        )
        if alone.penalty == found.penalty:
            assert np.abs(alone.head.logits(features[left_out]) - found.logits[left_out]).max() < 1e-2
        assert np.abs(found.heads[fold].logits(features[left_out]) - found.logits[left_out]).max() < 1e-5
    assert found.penalty == min(found.path, key=lambda step: step.validation_loss).penalty


def test_folds_that_do_not_fit_together_are_solved_for_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = problem(7)
    folds = np.arange(len(targets)) % 5
    together = solve_folds(features, targets, folds, num_classes=4, penalties=[0.1, 0.03])
    monkeypatch.setattr(head_path, "LOGITS_AT_ONCE", 2 * len(targets) * 4)
    in_turn = solve_folds(features, targets, folds, num_classes=4, penalties=[0.1, 0.03])
    assert len(in_turn.heads) == 5
    assert in_turn.penalty == together.penalty
    assert np.abs(in_turn.logits - together.logits).max() < 1e-2


def test_changing_a_rows_label_leaves_its_own_out_of_fold_prediction_alone() -> None:
    features, targets = problem(5)
    folds = np.arange(len(targets)) % 4
    changed = targets.copy()
    changed[8] = (changed[8] + 1) % 4
    one, other = (solve_folds(features, t, folds, num_classes=4, penalties=[0.1]).logits for t in (targets, changed))
    assert np.array_equal(one[8], other[8])
    assert not np.allclose(one[9], other[9])


@pytest.mark.parametrize("folds", [False, True])
def test_logit_adjustment_in_the_loss_moves_the_bias_by_as_much(folds: bool) -> None:
    """The bias has no penalty, so the solution's logits plus the adjustment are those without it (2007.07314)."""
    generator = np.random.default_rng(3)
    targets = generator.choice(3, 240, p=[0.7, 0.2, 0.1])
    features = (generator.normal(size=(240, 5)) + 0.7 * np.eye(3, 5)[targets]).astype(np.float32)
    adjustment = np.log(np.bincount(targets) / 240).astype(np.float32)
    settings: dict[str, Any] = {"num_classes": 3, "penalties": (0.01,), "tolerance": EXACT}
    if folds:
        parts = np.arange(240) % 3
        plain = solve_folds(features, targets, parts, **settings).logits
        moved = solve_folds(features, targets, parts, adjustment=adjustment, **settings).logits
    else:
        held_out = (features, targets)
        plain = solve_path(features, targets, validation=held_out, **settings).head.logits(features)
        moved = solve_path(features, targets, validation=held_out, adjustment=adjustment, **settings).head.logits(
            features
        )
    difference = moved + adjustment - plain
    # Logits are settled up to a number that is the same for all classes.
    assert np.abs(difference - difference.mean(axis=1, keepdims=True)).max() < 0.02
