"""Noise that error estimates must see: in windows of time, from some time on, and of every structure."""

import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skneuralde.problems import Problem
from skneuralde.solvers import SolverError, get_solver, solve, solver_names

ADAPTIVE = [name for name in solver_names() if get_solver(name).adaptive and not get_solver(name).handles(None)]
DIAGONAL = [name for name in ADAPTIVE if get_solver(name).handles("diagonal")]
N = 100


def window(t):
    return torch.exp(-((t - 4.0) ** 2) / 0.2)


def rest(t):
    return (t > 3.3).double()


def season(t):
    return 1 + torch.cos(2 * math.pi * t)


def additive(g, drift=0.0):
    return Problem(drift, lambda t, u: g(t).expand_as(u), noise="additive")


@cache
def ito_integral(g, end, stops=None, cells=2**9):
    """Integral of g dW along the paths of seed 0, by a fine sum of fixed steps, and jumps of g at ``stops``."""
    arguments = {"solver": "sra1", "rtol": None, "dt": 2.0**4 / cells, "stops": stops}
    return solve(additive(g), [0.0], [0.0, end], n_paths=N, random_state=0, **arguments).ys


def check_integral(name, g, end, variance, rtol=1e-2, stops=None):
    ys = solve(additive(g), [0.0], [0.0, end], solver=name, rtol=rtol, n_paths=N, random_state=0).ys[:, -1, 0]
    exact = ito_integral(g, end, stops)[:, -1, 0]
    error = (ys - exact).square().mean().sqrt().item()
    assert error <= 50 * (1e-6 + rtol * exact.abs().max().item())
    assert abs(ys.square().mean() / variance - 1) < 4 * (2 / N) ** 0.5


@pytest.mark.parametrize("name", ADAPTIVE)
def test_noise_in_a_window_of_time_is_seen(name):
    check_integral(name, window, 9.0, math.sqrt(math.pi * 0.1))


@pytest.mark.parametrize("name", ADAPTIVE)
def test_noise_that_begins_after_a_rest(name):
    check_integral(name, rest, 9.0, 5.7, rtol=1e-5, stops=(3.3,))


@pytest.mark.parametrize("name", ADAPTIVE)
def test_seasonal_noise_over_years_has_its_variance(name):
    check_integral(name, season, 10.0, 15.0)


@settings(max_examples=6)
@given(
    name=st.sampled_from(ADAPTIVE),
    kind=st.sampled_from(["power", "wave", "step"]),
    size=st.floats(0.3, 4.0),
    end=st.floats(1.0, 10.0),
)
def test_noise_that_depends_on_time(name, kind, size, end):
    functions = {
        "power": lambda t: t**size,
        "wave": lambda t: torch.cos(5.0 * size * t),
        "step": lambda t: 1.0 + (t > 0.2 * size).double(),
    }
    fine = torch.linspace(0, end, 100_001, dtype=torch.float64)
    check_integral(name, functions[kind], end, torch.trapezoid(functions[kind](fine) ** 2, fine).item())


@pytest.mark.parametrize("noise", ["additive", "diagonal"])
@pytest.mark.parametrize("rtol", [1e-1, 1e-2, 1e-3])
def test_steps_do_not_depend_on_the_noise_at_the_start(noise, rtol):
    def steps(g):
        problem = Problem(lambda t, u: -u, lambda t, u: g(t).expand_as(u), noise=noise)
        return solve(problem, [0.0], [0.0, 4.0], rtol=rtol, n_paths=10, random_state=0).stats.steps.double().mean()

    assert steps(lambda t: t) < 2 * steps(lambda t: 1 + t)


@pytest.mark.parametrize("noise", ["additive", "diagonal"])
@pytest.mark.parametrize("friction", [0.1, 1.0])
def test_noise_that_enters_by_another_component_takes_few_steps(noise, friction):
    """Langevin's equation: noise in the velocity only."""
    drift = lambda t, u: torch.stack([u[:, 1], -u[:, 0] - friction * u[:, 1]], 1)  # noqa: E731
    problem, arguments = Problem(drift, [0.0, 0.5], noise=noise), {"n_paths": 20, "random_state": 0}
    coarse = solve(problem, [1.0, 0.0], [0.0, 4.0], **arguments)
    fine = solve(problem, [1.0, 0.0], [0.0, 4.0], solver=coarse.solver, rtol=None, dt=2.0**-8, **arguments).ys
    assert coarse.stats.steps.double().mean() < 400
    assert (coarse.ys - fine).square().mean().sqrt() < 1e-3 * fine.abs().max()


def in_second(u):
    return torch.stack([torch.ones_like(u[:, 0]), u[:, 0]], 1)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 3e-4])
@pytest.mark.parametrize("name", DIAGONAL)
def test_errors_of_noise_that_does_not_commute_are_within_tolerance(name, tolerance):
    """As the test below, with the same relative and absolute tolerance."""
    problem, options = Problem(None, lambda t, u: in_second(u)), {"n_paths": 100, "random_state": 0}
    solution = solve(problem, [0.0, 0.0], [0.0, 1.0], solver=name, rtol=tolerance, atol=tolerance, **options)
    fine = solve(problem, [0.0, 0.0], torch.linspace(0, 1, 257), solver="euler", dt=2.0**-12, **options).ys
    error = (solution.ys[:, -1] - fine[:, -1]).square().mean(0).sqrt()
    assert (error < 45 * tolerance * (1.0 + fine.abs().amax(1).square().mean(0).sqrt())).all()


@pytest.mark.parametrize("name", DIAGONAL)
def test_noise_that_does_not_commute_converges(name):
    """dX1 = dW1, dX2 = X1 dW2, along the same paths as fine fixed steps."""
    problem = Problem(None, lambda t, u: in_second(u))
    arguments = {"n_paths": N, "random_state": 0}
    ys = solve(problem, [0.0, 0.0], [0.0, 1.0], solver=name, rtol=2e-2, **arguments).ys[:, -1]
    fine = solve(problem, [0.0, 0.0], [0.0, 1.0], solver="euler", dt=2.0**-11, **arguments).ys[:, -1]
    assert (ys - fine).square().mean().sqrt() < 50 * 2e-2 * fine.abs().max() / 5
    assert abs((ys[:, 1] ** 2).mean() - 0.5) < 4 * (1.5 / N) ** 0.5


def test_a_path_far_down_the_batch_that_mixes_is_found():
    """The second component reads the first one only above zero."""
    problem = Problem(0.0, lambda t, u: torch.stack([torch.ones_like(u[:, 0]), u[:, 0].clamp_min(0.3)], 1))
    below, above = [[-50.0, 0.0]], [[50.0, 0.0]]
    last = [
        solve(problem, start, [0.0, 1.0], random_state=0, rtol=1e-2, atol=1e-2).ys[0, -1]
        for start in (below * 40 + above, above + below * 39 + above)
    ]
    assert torch.equal(*last)


def test_a_tolerance_out_of_reach_says_that_the_noise_does_not_commute():
    problem = Problem(None, lambda t, u: in_second(u))
    with pytest.raises(SolverError, match="does not commute"):
        solve(problem, [0.0, 0.0], [0.0, 1.0], rtol=1e-6, max_steps=300, random_state=0)


def test_noise_that_commutes_costs_no_more():
    own = Problem(0.0, lambda t, u: 0.2 * u)
    one = solve(own, [1.0], [0.0, 1.0], random_state=0).stats
    two = solve(own, [1.0, 1.0], [0.0, 1.0], random_state=0).stats
    per_try = [s.diffusion_evaluations / (s.steps + s.rejections).sum().item() for s in (one, two)]
    assert per_try[1] < per_try[0] + 1


@settings(max_examples=4)
@given(kind=st.sampled_from(["diagonal", "additive", "general"]), zero=st.booleans(), seed=st.integers(0, 1000))
def test_noise_of_every_structure_has_its_moments(kind, zero, seed):
    """du = -u dt + g dW from 0 with constant g: variance g g' (1 - exp(-2 t)) / 2."""
    n = 2000
    g = torch.rand(2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.2
    g = torch.diag(g[0]) if kind == "diagonal" else g
    g[0] *= 0.0 if zero else 1.0
    value = g.diagonal() if kind == "diagonal" else g
    problem = Problem(lambda t, u: -u, lambda t, u: value.expand(len(u), *value.shape), noise=kind)
    dt = 2.0**-6 if kind == "general" else None
    ys = solve(problem, [0.0, 0.0], [0.0, 1.0], rtol=5e-2, dt=dt, n_paths=n, random_state=seed).ys[:, -1]
    exact = g @ g.T * -math.expm1(-2.0) / 2
    spread = (exact.diagonal()[:, None] * exact.diagonal() + exact**2).sqrt()
    assert ((ys.T @ ys / n - exact).abs() <= 4.5 * spread / n**0.5 + 0.02 * exact.abs() + 1e-9).all()


@pytest.mark.parametrize("name", ["milstein", "ees25"])
def test_square_roots_of_states_that_reach_zero_stay_finite(name):
    problem = Problem(lambda t, u: 0.5 * (0.1 - u), lambda t, u: 0.3 * u.clamp_min(0.0).sqrt())
    ys = solve(problem, [0.0], [0.0, 1.0], solver=name, dt=1 / 64, n_paths=N, random_state=0).ys[:, -1, 0]
    mean = 0.1 * -math.expm1(-0.5)
    assert abs(ys.mean() - mean) < 4 * ys.std() / N**0.5 + 0.01


#: Noise of the second component that reads the first one far from the start only, and the start.
FAR = {
    "beyond": (lambda x: torch.relu(x - 0.5), 0.0),
    "above zero": (lambda x: x.clamp(min=0.0), -0.5),
}


def far_noise(name):
    return Problem(None, lambda t, u: torch.stack([torch.ones_like(u[:, 0]), FAR[name][0](u[:, 0])], 1))


@pytest.mark.parametrize("solver", ["auto", "sosri", "sriw1"])
@pytest.mark.parametrize("name", FAR)
def test_noise_that_mixes_far_from_the_start(name, solver):
    rtol, start, options = 4e-3, [FAR[name][1], 0.0], {"n_paths": 60, "random_state": 0}
    found = solve(far_noise(name), start, [0.0, 1.0], solver=solver, rtol=rtol, atol=rtol, **options).ys[:, -1]
    fine = solve(far_noise(name), start, [0.0, 1.0], solver="euler", dt=2.0**-11, **options).ys[:, -1]
    assert (found - fine).square().mean().sqrt() < 50 * rtol * (1.0 + fine.abs().max())
    assert (found - fine).square().mean() < 0.05 * fine[:, 1].square().mean()


@pytest.mark.parametrize("solver", ["auto", "sosri", "sriw1"])
def test_whether_noise_mixes_does_not_depend_on_the_batch(solver):
    options = {"random_state": 3, "rtol": 1e-2, "solver": solver}
    alone = solve(far_noise("above zero"), [[-1.0, 0.0]], [0.0, 1.0], **options).ys
    mates = solve(far_noise("above zero"), [[-1.0, 0.0], [1.0, 0.0]], [0.0, 1.0], **options).ys
    assert torch.equal(alone[:, 0], mates[:, 0])


def test_noise_that_refuses_other_states_is_solved():
    def g(t, u):
        if bool((u < 0.0).any()):
            raise ValueError("prices are positive")
        return 0.2 * u

    options = {"n_paths": 50, "random_state": 0}
    expected = solve(Problem(None, lambda t, u: 0.2 * u), [1.0, 2.0], [0.0, 1.0], **options).ys
    torch.testing.assert_close(
        solve(Problem(None, g), [1.0, 2.0], [0.0, 1.0], **options).ys, expected, rtol=1e-2, atol=0
    )
