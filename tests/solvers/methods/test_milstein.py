"""The order of Milstein's method, and what it costs."""

import pytest
import torch

from skneuralde.problems import Problem
from skneuralde.solvers import StepInput, get_solver
from skneuralde.solvers.core.stepper import Increments
from tests.convergence import equation_of, strong_order
from tests.problems_closed_form import fading_noise, geometric, rotating_noise, saturating, stiff_noise, turning

MILSTEIN = get_solver("milstein")

CASES = {
    "geometric": geometric(),
    "stiff": geometric(rate=-20.0, volatility=1.0, end=0.25),
    "saturating": saturating(),
    "turning": turning(),
    "fading": fading_noise(),
    "stiff additive": stiff_noise(),
    "rotating": rotating_noise(),
    "geometric, stratonovich": geometric("stratonovich"),
    "turning, stratonovich": turning().in_stratonovich(),
    "saturating, stratonovich": saturating().in_stratonovich(),
}


@pytest.mark.parametrize("case", CASES)
def test_strong_order(case):
    assert abs(strong_order(MILSTEIN, CASES[case], steps=(64, 128, 256)) - 1) < 0.3


def test_evaluations_of_a_step():
    t, u = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    for diffusion, expected in ((lambda t, u: u, 2), (0.5, 1)):
        equation = equation_of(Problem(lambda t, u: -u, diffusion), 1.0)
        MILSTEIN.step(StepInput(equation, t, 0.1, u, Increments(u)))
        assert (equation.counter.drift, equation.counter.diffusion) == (1, expected)
