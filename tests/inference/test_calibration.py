"""The substep that a tolerance asks for."""

import math

import pytest
import torch

from skneuralde.inference import LocalLinearisation, Model, calibrate_substep
from skneuralde.problems import Problem
from tests.learnable_equations import column, cubic, direct, nonlinear


def transitions(n=20, h=1.0, dim=1):
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    return direct(state, torch.linspace(0.5 * h, h, n, dtype=torch.float64))


def divergence(model, transitions, substep):
    """Exact Kullback-Leibler divergence of one-dimensional Gaussians, against a very fine division."""
    (m, p), (exact_m, exact_p) = (
        transitions.moments(model.problem, LocalLinearisation(s)) for s in (substep, 1.0 / 128)
    )
    p, exact_p = (model.add_noise(x, m)[:, 0, 0] for x in (p, exact_p))
    residual = (m - exact_m)[:, 0]
    return float((0.5 * (exact_p / p - 1 + residual**2 / p - (exact_p / p).log())).mean())


@pytest.mark.parametrize("dim", [1, 2])
def test_linear_equations_need_one_step_however_long(dim):
    matrix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(0)).double() - 2 * torch.eye(dim).double()
    problem = Problem(lambda t, u: u @ matrix.T + 1.0, 0.5)
    assert calibrate_substep(Model(problem), transitions(h=30.0, dim=dim), rtol=1e-10) == math.inf


@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("name", ["additive", "diagonal", "geometric"])
def test_tolerance_is_met_without_waste(name, rtol):
    problem = Problem(lambda t, u: 0.2 * u, lambda t, u: 0.5 * u) if name == "geometric" else nonlinear(name)[0]
    model, data = Model(problem), transitions()
    substep = calibrate_substep(model, data, rtol=rtol)
    assert divergence(model, data, substep) <= 1.5 * rtol
    if substep < math.inf:
        # Fourth power: halving the substep divides the divergence by 16.
        assert divergence(model, data, substep) > rtol / 1000
        assert divergence(model, data, 4 * substep) > rtol / 4


def test_finer_for_a_smaller_tolerance():
    model, data = Model(nonlinear("additive")[0]), transitions()
    substeps = [calibrate_substep(model, data, rtol=rtol) for rtol in (1e-1, 1e-3, 1e-6, 1e-9)]
    assert substeps == sorted(substeps, reverse=True)
    assert substeps[-1] < substeps[1] < math.inf


def test_observation_noise_forgives():
    problem = Problem(cubic, 0.1, noise="additive")
    data = transitions()
    strict = calibrate_substep(Model(problem), data, rtol=1e-5)
    forgiving = calibrate_substep(Model(problem, noise_std=column(1.0)), data, rtol=1e-5)
    assert forgiving > strict


def test_an_ordinary_equation_observed_with_noise():
    model = Model(Problem(cubic), noise_std=column(0.1))
    substep = calibrate_substep(model, transitions(), rtol=1e-4)
    assert 1e-3 < substep < math.inf


def test_backwards_as_forwards():
    model = Model(Problem(lambda t, u: torch.sin(u), 0.3, noise="additive"))
    state = transitions().state
    length = torch.full((len(state),), 1.0, dtype=torch.float64)
    backwards = calibrate_substep(model, direct(state, -length), rtol=1e-4)
    assert 0 < backwards < math.inf


def test_nothing_to_calibrate_on():
    model, none = Model(nonlinear("additive")[0]), torch.tensor([], dtype=torch.int64)
    assert calibrate_substep(model, transitions().select(none), rtol=1e-4) == math.inf
    still = direct(column(1.0, 2.0)[:, None], torch.zeros(2, dtype=torch.float64))
    assert calibrate_substep(model, still, rtol=1e-4) == math.inf


def test_hopeless_equations_end_with_the_finest_division():
    model = Model(Problem(lambda t, u: torch.full_like(u, math.nan), 0.3))
    assert calibrate_substep(model, transitions(4, h=1.0), rtol=1e-4) == pytest.approx(2.0**-10)


def test_leaves_no_graph():
    level = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    model = Model(Problem(lambda t, u: -level * u**3, 0.3))
    assert isinstance(calibrate_substep(model, transitions(), rtol=1e-4), float)
