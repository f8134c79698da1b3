"""Adaptive steps with noise."""

import math
from itertools import pairwise

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skneuralde.noise import Brownian
from skneuralde.problems import Problem
from skneuralde.solvers import SolveRequest, get_solver, integrate, solve, solver_names
from tests.stubs import times

ADAPTIVE = [name for name in solver_names() if get_solver(name).adaptive and not get_solver(name).handles(None)]
DIAGONAL = [name for name in ADAPTIVE if get_solver(name).handles("diagonal")]
WIENER = Problem(lambda t, u: 0.0 * u, lambda t, u: torch.ones_like(u), noise="additive")
#: Noise whose size changes fast, so that steps of all lengths are needed to follow it, though they are all exact in W.
RESTLESS = Problem(lambda t, u: 3 * torch.sin(40 * t) * torch.cos(u), 1.0, noise="additive")
IRREGULAR = times(0, 0.013, 0.3, 0.3, 0.300001, 1.7, 1.75, 4.0)


def error(values, exact):
    return (values - exact).square().mean().sqrt().item()


@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_brownian_path_is_the_same_at_every_tolerance(name):
    """With g = 1 and no drift the solution is W itself, however the steps were chosen."""
    arguments = {"n_paths": 5, "random_state": 3}
    exact = solve(WIENER, [0.0], IRREGULAR, solver="euler", dt=2.0**-5, **arguments).ys
    for tolerance in (1.0, 1e-2, 1e-4):
        ys = solve(WIENER, [0.0], IRREGULAR, solver=name, rtol=tolerance, atol=tolerance, **arguments).ys
        torch.testing.assert_close(ys, exact, rtol=0, atol=1e-7)


def test_the_brownian_path_is_the_same_for_every_method_and_step():
    ts = torch.linspace(0, 2, 6, dtype=torch.float64)
    arguments = {"n_paths": 4, "random_state": 1}
    paths = [
        solve(WIENER, [0.0, 0.0], ts, solver=name, rtol=None, dt=0.4 / 2**k, **arguments).ys
        for name in ("euler", "milstein", "sra1", "sosri", "torchsde:srk")
        for k in (0, 3)
    ]
    for path in paths[1:]:
        torch.testing.assert_close(path, paths[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_aside_a_time_does_not_depend_on_the_others(name):
    noise = Brownian(0, torch.arange(3), torch.arange(3), 1, cell=0.5)
    u0 = torch.zeros(3, 1, dtype=torch.float64)
    arguments = {"solver": get_solver(name), "noise": noise, "rtol": 1e-2, "atol": 1e-2, "side_steps": True}
    # The drift nodes of sosri lie outside the step, where they meet the end of the interval.
    problem = Problem(lambda t, u: 3 * torch.cos(u), 1.0, noise="additive") if name == "sosri" else RESTLESS
    many = integrate(SolveRequest(problem, u0, IRREGULAR, **arguments)).values
    few = integrate(SolveRequest(problem, u0, times(0, 1.7), **arguments)).values
    assert torch.equal(many[:, 5], few[:, 1])
    coarse = [
        integrate(SolveRequest(problem, u0, ts, **arguments)).values for ts in (times(0, 0.1875), times(0, 0.1875, 1.3))
    ]
    assert torch.equal(coarse[0][:, 1], coarse[1][:, 1])
    along = integrate(SolveRequest(problem, u0, IRREGULAR, **(arguments | {"side_steps": False}))).values
    torch.testing.assert_close(many, along, rtol=0, atol=0.2)


CASES = {
    # Each with an exact solution as a function of time and W.
    "geometric": (
        lambda t, u: 0.5 * u,
        lambda t, u: 0.7 * u,
        1.0,
        lambda t, w: torch.exp((0.5 - 0.245) * t + 0.7 * w),
    ),
    "bounded": (
        lambda t, u: -0.64 * u * (1 - u**2),
        lambda t, u: 0.8 * (1 - u**2),
        0.2,
        lambda t, w: torch.tanh(0.8 * w + math.atanh(0.2)),
    ),
    "stiff": (
        lambda t, u: -20.0 * u,
        lambda t, u: 2.0 * u,
        1.0,
        lambda t, w: torch.exp(-22.0 * t + 2.0 * w),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", DIAGONAL)
def test_the_error_follows_the_tolerance(name, case):
    drift, diffusion, start, exact = CASES[case]
    ts, n = torch.linspace(0, 0.4, 6, dtype=torch.float64), 60
    arguments = {"n_paths": n, "random_state": 5}
    w = solve(WIENER, [0.0], ts, solver="euler", dt=2.0**-4, **arguments).ys
    truth = exact(ts[:, None], w)
    errors = [
        error(
            solve(Problem(drift, diffusion), [start], ts, solver=name, rtol=tol, atol=1e-2 * tol, **arguments).ys, truth
        )
        for tol in (1e-1, 1e-2, 1e-3, 1e-4)
    ]
    assert all(finer < coarser for coarser, finer in pairwise(errors))
    assert errors[-1] < 0.02 * errors[0]


@pytest.mark.parametrize(("rate", "end"), [(1.0, 1.0), (30.0, 0.5)])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_error_follows_the_tolerance_with_additive_noise(name, rate, end):
    """Against a fine solution on the same Brownian path."""
    problem = Problem(lambda t, u: -rate * (torch.sin(u) - torch.cos(3 * t)), 0.5, noise="additive")
    ts = torch.linspace(0, end, 5, dtype=torch.float64)
    arguments = {"solver": name, "n_paths": 40, "random_state": 5}
    fine = solve(problem, [0.0], ts, rtol=None, dt=0.25 / 2**10, **arguments).ys
    errors = [
        error(solve(problem, [0.0], ts, rtol=tol, atol=tol, **arguments).ys, fine) for tol in (1.0, 1e-1, 1e-2, 1e-3)
    ]
    assert all(finer < coarser for coarser, finer in pairwise(errors))
    assert errors[-1] < 0.02 * errors[0]


def test_adaptive_steps_need_far_fewer_evaluations_than_eulers_for_a_fast_transient():
    """From u = 20 the rate falls from 1200 to 2."""
    problem, ts = Problem(lambda t, u: u - u**3, lambda t, u: 0.2 * u), torch.linspace(0, 2, 9, dtype=torch.float64)
    arguments = {"n_paths": 50, "random_state": 0}
    fine = solve(problem, [20.0], ts, solver="sriw1", rtol=None, dt=0.25 / 2**10, **arguments).ys
    adaptive = solve(problem, [20.0], ts, solver="sosri", rtol=1e-1, atol=1e-1, **arguments)
    euler = solve(problem, [20.0], ts, solver="euler", dt=0.25 / 2**9, **arguments)
    assert error(adaptive.ys, fine) < error(euler.ys, fine)
    assert adaptive.stats.drift_evaluations < euler.stats.drift_evaluations / 10


def test_rejected_steps_leave_no_bias():
    """An Ornstein-Uhlenbeck process whose steps start much too long."""
    n, rate, size = 4000, 2.0, 1.5
    problem = Problem(lambda t, u: -rate * u, size, noise="additive")
    ts = times(0, 0.5, 3.0)
    solution = solve(problem, [1.0], ts, solver="sosra", rtol=5e-2, atol=5e-2, dt=2.0, n_paths=n, random_state=1)
    assert solution.stats.rejections.double().mean() > 1
    mean, variance = torch.exp(-rate * ts), size**2 / (2 * rate) * -torch.expm1(-2 * rate * ts)
    ys = solution.ys[..., 0]
    assert ((ys.mean(0) - mean)[1:].abs() < 4 * (variance[1:] / n).sqrt() + 2e-3).all()
    assert ((ys.var(0) / variance)[1:] - 1).abs().max() < 4 * (2 / n) ** 0.5 + 5e-3


@pytest.mark.parametrize("name", ADAPTIVE)
def test_saves_that_are_close_far_or_the_same(name):
    """Most times lie close together; steps over the long gap are long nevertheless."""
    ts = times(0, 1e-9, 2e-9, 2e-9, 1.0, 1e6, 1e6 + 1e-3)
    solution = solve(
        Problem(lambda t, u: -1e-6 * u, 0.1, noise="additive"), [1.0], ts, solver=name, rtol=1e-2, random_state=0
    )
    ys = solution.ys[0, :, 0]
    assert ys.isfinite().all()
    assert ys[2] == ys[3]
    assert 0 < abs(ys[1] - 1) < 1e-4
    assert 0 < abs(ys[6] - ys[5]) < 0.05
    assert solution.stats.steps.item() < 3000


@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_stiff_mate_changes_no_bit(name):
    rate = torch.tensor([[1.0], [1.0], [300.0]], dtype=torch.float64)
    ts = times(0, 0.1, 0.27, 0.35)

    def values(rows):
        problem = Problem(lambda t, u, c: -c * (u - torch.cos(t)), 0.3, noise="additive")
        noise = Brownian(2, rows, torch.zeros_like(rows), 1, cell=0.3)
        return integrate(SolveRequest(
            problem, torch.ones(len(rows), 1, dtype=torch.float64), ts, solver=get_solver(name), noise=noise,
            context=rate[rows], rtol=1e-2, atol=1e-2,
        )).values  # fmt: skip

    together = values(torch.arange(3))
    for i in range(3):
        assert torch.equal(values(torch.tensor([i]))[0], together[i])


@pytest.fixture
def as_on_another_device(monkeypatch):
    """Makes the CPU be treated as a device that must not be asked in every step."""
    for module in ("brownian", "dyadic", "increment_table"):
        monkeypatch.setattr(f"skneuralde.noise.{module}.reads_are_free", lambda device: False)
    monkeypatch.setattr("skneuralde.solvers.stepping.loop.check_interval", lambda device: 8)


SPIRAL = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=torch.float64)
SPIRALLING = Problem(lambda t, u: u**3 @ SPIRAL, lambda t, u: 0.2 * u)


@pytest.mark.parametrize("ts", [torch.linspace(0, 0.5, 5, dtype=torch.float64), times(0, 0.1, 0.33, 0.5)])
def test_treating_all_rows_alike_gives_the_same(ts, request):
    arguments = {"solver": "sosri2", "rtol": 1e-2, "atol": 1e-2, "n_paths": 20, "random_state": 0}
    sorted_rows = solve(SPIRALLING, [2.0, 0.0], ts, **arguments)
    request.getfixturevalue("as_on_another_device")
    alike = solve(SPIRALLING, [2.0, 0.0], ts, **arguments)
    torch.testing.assert_close(alike.ys, sorted_rows.ys, rtol=1e-9, atol=1e-9)
    assert torch.equal(alike.stats.steps, sorted_rows.stats.steps)


class CountWaits(TorchDispatchMode):
    """Counts the operations that would wait for a device."""

    names = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique", "_unique2")

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ in self.names
        return func(*args, **(kwargs or {}))


def test_another_device_is_not_asked_in_every_step(as_on_another_device):
    ts = torch.linspace(0, 1, 5, dtype=torch.float64)
    with CountWaits() as waits:
        solution = solve(
            SPIRALLING, [2.0, 0.0], ts, solver="sosri2", rtol=1e-2, atol=1e-2, n_paths=4, random_state=0
        )  # fmt: skip
    turns = (solution.stats.steps + solution.stats.rejections).max().item()
    assert turns > 60
    assert waits.count < turns / 3 + 30
