"""Methods for stiff equations: their polynomials, their orders, and what stiffness costs."""

import copy
import functools
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from skneuralde.problems import Problem
from skneuralde.problems.phi_functions import phi_functions
from skneuralde.solvers import SolveRequest, Status, StepInput, get_solver, integrate, solve
from skneuralde.solvers.core.spectral_radius import Spectrum
from skneuralde.solvers.methods.rosenbrock.krylov import minimal_residual
from skneuralde.solvers.methods.stabilized import rock2
from skneuralde.solvers.methods.stabilized.rkc import chebyshev
from tests.convergence import equation_of


def autonomous(t, u):
    """Predators and prey."""
    return torch.stack([u[:, 0] * (1.0 - u[:, 1]), u[:, 1] * (u[:, 0] - 1.0)], -1)


def forced(t, u):
    return torch.stack([torch.cos(2.0 * t[:, 0]) - u[:, 0] * u[:, 1], u[:, 0] - t[:, 0] * u[:, 1] ** 2], -1)


LAWS = {"autonomous": autonomous, "forced": forced}
START = torch.tensor([[1.5, 0.7]], dtype=torch.float64)


@functools.cache
def exact(law, end):
    times = torch.tensor([0.0, end], dtype=torch.float64)
    return integrate(
        SolveRequest(Problem(law), START, times, solver=get_solver("dopri5"), rtol=1e-12, atol=1e-12)
    ).values[:, -1]


def error_of_stages(name, law, s, steps, dtype, end=2.0):
    solver, equation, u, h = get_solver(name), equation_of(Problem(law), end), START.to(dtype), end / steps
    for k in range(steps):
        t = torch.full((1, 1), k * h, dtype=torch.float64)
        f = equation.drift(equation.at(t, dtype), u)
        u = solver.advance(equation, t, torch.full((1, 1), h, dtype=dtype), u, f, s).u1
    return (u.double() - exact(law, end)).norm().item()


@pytest.mark.parametrize("s", [3, 5, 12, 40])
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(
    ("name", "dtype"), [("rock2", torch.float32), ("rock2", torch.float64), ("rkc2", torch.float64)]
)
def test_order_at_every_number_of_stages(name, law, s, dtype):
    steps = (16, 48) if dtype == torch.float32 else (100, 300)
    errors = [error_of_stages(name, LAWS[law], s, n, dtype) for n in steps]
    assert abs(math.log(errors[0] / errors[1], 3) - 2.0) < 0.1


@pytest.mark.parametrize(("name", "order"), [("rosenbrock", 3), ("etdrk4", 4), ("rock2", 2), ("rock4", 4), ("rkc2", 2)])
@pytest.mark.parametrize("law", LAWS)
def test_order_in_the_loop(name, order, law):
    times = torch.tensor([0.0, 2.0], dtype=torch.float64)
    errors = [
        (integrate(SolveRequest(Problem(LAWS[law]), START, times, get_solver(name), rtol=None, dt=dt)).values[:, -1]
         - exact(LAWS[law], 2.0)).norm()
        for dt in (0.04, 0.01)
    ]  # fmt: skip
    assert abs(math.log(errors[0] / errors[1], 4) - order) < 0.15


def test_order_of_rosenbrock_with_inputs_that_change():
    """Their derivative belongs to that of the right-hand side with respect to time."""
    problem = Problem(lambda t, u, c: -u * c)
    times = torch.tensor([0.0, 2.0], dtype=torch.float64)
    errors = []
    for dt in (0.04, 0.01):
        values = integrate(SolveRequest(
            problem, START[:, :1], times, solver=get_solver("rosenbrock"), rtol=None, dt=dt,
            context=lambda t: torch.cos(t)[:, None],
        )).values  # fmt: skip
        errors.append(abs(values[0, -1, 0].item() - 1.5 * math.exp(-math.sin(2.0))))
    assert math.log(errors[0] / errors[1], 4) > 2.8


def rock2_polynomial(s, z):
    c = rock2.coefficients(s)
    (first, *others), nus, _ = c.recurrence
    before, now = np.ones_like(z), 1.0 + first * z
    for mu, nu in zip(others, nus[1:], strict=True):
        before, now = now, before + nu * (now - before) + mu * z * now
    return (1.0 + 2.0 * c.sigma * z + c.tau * z**2) * now


@pytest.mark.parametrize("s", [3, 7, 20, 45, 100, 170, 600])
def test_rock2_polynomials(s):
    """Order two, damped, and stable as far as is published: 0.811 times the square of the number of stages."""
    length = rock2.coefficients(s).recurrence.length
    h = 1e-3
    below, at, above = rock2_polynomial(s, np.array([-h, 0.0, h]))
    assert at == 1.0
    assert (above - below) / (2 * h) == pytest.approx(1.0, abs=1e-5)
    assert (above - 2 * at + below) / h**2 == pytest.approx(1.0, abs=1e-5)
    z = np.linspace(-length, 0.0, 40 * s)
    values = np.abs(rock2_polynomial(s, z))
    assert values.max() <= 1.0
    assert values[z < -1.5].max() < 0.965
    if s >= 20:
        assert length / s**2 == pytest.approx(0.811, rel=0.005)
    assert get_solver("rock2").stages(0.99 * length) <= max(s, 1.03 * s)


@pytest.mark.parametrize("s", [2, 5, 20, 300])
def test_rkc2_polynomials(s):
    c = chebyshev(s)
    z = np.linspace(-((s - 1.0) ** 2 - 1.0) / 1.54, 0.0, 40 * s)
    before, now = np.ones_like(z), 1.0 + c.first * z
    for mu, nu, weight, start in zip(c.mu, c.nu, c.weight, c.start, strict=True):
        before, now = now, 1.0 - mu - nu + mu * now + nu * before + weight * z * now + start * z
    assert np.abs(now).max() <= 1.0 + 1e-12
    assert get_solver("rkc2").stages(-z[0]) == s or s == 2


def heat(stiffness):
    """Many rates of decay, of which only the slowest is seen."""
    rates = torch.cat([torch.ones(1), torch.logspace(0, math.log10(stiffness), 20)]).double()
    return Problem(lambda t, u: -rates.to(u) * u + torch.sin(t) * (rates.to(u) == 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["rock2", "rock4", "rkc2"])
def test_stages_grow_like_the_root_of_stiffness(name, dtype):
    counts, steps = [], []
    y0 = torch.zeros(21, dtype=dtype)
    y0[0] = 1.0
    # The error estimate of rkc2 compares slopes, whose rounding is as large as the stiffness.
    for stiffness in (1e2, 1e4, 1e6) if name == "rkc2" and dtype == torch.float32 else (1e2, 1e4, 1e6, 1e8):
        solution = solve(heat(stiffness), y0, [0.0, 0.3], solver=name, rtol=1e-3, atol=1e-3)
        counts.append(solution.stats.drift_evaluations)
        steps.append(solution.stats.steps.item())
    slopes = [math.log(b / a, 100) for a, b in pairwise(counts[1:])]
    assert max(steps) < 25
    assert max(slopes) < 0.56


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["rock2", "rock4", "rkc2", "rosenbrock", "etdrk4"])
def test_nothing_hangs_on_a_stiff_forcing(name, dtype):
    problem = Problem(lambda t, u: -1e8 * (u - torch.cos(t)) - torch.sin(t))
    solution = solve(problem, torch.ones(1, dtype=dtype), [0.0, 1.0], solver=name, max_steps=30, on_error="mask")
    assert (solution.stats.steps + solution.stats.rejections).item() <= 30
    if name == "rosenbrock" or (name == "rkc2" and dtype == torch.float64):
        assert solution.status.item() == Status.SUCCESS
        assert abs(solution.ys[0, -1, 0].item() - math.cos(1.0)) < 1e-2


@pytest.mark.parametrize("name", ["rosenbrock", "rkc2"])
@pytest.mark.parametrize("stiffness", [1e2, 1e6])
def test_every_time_wanted_of_a_stiff_forcing(name, stiffness):
    """Also those that a step could pass over: there the forcing moves the solution, and no error estimate knows."""
    problem = Problem(lambda t, u: -stiffness * (u - torch.cos(t)) - torch.sin(t))
    ts = torch.linspace(0, 2, 12, dtype=torch.float64)
    solution = solve(problem, [1.0], ts, solver=name, rtol=1e-4, atol=1e-4)
    assert (solution.ys[0, :, 0] - torch.cos(ts)).abs().max() < 2e-3


@pytest.mark.parametrize("theta", [0.2, 0.5, 0.9, 1.0])
def test_rosenbrock_inside_a_step(theta):
    """Of second order, which leaves the third order of the whole as it is, and at the end the step itself."""
    solver, errors = copy.copy(get_solver("rosenbrock")), []
    equation, t = equation_of(Problem(autonomous), 2.0), torch.zeros(1, 1, dtype=torch.float64)
    solver.is_autonomous = True
    for h in (0.1, 0.025):
        step = solver.step(StepInput(equation, t, h, START, None))
        inside = solver.interpolate(torch.full_like(t, theta), START, step.stages)
        if theta == 1.0:
            torch.testing.assert_close(inside, step.u1, rtol=1e-14, atol=1e-14)
        errors.append((inside - exact(autonomous, theta * h)).norm().item())
    assert math.log(errors[0] / errors[1], 4) > (3.85 if theta == 1.0 else 2.85)


def test_rosenbrock_inside_a_step_forgets_stiff_components():
    equation, t = equation_of(Problem(lambda t, u: -1e9 * u), 2.0), torch.zeros(1, 1, dtype=torch.float64)
    step = get_solver("rosenbrock").step(StepInput(equation, t, 1.0, START, None))
    for theta in (0.1, 0.5, 0.9):
        inside = get_solver("rosenbrock").interpolate(torch.full_like(t, theta), START, step.stages)
        torch.testing.assert_close(inside, (1 - theta) ** 3 * START, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("stiffness", [1e2, 1e6])
def test_rosenbrock_inside_a_step_follows_what_forces_a_stiff_component(stiffness):
    def law(t, u):
        x, y, z = u.unbind(-1)
        return torch.stack([y, -x, stiffness * (x - z)], -1)

    ts = torch.linspace(0, 6, 301, dtype=torch.float64)
    solution = solve(Problem(law), [1.0, 0.0, 1.0], ts, solver="rosenbrock", rtol=1e-4, atol=1e-4)
    near, far = stiffness**2 / (1 + stiffness**2), stiffness / (1 + stiffness**2)
    expected = near * torch.cos(ts) + far * torch.sin(ts) + (1 - near) * torch.exp(-stiffness * ts)
    assert solution.stats.steps.item() < 60  # so that most times are inside steps
    assert (solution.ys[0, :, 2] - expected).abs().max() < 1e-3


def test_rosenbrock_takes_long_steps_to_rest():
    """Fifteen decades of time, half of them at rest: the wanted times shorten no step, and growth does not lag."""
    rates = torch.tensor([1e8, 1e4, 1.0], dtype=torch.float64)
    ts = torch.cat([torch.zeros(1), torch.logspace(-9, 6, 200)]).double()
    solution = solve(Problem(lambda t, u: -rates * u), torch.ones(3), ts, solver="rosenbrock", dtype=torch.float64)
    expected = torch.exp(-ts[:, None] * rates)
    assert (solution.ys[0] - expected).abs().max() < 5e-3
    assert solution.stats.steps.item() < 100


def test_robertson():
    """Three species whose rates differ by nine orders of magnitude; Hairer and Wanner (1996), section IV.10."""

    def law(t, u):
        a, b, c = u.unbind(-1)
        slow, middle, fast = 0.04 * a, 1e4 * b * c, 3e7 * b**2
        return torch.stack([middle - slow, slow - middle - fast, fast], -1)

    solution = solve(Problem(law), [1.0, 0.0, 0.0], [0.0, 40.0], solver="rosenbrock", rtol=1e-5, atol=1e-9)
    expected = torch.tensor([0.7158270688, 9.185534765e-6, 0.2841637457], dtype=torch.float64)
    torch.testing.assert_close(solution.ys[0, -1], expected, rtol=2e-4, atol=0)
    assert solution.stats.steps.item() < 300


def test_van_der_pol_against_scipy():
    """A relaxation oscillator whose jumps are a million times faster than the rest."""

    def law(t, u):
        x, y = u.unbind(-1)
        return torch.stack([y, 1e3 * ((1 - x**2) * y) - x], -1)

    ts = np.linspace(0.0, 1200.0, 25)
    expected = solve_ivp(
        lambda t, y: [y[1], 1e3 * (1 - y[0] ** 2) * y[1] - y[0]],
        (0, 2000),
        [2.0, 0.0],
        "Radau",
        ts,
        rtol=1e-9,
        atol=1e-10,
    ).y.T
    solution = solve(Problem(law), [2.0, 0.0], ts, solver="rosenbrock", rtol=1e-5, atol=1e-7)
    # After a jump the position tells when it was.
    assert np.abs(solution.ys[0, :, 0].numpy() - expected[:, 0]).max() < 5e-3
    assert solution.stats.steps.item() < 800


def test_many_states_without_an_operator_are_refused():
    with pytest.raises(ValueError, match="solves up to 64 states without an operator, got 65"):
        solve(Problem(lambda t, u: -u), torch.ones(65), [0.0, 1.0], solver="rosenbrock")


@pytest.mark.parametrize("z", [-1e4, -30.0, -1.0001, -0.9999, -1e-3, 0.0, 1e-9, 0.5, 3.0])
def test_phi_functions(z):
    from mpmath import exp, factorial, mp, mpf

    mp.dps = 50
    values = phi_functions(torch.tensor(z, dtype=torch.float64), 3)
    for k, value in enumerate(values):
        if z == 0.0:
            expected = 1 / factorial(k)
        else:
            expected = (exp(mpf(z)) - sum(mpf(z) ** j / factorial(j) for j in range(k))) / mpf(z) ** k
        assert value.item() == pytest.approx(float(expected), rel=1e-13)


def test_the_spectral_radius_is_found():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(30, 30, dtype=torch.float64, generator=generator)
    matrix = -(matrix @ matrix.T)
    radius = torch.linalg.eigvalsh(matrix).abs().max()
    equation = equation_of(Problem(lambda t, u: u @ matrix.T), 1.0)
    t = torch.zeros(2, 1, dtype=torch.float64)
    found = Spectrum.estimate(equation, equation.at(t, t.dtype), torch.zeros(2, 30, dtype=torch.float64)).radius
    assert (found >= radius).all()
    assert (found <= 1.25 * radius).all()


def test_minimal_residuals_solve():
    generator = torch.Generator().manual_seed(1)
    matrix = torch.eye(12).double() * 4 + torch.randn(3, 12, 12, dtype=torch.float64, generator=generator)
    r = torch.randn(3, 12, dtype=torch.float64, generator=generator)
    r[1] = 0.0
    x, residual = minimal_residual(lambda v: (matrix @ v[..., None])[..., 0], lambda v: v / 4, r, tolerance=1e-12)
    torch.testing.assert_close((matrix @ x[..., None])[..., 0], r)
    assert (residual <= 1e-12).all()
