"""What is hard on a solver with noise: coefficients that break, and scales far from one."""

import math
import pickle

import pytest
import torch

from skneuralde.noise import Brownian
from skneuralde.problems import Problem
from skneuralde.solvers import SolveRequest, Status, get_solver, integrate, solve, solver_names
from tests.stubs import times

ADAPTIVE = [name for name in solver_names() if get_solver(name).adaptive and not get_solver(name).handles(None)]
OURS = [name for name in solver_names() if ":" not in name and get_solver(name).handles("additive")]
LEVEL = torch.tensor([0.8, 1.7], dtype=torch.float64)


def constant(size):
    return lambda t, u: size * torch.ones_like(u)


def step_at(place, below, above):
    return lambda t, u: torch.where(t > place, above, below) * torch.ones_like(u)


BAD = {
    # drift, size of the noise, start, times
    "explosive": (lambda t, u: u**3, constant(0.1), 3.0, times(0, 10)),
    "explosive noise": (lambda t, u: 0 * u, constant(1e200), 1.0, times(0, 1)),
    "a pole": (lambda t, u: -1 / u, constant(0.1), 0.1, times(0, 1)),
    "a drift that jumps": (step_at(0.5, -1.0, 1e3), constant(0.1), 1.0, times(0, 1)),
    "a drift that turns at zero": (lambda t, u: -1e3 * torch.sign(u), constant(1.0), 1.0, times(0, 1)),
    "noise that jumps": (lambda t, u: -u, step_at(0.3, 0.1, 10.0), 1.0, times(0, 1)),
    "a drift that ends": (lambda t, u: torch.where(u > 1.05, torch.nan, 1.0 + 0 * u), constant(0.1), 1.0, times(0, 10)),
    "noise that ends": (lambda t, u: -u, step_at(0.3, 0.1, math.nan), 1.0, times(0, 1)),
    "noise without end": (lambda t, u: -u, step_at(0.3, 0.1, math.inf), 1.0, times(0, 1)),
    "a tiny interval": (lambda t, u: -u, constant(0.1), 1.0, times(0, 1e-12)),
    "a huge interval": (lambda t, u: -u, constant(0.1), 1.0, times(0, 1e12)),
    "times apart": (lambda t, u: -u, constant(0.1), 1.0, times(0, 1e-12, 1e12)),
    "a tiny state": (lambda t, u: -u, constant(1e-31), 1e-30, times(0, 1)),
    "a huge state": (lambda t, u: -u, constant(1e29), 1e30, times(0, 1)),
    "nothing": (lambda t, u: -u, constant(0.0), 0.0, times(0, 1)),
}


@pytest.mark.parametrize("tolerance", [1e-1, 1e-12])
@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("name", ADAPTIVE)
def test_nothing_hangs(name, case, tolerance):
    """Every path ends with a status, after no more evaluations than its steps may take."""
    drift, diffusion, start, ts = BAD[case]
    problem = Problem(drift, diffusion, noise="additive")
    most = 40
    solution = solve(
        problem, [start], ts, solver=name, rtol=tolerance, atol=0.0, random_state=0, max_steps=most, on_error="mask"
    )
    assert solution.stats.steps.item() + solution.stats.rejections.item() <= most
    assert solution.stats.drift_evaluations <= 5 * most + 2
    assert bool(solution.ys[:, -1].isfinite().all()) == (solution.status.item() == Status.SUCCESS)


@pytest.mark.parametrize("case", ["a drift that ends", "noise that ends", "noise without end"])
def test_what_is_not_finite_says_so(case):
    drift, diffusion, start, ts = BAD[case]
    problem = Problem(drift, diffusion, noise="additive")
    solution = solve(problem, [start], ts, solver="sosri2", rtol=1e-1, random_state=0, on_error="mask")
    assert solution.status.item() == Status.NON_FINITE


def test_failing_paths_are_masked_and_differentiable():
    problem = Problem(lambda t, u: u**3, lambda t, u: 0.1 * u)
    y0 = torch.tensor([[0.1], [3.0]], dtype=torch.float64, requires_grad=True)
    solution = solve(problem, y0, [0.0, 0.01, 5.0], solver="sriw1", random_state=0, on_error="mask", max_steps=500)
    assert solution.status[0].tolist()[0] == Status.SUCCESS
    assert solution.status[0].tolist()[1] != Status.SUCCESS
    assert solution.ys[0, 1, 2].isnan().all()
    solution.ys.nan_to_num().sum().backward()
    assert y0.grad.isfinite().all()


def geometric(rate=0.5, size=0.4):
    return Problem(lambda t, u: rate * u, lambda t, u: size * u)


def arguments_of(name):
    return {"solver": name, "rtol": 1e-2, "dt": None if name in ADAPTIVE else 0.125, "n_paths": 2, "random_state": 0}


@pytest.mark.parametrize("name", [name for name in OURS if get_solver(name).handles("diagonal")])
def test_no_unit_is_preferred(name):
    """States in units that are powers of two, and times in units whose root is one.

    The Brownian path depends on the unit of time, so that the steps in it are compared where there is hardly any noise.
    """
    arguments = arguments_of(name) | {"atol": 0.0}
    plain = solve(geometric(), [1.0], times(0, 0.25, 1), **arguments)
    quiet = solve(geometric(0.5, 1e-30), [1.0], times(0, 0.25, 1), **arguments)
    for unit in (2.0**-100, 2.0**100):
        scaled = solve(geometric(), [unit], times(0, 0.25, 1), **arguments)
        torch.testing.assert_close(scaled.ys / unit, plain.ys, rtol=1e-12, atol=0)
        slow = geometric(0.5 / unit, 1e-30 / math.sqrt(unit))
        dt = None if name in ADAPTIVE else 0.125 * unit
        scaled = solve(slow, [1.0], times(0, 0.25 * unit, unit), **(arguments | {"dt": dt}))
        torch.testing.assert_close(scaled.ys, quiet.ys, rtol=1e-12, atol=0)
        assert torch.equal(scaled.stats.steps, quiet.stats.steps)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("shift", [-8.0, 2.0**27, -(2.0**27)])
def test_no_time_is_preferred(name, shift):
    """Times far from zero, as exact numbers, and an equation that does not know the time."""
    problem = Problem(lambda t, u: -u.sin(), 0.3, noise="additive")
    ts = times(0, 2.0**-20, 0.25, 0.25, 1)
    here, there = (solve(problem, [1.0], t, **arguments_of(name)).ys for t in (ts, ts + shift))
    assert torch.equal(here, there)


@pytest.mark.parametrize("name", OURS)
def test_nothing_is_remembered_between_calls(name):
    """The same after another call, from a pickled copy of the problem, and for a batch with more axes."""
    problem = Problem(Pull(), Spread(), noise="additive")
    y0 = torch.arange(12, dtype=torch.float64).view(2, 3, 2) / 12
    ts = torch.full((2, 3, 3), math.nan, dtype=torch.float64)
    ts[0] = times(0, 0.25, 1)
    ts[1, :, :2] = times(-1, -0.7)
    first = solve(problem, y0, ts, **arguments_of(name)).ys
    solve(problem, y0[0], times(0, 3), **(arguments_of(name) | {"n_paths": 5}))
    for again in (problem, pickle.loads(pickle.dumps(problem))):
        assert torch.equal(solve(again, y0, ts, **arguments_of(name)).ys.nan_to_num(), first.nan_to_num())
    flat = solve(problem, y0.view(6, 2), ts.view(6, 3), **arguments_of(name)).ys
    assert torch.equal(flat.view_as(first).nan_to_num(), first.nan_to_num())


class Pull(torch.nn.Module):
    def forward(self, t, u):
        return torch.sin(t) - LEVEL * u


class Spread(torch.nn.Module):
    def forward(self, t, u):
        return 0.3 * (1 + t.square()) * torch.ones_like(u)


@pytest.mark.parametrize("name", OURS)
def test_no_way_to_go(name):
    problem = Problem(lambda t, u: -u, 0.3, noise="additive")
    for ts in (times(3), times(3, 3, 3)):
        solution = solve(problem, [1.0], ts, **arguments_of(name))
        assert (solution.ys == 1.0).all()
        assert (solution.stats.steps == 0).all()


@pytest.mark.parametrize("name", OURS)
def test_a_step_longer_than_the_interval_is_cut(name):
    problem = Problem(lambda t, u: -0.1 * u, 0.3, noise="additive")
    ys = solve(problem, [1.0], times(0, 0.01), **(arguments_of(name) | {"dt": 1e6, "n_paths": 200})).ys[:, 1, 0]
    assert abs(ys.mean() - math.exp(-0.001)) < 4 * 0.03 / 200**0.5
    assert abs(ys.std() / 0.03 - 1) < 4 * (0.5 / 200) ** 0.5


@pytest.mark.parametrize("name", ADAPTIVE)
def test_one_step_is_allowed_to_be_enough(name):
    problem = Problem(lambda t, u: 0 * u, 0.3, noise="additive")
    solution = solve(problem, [1.0], times(0, 1), solver=name, rtol=1.0, max_steps=1, dt=1.0, random_state=0)
    assert solution.stats.steps.item() == 1


@pytest.mark.parametrize("side_steps", [False, True])
@pytest.mark.parametrize("cell", [0.5, 0.37, 100.0])
@pytest.mark.parametrize("name", [name for name in OURS if get_solver(name).increments == "gaussian"])
def test_the_brownian_path_is_that_of_the_noise(name, cell, side_steps):
    """Along the way and side_steps, for all paths or for one, at any times, whatever the cells."""
    wiener = Problem(lambda t, u: 0 * u, 1.0, noise="additive")
    ts, solver = times(0, 0.013, 0.3, 0.3, 0.300001, 1.7, 1.75, 4.0), get_solver(name)
    noise = Brownian(0, torch.arange(3), torch.arange(3), 1, cell=cell)
    zero = torch.zeros(3, dtype=torch.float64)
    w = torch.stack([noise.between(zero, zero + t / cell)[0] for t in ts.tolist()], 1)
    for rows in (torch.arange(3), torch.tensor([1])):
        for tolerance in (1.0, 1e-3):
            ys = integrate(SolveRequest(
                wiener, zero[rows, None], ts, solver=solver, noise=noise.select(rows), side_steps=side_steps,
                rtol=tolerance, dt=None if solver.adaptive else 0.1,
            )).values  # fmt: skip
            # A rounding error of time moves a Brownian path by its square root.
            torch.testing.assert_close(ys, w[rows], rtol=0, atol=1e-7)
