"""Temperature scaling against its defining equation and against simulated truth."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from scipy.special import expit, softmax

from linnaeus.judging.calibration import describe_calibration, fit_temperature
from linnaeus.judging.score_table import table_of
from linnaeus.predictions import Predictions


def make_predictions(logits, targets) -> Predictions:
    return Predictions(
        ids=pa.array([f"{i}.png" for i in range(len(logits))], pa.large_string()),
        logits=np.asarray(logits, np.float32),
        targets=targets,
        classes=tuple(f"c{k}" for k in range(np.shape(logits)[1])),
        splits=np.full(len(logits), 1, np.int8),
        manifest_fingerprint="0" * 16,
    )


def overconfident(num: int, *, temperature: float, seed: int = 0) -> Predictions:
    """Logits that are `temperature` times what the classes were drawn from."""
    rng = np.random.default_rng(seed)
    honest = 2 * rng.normal(size=(num, 5))
    targets = np.array([rng.choice(5, p=p) for p in softmax(honest, axis=1)], np.int64)
    return make_predictions(temperature * honest, targets)


@pytest.mark.parametrize("truth", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(truth):
    assert fit_temperature(overconfident(6000, temperature=truth)) == pytest.approx(truth, rel=0.05)


def test_the_temperature_has_the_least_loss_that_torch_finds():
    predictions = overconfident(3000, temperature=2.5)
    logits, targets = torch.from_numpy(predictions.logits).double(), torch.from_numpy(predictions.targets)
    log = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(logits / log.exp(), targets, reduction="sum") + (log / 0.5) ** 2 / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    assert fit_temperature(predictions) == pytest.approx(float(log.detach().exp()), rel=1e-4)


def test_each_of_several_labels_gets_its_temperature_and_rare_ones_share_one():
    rng = np.random.default_rng(1)
    honest = 2 * rng.normal(size=(6000, 3))
    targets = (rng.random(honest.shape) < expit(honest)).astype(np.uint8)
    targets[:, 2] = 0
    targets[:3, 2] = 1
    found = fit_temperature(make_predictions(honest * [2.0, 0.5, 2.0], targets))
    assert isinstance(found, tuple)
    assert found[:2] == pytest.approx((2.0, 0.5), rel=0.08)
    assert found[2] not in found[:2]


def test_a_few_images_without_an_error_do_not_make_every_answer_certain():
    found = fit_temperature(make_predictions(4 * np.eye(3), np.arange(3)))
    assert isinstance(found, float) and 0.5 < found <= 1.0
    assert fit_temperature(make_predictions(np.zeros((0, 3)), np.zeros(0, np.int64))) == 1.0


def test_scaling_lowers_log_loss_and_calibration_error_on_other_images_and_changes_no_answer():
    fitted = fit_temperature(overconfident(3000, temperature=3.0))
    fresh = overconfident(3000, temperature=3.0, seed=9)
    after = replace(fresh, temperature=fitted)
    assert (after.predicted == fresh.predicted).all()
    one, other = describe_calibration(table_of(fresh)), describe_calibration(table_of(after))
    assert other.log_loss < one.log_loss - 0.1
    assert other.ece < 0.04 < one.ece
    assert sum(row.count for row in other.reliability) == 3000
    np.testing.assert_allclose(after.probabilities, softmax(fresh.logits.astype(float) / fitted, axis=1), atol=1e-12)
