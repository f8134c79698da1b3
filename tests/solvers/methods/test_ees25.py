"""Orders forwards, and how well a step is undone."""

import pytest
import torch

from skneuralde.problems import Problem
from skneuralde.solvers import SolveRequest, StepInput, get_solver, integrate
from skneuralde.solvers.core.stepper import Increments
from tests.convergence import OnFineMesh, equation_of, rms, slope, strong_order
from tests.problems_closed_form import geometric, oscillator, rotating_noise, saturating, stiff_noise, turning

EES25 = get_solver("ees25")

CASES = {
    "geometric": geometric("stratonovich"),
    "stiff": geometric("stratonovich", rate=-20.0, volatility=1.0, end=0.25),
    "saturating": saturating().in_stratonovich(),
    "turning": turning().in_stratonovich(),
    "stiff additive": stiff_noise(),
    "rotating": rotating_noise(),
}


def test_order_without_noise():
    case, sizes = oscillator(), (0.04, 0.02, 0.01)
    end = torch.tensor([0.0, 3.0], dtype=torch.float64)
    ends = [integrate(SolveRequest(case.problem, case.u0, end, solver=EES25, dt=dt)).values[:, -1] for dt in sizes]
    assert abs(slope(sizes, [rms(u - case.exact(case.u0, 3.0, None)) for u in ends]) - 2) < 0.1


@pytest.mark.parametrize("case", CASES)
def test_strong_order_with_commuting_noise(case):
    assert abs(strong_order(EES25, CASES[case], steps=(64, 128, 256)) - 1) < 0.3


def test_strong_order_with_noise_that_does_not_commute():
    def diffusion(t, u):
        return torch.stack([torch.stack([u[:, 1].sin(), u[:, 0].cos()], -1), u.cos()], -1)

    problem = Problem(lambda t, u: -u, diffusion, noise="general", calculus="stratonovich")
    case = OnFineMesh(problem, EES25, torch.full((1, 2), 0.5, dtype=torch.float64))
    assert abs(strong_order(EES25, case, steps=(32, 64, 128)) - 0.5) < 0.2


def gap(problem, h, w=None):
    """How far from its start a path is after a step forwards and one back."""
    equation = equation_of(problem, 10.0)
    u0, t = torch.tensor([[0.5, -1.2], [1.0, 0.3]], dtype=torch.float64), torch.full((2, 1), 2.0, dtype=torch.float64)
    u1 = EES25.step(StepInput(equation, t, h, u0, None if w is None else Increments(w))).u1
    back = EES25.step(StepInput(equation, t + h, -h, u1, None if w is None else Increments(-w))).u1
    return rms(back - u0)


def test_a_step_is_undone():
    problem = Problem(
        lambda t, u: torch.stack([torch.sin(u[:, 1]) - u[:, 0] ** 2, u[:, 0] * u[:, 1]], -1) + torch.cos(t)
    )
    sizes = (0.1, 0.05, 0.025)
    assert slope(sizes, [gap(problem, h) for h in sizes]) > 5.7
    assert gap(problem, 0.1) < 1e-6


def test_a_step_with_noise_is_undone():
    problem = Problem(lambda t, u: -u, lambda t, u: torch.sin(u) + 1, calculus="stratonovich")
    sizes, z = (0.1, 0.05, 0.025, 0.0125), torch.tensor([[1.0, -0.5], [0.3, 2.0]], dtype=torch.float64)
    assert slope(sizes, [gap(problem, h, h**0.5 * z) for h in sizes]) > 2.7


def test_evaluations_of_a_step():
    equation = equation_of(geometric("stratonovich").problem, 1.0)
    t, u = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    EES25.step(StepInput(equation, t, 0.1, u, Increments(u)))
    assert (equation.counter.drift, equation.counter.diffusion) == (3, 3)
