"""Moments of Platen's method, by summation over all that three-point increments can be: no chance is involved."""

import math
from dataclasses import dataclass

import pytest
import torch

from skneuralde.problems import Problem
from skneuralde.solvers import StepInput, get_solver
from skneuralde.solvers.core.stepper import Increments
from tests.convergence import equation_of, slope

PLATEN = get_solver("platen")
POINTS = torch.tensor([-(3**0.5), 0.0, 3**0.5], dtype=torch.float64)
CHANCES = torch.tensor([1 / 6, 2 / 3, 1 / 6], dtype=torch.float64)


@dataclass(frozen=True)
class Moments:
    """A scalar problem with one noise, its start, a time to go to, and E[u] and E[u^2] there."""

    problem: Problem
    start: float
    end: float
    exact: tuple[float, float]


def geometric(rate=0.5, volatility=0.4, end=1.0):
    problem = Problem(lambda t, u: rate * u, lambda t, u: volatility * u)
    return Moments(problem, 1.0, end, (math.exp(rate * end), math.exp((2 * rate + volatility**2) * end)))


def fading(end=1.0):
    """An Ornstein-Uhlenbeck process whose noise and whose pull change with time."""
    problem = Problem(lambda t, u: torch.cos(t) - u, lambda t, u: torch.exp(-t).expand_as(u), noise="additive")
    mean = math.exp(-end) * 1.0 + 0.5 * (math.cos(end) + math.sin(end) - math.exp(-end))
    return Moments(problem, 1.0, end, (mean, mean**2 + end * math.exp(-2 * end)))


def ornstein_uhlenbeck(rate=1.0, end=1.0):
    problem = Problem(lambda t, u: -rate * u, 1.0)
    mean = 0.5 * math.exp(-rate * end)
    return Moments(problem, 0.5, end, (mean, mean**2 + (1 - math.exp(-2 * rate * end)) / (2 * rate)))


def hyperbolic(end=1.0):
    """u = sinh(W + t + arsinh(u0)): neither coefficient is linear, and the moments are those of exponentials."""

    def drift(t, u):
        return (1 + u**2).sqrt() + u / 2

    start, shift = 0.3, math.asinh(0.3) + end
    mean = math.exp(end / 2) * math.sinh(shift)
    square = 0.5 * (math.exp(2 * end) * math.cosh(2 * shift) - 1)
    return Moments(Problem(drift, lambda t, u: (1 + u**2).sqrt()), start, end, (mean, square))


CASES = {
    "geometric": geometric(),
    "stiff": geometric(rate=-20.0, volatility=1.0, end=0.05),
    "fading": fading(),
    "ornstein-uhlenbeck": ornstein_uhlenbeck(),
    "stiff ornstein-uhlenbeck": ornstein_uhlenbeck(rate=20.0, end=0.05),
    "hyperbolic": hyperbolic(0.5),
}


def moments(case, steps):
    """E[u] and E[u^2] after some steps."""
    h, equation = case.end / steps, equation_of(case.problem, case.end)
    u, chance = torch.tensor([[case.start]], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for i in range(steps):
        w = h**0.5 * POINTS.repeat(len(u))[:, None]
        u, chance = u.repeat_interleave(3, 0), (chance[:, None] * CHANCES).flatten()
        u = PLATEN.step(StepInput(equation, torch.full_like(u, i * h), h, u, Increments(w))).u1
    return (chance @ u[:, 0]).item(), (chance @ u[:, 0] ** 2).item()


@pytest.mark.parametrize("case", CASES)
def test_weak_order(case):
    steps, exact = (3, 6, 9), CASES[case].exact
    found = [moments(CASES[case], n) for n in steps]
    for i in range(2):
        errors = [abs(values[i] - exact[i]) for values in found]
        assert abs(slope([1 / n for n in steps], errors) - 2) < 0.3


def test_several_noises():
    """Each component has its own noise, or shares several of additive noise."""
    u, t = torch.tensor([[0.5, -1.0]], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    w = 0.1**0.5 * torch.tensor([[3**0.5, 0.0]], dtype=torch.float64)
    wavy = Problem(lambda t, u: -u, lambda t, u: 1 + 0.1 * torch.sin(u))
    together = PLATEN.step(StepInput(equation_of(wavy, 1.0), t, 0.1, u, Increments(w))).u1
    for i in range(2):
        alone = PLATEN.step(StepInput(equation_of(wavy, 1.0), t, 0.1, u[:, i : i + 1], Increments(w[:, i : i + 1]))).u1
        assert torch.equal(alone[:, 0], together[:, i])
    matrix = torch.tensor([[0.5, 0.1], [0.2, 0.3]], dtype=torch.float64)
    mixed = PLATEN.step(
        StepInput(equation_of(Problem(0.0, matrix, noise="additive"), 1.0), t, 0.1, u, Increments(w))
    ).u1
    torch.testing.assert_close(mixed, u + w @ matrix.T)


@pytest.mark.parametrize(("diffusion", "expected"), [(lambda t, u: 0.1 * u, 3), (0.5, 2)])
def test_evaluations_of_a_step(diffusion, expected):
    equation = equation_of(Problem(lambda t, u: -u, diffusion), 1.0)
    t, u = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    PLATEN.step(StepInput(equation, t, 0.1, u, Increments(0 * u)))
    assert (equation.counter.drift, equation.counter.diffusion) == (2, expected)
