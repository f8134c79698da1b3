"""Means and covariances against closed forms, and the two ways to propagate them against each other."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import expm, solve_continuous_lyapunov

from skneuralde.inference import Interval, LocalLinearisation, Moments, SolverPropagation
from skneuralde.problems import Problem, ito_form
from skneuralde.solvers import get_solver
from tests.learnable_equations import column, cubic, no_inputs, nonlinear, wavy

H = column(0.0, 1e-3, 0.5, 4.0, 60.0)


def propagation(rtol=1e-6, name="tsit5", dt=None, atol=1e-5):
    return SolverPropagation(get_solver(name), rtol, torch.tensor(atol, dtype=torch.float64), dt, 100_000)


def advance(propagator, problem, mean, h, *, cov=None, t=0.0, c0=None, c1=None):
    n = len(mean)
    start = torch.as_tensor(t, dtype=torch.float64).expand(n)
    if isinstance(propagator, SolverPropagation):
        propagator = replace(propagator, atol=propagator.atol.expand(mean.shape[1]))
    c0 = no_inputs(n) if c0 is None else c0
    interval = Interval(start, h, c0, c0 if c1 is None else c1)
    return propagator.advance(problem, Moments(mean, cov), interval)[:2]


def orders(problem, mean, cov=None, h=0.8, substeps=(0.1, 0.05)):
    """Measured orders of mean and covariance in the substep."""
    h = torch.full((len(mean),), h, dtype=torch.float64)
    exact = advance(propagation(), problem, mean, h, cov=cov)
    errors = []
    for substep in substeps:
        moments = advance(LocalLinearisation(substep), problem, mean, h, cov=cov)
        errors.append([float((a - b).abs().max()) for a, b in zip(moments, exact, strict=True)])
    return np.log2(np.divide(errors[0], errors[1]))


# Linear equations: exact, however long the interval.


@pytest.mark.parametrize("substep", [math.inf, 0.37])
def test_ornstein_uhlenbeck_in_one_dimension(substep):
    rate, level, sigma = 0.7, 2.0, 0.3
    problem = Problem(lambda t, u: -rate * (u - level), sigma)
    start = column(-1.0, 0.0, 2.0, 5.0, 9.0)[:, None]
    mean, cov = advance(LocalLinearisation(substep), problem, start, H)
    decay = torch.exp(-rate * H)[:, None]
    torch.testing.assert_close(mean, level + decay * (start - level), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(cov[..., 0], sigma**2 / (2 * rate) * (1 - decay**2), rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("substep", [math.inf, 0.37])
@pytest.mark.parametrize("noise", ["additive", "matrix"])
def test_ornstein_uhlenbeck_in_two_dimensions(substep, noise):
    matrix = torch.tensor([[-0.5, 2.0], [-1.5, -0.3]], dtype=torch.float64)
    offset = torch.tensor([1.0, -2.0], dtype=torch.float64)
    spread = torch.tensor([0.3, 0.6], dtype=torch.float64)
    root = torch.tensor([[0.3, 0.1, 0.0], [0.0, 0.5, 0.2]], dtype=torch.float64)
    diffusion, density = (root, root @ root.T) if noise == "matrix" else (spread, torch.diag(spread**2))
    problem = Problem(lambda t, u: u @ matrix.T + offset, diffusion, noise="additive")
    generator = torch.Generator().manual_seed(0)
    start, factor = torch.randn(5, 2, generator=generator).double(), torch.randn(5, 2, 2, generator=generator).double()
    before = factor @ factor.mT
    mean, cov = advance(LocalLinearisation(substep), problem, start, H, cov=before)
    a, b = matrix.numpy(), offset.numpy()
    stationary = solve_continuous_lyapunov(a, -density.numpy())
    for i, h in enumerate(H.tolist()):
        transition, rest = expm(a * h), np.linalg.solve(a, -b)
        np.testing.assert_allclose(mean[i], rest + transition @ (start[i].numpy() - rest), rtol=1e-10, atol=1e-12)
        wanted = stationary + transition @ (before[i].numpy() - stationary) @ transition.T
        np.testing.assert_allclose(cov[i], wanted, rtol=1e-10, atol=1e-12)


def test_a_known_state_is_one_without_covariance():
    problem, start = nonlinear("general")
    h = column(0.4)
    nothing = torch.zeros(1, 2, 2, dtype=torch.float64)
    for propagator in (LocalLinearisation(), LocalLinearisation(0.1), propagation()):
        implied = advance(propagator, problem, start, h)
        given = advance(propagator, problem, start, h, cov=nothing)
        for one, other in zip(implied, given, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


# Geometric Brownian motion: the mean exact, the variance of second order.

DRIFT, VOLATILITY = 0.3, 0.5


def test_geometric_brownian_motion():
    problem = Problem(lambda t, u: DRIFT * u, lambda t, u: VOLATILITY * u)
    start, h = column(1.0, 2.0)[:, None], column(1.0, 2.0)
    variance = start[:, 0] ** 2 * torch.exp(2 * DRIFT * h) * torch.expm1(VOLATILITY**2 * h)
    errors = []
    for substep in (0.2, 0.1, 0.05):
        mean, cov = advance(LocalLinearisation(substep), problem, start, h)
        torch.testing.assert_close(mean[:, 0], start[:, 0] * torch.exp(DRIFT * h), rtol=1e-12, atol=0)
        errors.append((cov[:, 0, 0] / variance - 1).abs().max().log2().item())
    assert -np.diff(errors) == pytest.approx(2.0, abs=0.1)
    assert 2 ** errors[-1] < 2e-4


def test_solver_propagation_of_geometric_brownian_motion_is_exact():
    problem = Problem(lambda t, u: DRIFT * u, lambda t, u: VOLATILITY * u)
    start, h = column(1.0, 2.0)[:, None], column(1.0, 2.0)
    mean, cov = advance(propagation(), problem, start, h)
    variance = start[:, 0] ** 2 * torch.exp(2 * DRIFT * h) * torch.expm1(VOLATILITY**2 * h)
    torch.testing.assert_close(mean[:, 0], start[:, 0] * torch.exp(DRIFT * h), rtol=1e-8, atol=0)
    torch.testing.assert_close(cov[:, 0, 0], variance, rtol=1e-8, atol=0)


# Nonlinear equations: second order, towards the moment equations' own solution.


@pytest.mark.parametrize(
    ("name", "begun"),
    [
        ("additive", "known"),
        ("diagonal", "known"),
        ("stratonovich", "known"),
        ("pendulum", "known"),
        ("pendulum", "spread"),
        ("general", "spread"),
    ],
)
def test_second_order_in_the_substep(name, begun):
    problem, start = nonlinear(name)
    dim = start.shape[1]
    cov = 0.05 * torch.eye(dim).double().expand(len(start), dim, dim) if begun == "spread" else None
    mean_order, cov_order = orders(problem, start, cov)
    assert mean_order > 1.75
    assert cov_order > 1.75


def test_moments_agree_with_simulation():
    problem, start = nonlinear("general")
    h, n_steps, n_paths = 0.5, 100, 40_000
    mean, cov = advance(LocalLinearisation(0.02), problem, start, column(h))
    generator = torch.Generator().manual_seed(1)
    u, dt = start.repeat(n_paths, 1), h / n_steps
    t = torch.zeros(1, 1, dtype=torch.float64)
    for _ in range(n_steps):
        dw = math.sqrt(dt) * torch.randn(n_paths, 2, generator=generator, dtype=torch.float64)
        u = u + dt * problem.drift(t, u) + problem.apply_noise(problem.diffusion(t, u), dw)
    standard_error = u.std(0) / math.sqrt(n_paths)
    # Four standard errors, and what both sides neglect: Euler's step, and the drift's third derivatives.
    assert (u.mean(0) - mean[0]).abs().max() < 4 * standard_error.max() + 2e-3
    torch.testing.assert_close(torch.cov(u.T), cov[0], rtol=0.04, atol=1e-3)


def exact_mean(drift, noise, start, h):
    """Mean after h of a state of one dimension, by the backward Kolmogorov equation on a fine grid."""
    grid, step = np.linspace(-4, 4, 801, retstep=True)
    f = drift(None, torch.from_numpy(grid)).numpy()
    up, down = 0.5 * noise**2 / step**2 + 0.5 * f / step, 0.5 * noise**2 / step**2 - 0.5 * f / step
    generator = np.diag(-(up + down)) + np.diag(up[:-1], 1) + np.diag(down[1:], -1)
    generator[[0, -1]] = 0.0
    return np.interp(start, grid, expm(generator * h) @ grid)


@pytest.mark.parametrize("propagator", [LocalLinearisation(0.02), propagation()], ids=["linearised", "solver"])
def test_the_curvature_of_the_drift_moves_the_mean(propagator):
    """A double well, whose mean at a well is drawn to the middle: by a fifth of a standard deviation."""

    def well(t, u):
        return u - u**3

    start, h = column(1.0, 0.5, -1.3)[:, None], column(0.1, 0.1, 0.1)
    mean, _ = advance(propagator, Problem(well, 0.7, noise="additive"), start, h)
    flow, _ = advance(propagator, Problem(well), start, h)
    exact = torch.from_numpy(exact_mean(well, 0.7, start[:, 0].numpy(), 0.1))
    without, error = (flow[:, 0] - exact).abs(), (mean[:, 0] - exact).abs()
    assert (without > 3e-3).all()
    assert (error < 0.1 * without).all()


def test_gradients_of_the_two_ways_agree():
    parameter = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    volatility = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    problem = Problem(lambda t, u: u - parameter * u**3, lambda t, u: volatility * (1 + 0.3 * u))
    start, h = column(0.2, 1.5)[:, None].requires_grad_(), column(0.5, 1.0)
    cov = torch.full((2, 1, 1), 0.04, dtype=torch.float64, requires_grad=True)
    gradients = []
    for propagator in (LocalLinearisation(0.01), propagation()):
        mean, spread = advance(propagator, problem, start, h, cov=cov)
        value = (mean.sin() + 3 * spread[..., 0]).sum()
        gradients.append(torch.autograd.grad(value, [parameter, volatility, start, cov]))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("substep", [math.inf, 0.2])
def test_gradient_against_finite_differences(substep):
    start = column(0.2, 1.5)[:, None].requires_grad_()
    size = torch.tensor([0.6, 0.3], dtype=torch.float64, requires_grad=True)

    def moments(start, size):
        problem = Problem(lambda t, u: u - size[0] * u**3, lambda t, u: size[1] * torch.cos(u))
        return advance(LocalLinearisation(substep), problem, start, column(0.5, 0.3))

    assert torch.autograd.gradcheck(moments, (start, size))


# Readings of the integral, directions of time, inputs.


@pytest.mark.parametrize(
    "propagator", [LocalLinearisation(0.2), propagation(1e-3, atol=1e-3)], ids=["linearised", "solver"]
)
def test_stratonovich_is_its_ito_form(propagator):
    problem, start = nonlinear("stratonovich")
    h = column(0.5, 1.0)
    as_given = advance(propagator, problem, start, h)
    converted = advance(propagator, ito_form(problem), start, h)
    by_hand = Problem(lambda t, u: cubic(t, u) + 0.5 * wavy(t, u) * 0.1 * torch.cos(u), wavy)
    ito_reading = advance(propagator, Problem(cubic, wavy), start, h)
    for given, form, hand, other in zip(
        as_given, converted, advance(propagator, by_hand, start, h), ito_reading, strict=True
    ):
        torch.testing.assert_close(given, form, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(given, hand, rtol=1e-6, atol=1e-8)
        assert (given - other).abs().max() > 1e-4


@pytest.mark.parametrize("propagator", [LocalLinearisation(), propagation()], ids=["linearised", "solver"])
def test_backwards_in_time_the_mean_returns_and_the_spread_grows(propagator):
    rate, sigma = 0.7, 0.3
    problem = Problem(lambda t, u: -rate * u + t, sigma)
    start, h = column(1.0, -2.0)[:, None], column(1.5, 0.4)

    def go(mean, t, h):
        return advance(propagator, problem, mean, h, t=t)

    forwards, _ = go(start, 0.3, h)
    if isinstance(propagator, LocalLinearisation):
        propagator = LocalLinearisation(0.01)  # a forcing that changes with time takes substeps
        forwards, _ = go(start, 0.3, h)
    back, cov = go(forwards, 0.3 + h, -h)
    torch.testing.assert_close(back, start, rtol=1e-4, atol=1e-4)
    wanted = sigma**2 / (2 * rate) * torch.expm1(2 * rate * h)
    torch.testing.assert_close(cov[:, 0, 0], wanted, rtol=1e-7, atol=0)


def test_one_batch_goes_both_ways():
    problem, start = nonlinear("diagonal")
    h = column(0.5, -0.5)
    for propagator in (LocalLinearisation(0.1), propagation()):
        together = advance(propagator, problem, start, h, t=2.0)
        for i in range(2):
            alone = advance(propagator, problem, start[i : i + 1], h[i : i + 1], t=2.0)
            for one, other in zip(together, alone, strict=True):
                torch.testing.assert_close(one[i], other[0], rtol=1e-12, atol=1e-14)


def test_inputs_move_linearly():
    problem = Problem(lambda t, u, c: c - 0.5 * u, 0.2)
    start, h = column(0.0, 1.0)[:, None], column(1.0, 2.0)
    c0, c1 = column(1.0, 2.0)[:, None], column(3.0, -2.0)[:, None]
    # u' = a + b t - u / 2
    b = (c1 - c0)[:, 0] / h
    line = 2 * c0[:, 0] + 2 * b * h - 4 * b
    exact = line + (start[:, 0] - 2 * c0[:, 0] + 4 * b) * torch.exp(-0.5 * h)
    for propagator, accuracy in ((LocalLinearisation(0.01), 1e-4), (propagation(), 1e-6)):
        mean, _ = advance(propagator, problem, start, h, c0=c0, c1=c1)
        torch.testing.assert_close(mean[:, 0], exact, rtol=accuracy, atol=accuracy)
        swapped, _ = advance(propagator, problem, start, h, c0=c1, c1=c0)
        assert (swapped[:, 0] - exact).abs().min() > 0.01


def test_time_is_the_problems_own():
    problem = Problem(lambda t, u: t.expand_as(u), 0.2)
    start, h = column(0.0, 0.0)[:, None], column(1.0, 2.0)
    for propagator in (LocalLinearisation(), propagation()):
        mean, _ = advance(propagator, problem, start, h, t=10.0)
        torch.testing.assert_close(mean[:, 0], 10 * h + h**2 / 2, rtol=1e-9, atol=0)


@pytest.mark.parametrize("propagator", [LocalLinearisation(0.1), propagation()], ids=["linearised", "solver"])
def test_without_noise_there_is_no_covariance(propagator):
    start = column(0.2, 1.5)[:, None]
    mean, cov = advance(propagator, Problem(cubic), start, column(0.5, 1.0))
    with_noise, _ = advance(propagator, Problem(cubic, 1e-4, noise="additive"), start, column(0.5, 1.0))
    assert cov is None
    torch.testing.assert_close(mean, with_noise, rtol=1e-6, atol=1e-6)


def test_rows_do_not_depend_on_each_other():
    problem, start = nonlinear("diagonal")
    start, h = start.repeat(2, 1), column(0.1, 0.5, 0.0, 1.3)
    for propagator in (LocalLinearisation(), LocalLinearisation(0.2), propagation(1e-3)):
        together = advance(propagator, problem, start, h)
        for i in range(len(h)):
            alone = advance(propagator, problem, start[i : i + 1], h[i : i + 1])
            for one, other in zip(together, alone, strict=True):
                assert torch.equal(one[i], other[0])


def test_fixed_step_solvers_propagate_too():
    problem, start = nonlinear("additive")
    h = column(0.5, 1.0)
    exact = advance(propagation(), problem, start, h)
    coarse, fine = (advance(propagation(name="euler", dt=dt), problem, start, h) for dt in (0.01, 0.005))
    for a, b, c in zip(coarse, fine, exact, strict=True):
        assert (a - c).norm() / (b - c).norm() == pytest.approx(2.0, abs=0.1)


def test_rtol_drives_the_propagation():
    problem, start = nonlinear("diagonal")
    h = column(2.0, 2.0)
    exact, _ = advance(propagation(), problem, start, h)
    errors = [
        float((advance(propagation(rtol, "bs3", atol=rtol), problem, start, h)[0] - exact).abs().max())
        for rtol in (1e-1, 1e-4)
    ]
    assert errors[1] < 1e-3
    assert errors[0] > 20 * errors[1]


def test_single_precision_is_kept():
    start, h = torch.tensor([[0.2], [1.5]]), column(0.5, 1.0)
    inputs = torch.zeros(2, 0)
    single = Problem(lambda t, u: u - 0.6 * u**3, lambda t, u: 0.3 * torch.cos(u))
    for propagator in (LocalLinearisation(0.1), propagation(1e-5)):
        mean, cov = advance(propagator, single, start, h, c0=inputs)
        exact_mean, exact_cov = advance(propagator, single, start.double(), h)
        assert mean.dtype == cov.dtype == torch.float32
        torch.testing.assert_close(mean.double(), exact_mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(cov.double(), exact_cov, rtol=1e-4, atol=1e-5)
