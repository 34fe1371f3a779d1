"""Problems minimised side by side: SciPy's minima, and each as if it were alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, rosen, rosen_der

from linnaeus.training.lbfgs import minimise

Evaluate = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

SETTINGS: dict[str, Any] = {"max_iterations": 300, "memory": 10, "gradient_tolerance": 1e-6, "value_tolerance": 0.0}


def logistic(seed: int, *, problems: int, num: int = 200, dim: int = 15) -> tuple[Evaluate, torch.Tensor]:
    """Penalised logistic regressions with unlike scales, in float64: what `minimise` and SciPy ask for."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(num, dim, generator=generator).double() * torch.logspace(-1, 1, dim).double()
    signs = torch.sign(torch.randn(problems, num, generator=generator)).double()

    def evaluate(point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        margins = signs * (point @ inputs.T)
        value = torch.nn.functional.softplus(-margins).mean(1) + 0.01 / 2 * point.square().sum(1)
        gradient = (-signs * torch.sigmoid(-margins) / num) @ inputs + 0.01 * point
        return value, gradient

    return evaluate, torch.zeros(problems, dim).double()


def test_minima_are_those_of_scipy() -> None:
    evaluate, start = logistic(0, problems=3)
    found = minimise(evaluate, start, **SETTINGS)
    for k in range(3):

        def alone(x: np.ndarray, k: int = k) -> tuple[float, np.ndarray]:
            points = start.clone()
            points[k] = torch.from_numpy(x)
            value, gradient = evaluate(points)
            return float(value[k]), gradient[k].numpy()

        wanted = minimize(
            alone, np.zeros(start.shape[1]), jac=True, method="L-BFGS-B", options={"gtol": 1e-8, "ftol": 0}
        )
        assert np.abs(found[k].numpy() - wanted.x).max() < 1e-4


def test_a_curved_valley_is_followed_to_its_end() -> None:
    """Rosenbrock's function is not even convex; its minimum is 1 everywhere."""

    def evaluate(point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = point.numpy()
        return torch.tensor([rosen(row) for row in rows]), torch.tensor(np.stack([rosen_der(row) for row in rows]))

    found = minimise(evaluate, torch.tensor([[-1.2, 1.0], [3.0, -2.0]]).double(), **SETTINGS)
    assert torch.allclose(found, torch.ones(2, 2).double(), atol=1e-4)


@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_problem_is_solved_as_if_it_were_alone(first: int) -> None:
    """Ridge problems of very unlike difficulty, evaluated entry by entry so that nothing else can mix them."""
    steepness = torch.tensor([[1.0] * 8, [1e-3] * 8, [0.5, 40.0, 3.0, 0.1, 900.0, 7.0, 0.2, 2.0]]).double()
    middle = torch.arange(24).double().view(3, 8) / 10 - 1

    def evaluate_rows(rows: torch.Tensor) -> Evaluate:
        def evaluate(point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            away = point - middle[rows]
            return (steepness[rows] * (away.square() / 2 + away.cosh())).sum(1), steepness[rows] * (away + away.sinh())

        return evaluate

    settings = {**SETTINGS, "max_iterations": 12}
    together = minimise(evaluate_rows(torch.arange(3)), torch.zeros(3, 8).double(), **settings)
    alone = minimise(evaluate_rows(torch.tensor([first])), torch.zeros(1, 8).double(), **settings)
    assert torch.allclose(together[first], alone[0], rtol=0, atol=1e-9)  # torch adds up other shapes in another order


def test_a_start_at_the_minimum_stays_there() -> None:
    evaluate, start = logistic(1, problems=2)
    solved = minimise(evaluate, start, **SETTINGS)
    again = minimise(evaluate, solved, **{**SETTINGS, "gradient_tolerance": 1e-4})
    assert torch.equal(again, solved)
