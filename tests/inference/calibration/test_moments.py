"""The substep that a tolerance asks for."""

import functools
import math

import pytest
import torch

from skneuralde.inference import LocalLinearisation, Model, calibrate_moments
from skneuralde.problems import Problem
from tests.learnable_equations import column, cubic, direct, nonlinear


def transitions(n=20, h=1.0, dim=1):
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    return direct(state, torch.linspace(0.5 * h, h, n, dtype=torch.float64))


@functools.cache
def nearly_exact(name):
    """Moments by a very fine division."""
    return transitions().moments(problem_of(name), LocalLinearisation(1.0 / 128))


def problem_of(name):
    return Problem(lambda t, u: 0.2 * u, lambda t, u: 0.5 * u) if name == "geometric" else nonlinear(name)[0]


def divergence(name, substep):
    """Exact Kullback-Leibler divergence of one-dimensional Gaussians, against a very fine division."""
    model, (exact_m, exact_p) = Model(problem_of(name)), nearly_exact(name)
    m, p = transitions().moments(model.problem, LocalLinearisation(substep))
    p, exact_p = (model.add_noise(x, m)[:, 0, 0] for x in (p, exact_p))
    residual = (m - exact_m)[:, 0]
    return float((0.5 * (exact_p / p - 1 + residual**2 / p - (exact_p / p).log())).mean())


@pytest.mark.parametrize("dim", [1, 2])
def test_linear_equations_need_one_step_however_long(dim):
    matrix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(0)).double() - 2 * torch.eye(dim).double()
    problem = Problem(lambda t, u: u @ matrix.T + 1.0, 0.5)
    assert calibrate_moments(Model(problem), transitions(h=30.0, dim=dim), rtol=1e-10).substep == math.inf


@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("name", ["additive", "diagonal", "geometric"])
def test_tolerance_is_met_without_waste(name, rtol):
    substep = calibrate_moments(Model(problem_of(name)), transitions(), rtol=rtol).substep
    reached = divergence(name, substep)
    assert reached <= 1.5 * rtol
    if substep < math.inf:
        # Fourth power: halving the substep divides the divergence by 16.
        assert reached > rtol / 1000
        assert divergence(name, 4 * substep) > rtol / 4


def test_finer_for_a_smaller_tolerance():
    model, data = Model(nonlinear("additive")[0]), transitions()
    substeps = [calibrate_moments(model, data, rtol=rtol).substep for rtol in (1e-1, 1e-3, 1e-5, 1e-7)]
    assert substeps == sorted(substeps, reverse=True)
    assert substeps[-1] < substeps[1] < math.inf


def test_observation_noise_forgives():
    problem = Problem(cubic, 0.1, noise="additive")
    data = transitions()
    strict = calibrate_moments(Model(problem), data, rtol=1e-5).substep
    forgiving = calibrate_moments(Model(problem, noise_std=column(1.0)), data, rtol=1e-5).substep
    assert forgiving > strict


def test_an_ordinary_equation_observed_with_noise():
    model = Model(Problem(cubic), noise_std=column(0.1))
    substep = calibrate_moments(model, transitions(), rtol=1e-4).substep
    assert 1e-3 < substep < math.inf


def test_backwards_as_forwards():
    model = Model(Problem(lambda t, u: torch.sin(u), 0.3, noise="additive"))
    state = transitions().state
    length = torch.full((len(state),), 1.0, dtype=torch.float64)
    backwards = calibrate_moments(model, direct(state, -length), rtol=1e-4).substep
    assert 0 < backwards < math.inf


def test_nothing_to_calibrate_on():
    model, none = Model(nonlinear("additive")[0]), torch.tensor([], dtype=torch.int64)
    assert calibrate_moments(model, transitions().select(none), rtol=1e-4).substep == math.inf
    still = direct(column(1.0, 2.0)[:, None], torch.zeros(2, dtype=torch.float64))
    assert calibrate_moments(model, still, rtol=1e-4).substep == math.inf


def test_hopeless_equations_end_with_the_finest_division():
    model = Model(Problem(lambda t, u: torch.full_like(u, math.nan), 0.3))
    assert calibrate_moments(model, transitions(4, h=1.0), rtol=1e-4).substep == pytest.approx(2.0**-10)


def test_leaves_no_graph():
    level = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    model = Model(Problem(lambda t, u: -level * u**3, 0.3))
    assert isinstance(calibrate_moments(model, transitions(), rtol=1e-4).substep, float)


def test_a_diffusion_is_taken_as_curved_where_that_counts():
    """A square root, of whose noise the linear guess has too much: by 1/16 of the variance at one unit of time."""
    problem = Problem(lambda t, u: 1.0 - u, lambda t, u: u.sqrt())
    data = direct(torch.full((5, 1), 1.0, dtype=torch.float64), torch.ones(5, dtype=torch.float64))
    assert calibrate_moments(Model(problem), data, rtol=1e-4).curved_noise
    assert not calibrate_moments(Model(problem), data, rtol=1.0).curved_noise
    propagator = calibrate_moments(Model(problem), data, rtol=1e-8)
    _, cov = data.moments(problem, propagator)
    # Exact: the noise's covariance is linear in the state, whose mean stays 1.
    assert float(cov[0]) == pytest.approx((1 - math.exp(-2.0)) / 2, rel=5e-3)
    _, linear = data.moments(problem, LocalLinearisation(propagator.substep, curved_noise=False))
    assert float(linear[0]) > 1.03 * float(cov[0])


def test_a_drift_is_taken_as_curved_where_that_counts():
    def well(t, u):
        return u - u**3

    data = direct(column(1.0, -1.0)[:, None], column(0.1, 0.1))
    strong, weak = (Model(Problem(well, noise, noise="additive")) for noise in (0.7, 0.1))
    assert calibrate_moments(strong, data, rtol=1e-3).curved_drift
    assert not calibrate_moments(weak, data, rtol=1e-3).curved_drift
