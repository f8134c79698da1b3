"""Stops, knots of inputs and the bound on steps: coefficients that switch at known and unknown times."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skneuralde import Jump, Problem, expect, solve
from skneuralde.noise import Brownian
from skneuralde.solvers import SolveRequest, Status, get_solver, integrate, solver_names

ALL = [get_solver(name) for name in solver_names()]
ADAPTIVE = [solver.name for solver in ALL if solver.adaptive and solver.handles(None)]
#: Each method with its own steps (None), or with steps of fixed length.
OWN_STEPS = [(solver, None) for solver in ALL if solver.adaptive]
FIXED_STEPS = [(solver, 0.37) for solver in ALL if not solver.adaptive or "torchdiffeq" not in solver.name]
GRADIENTS = [
    (name, dt, gradient)
    for name, dt in [("tsit5", None), ("tsit5", 0.05), ("ees25", 0.05), ("etdrk4", None)]
    for gradient in get_solver(name).gradients
]
KNOTS = torch.tensor([1.1, 2.3, 2.35, 4.0], dtype=torch.float64)
LEVELS = torch.tensor([1.0, -2.0, 7.0, 0.3, -1.0], dtype=torch.float64)


class Switching:
    """An input that is constant between its knots."""

    def __init__(self, knots=KNOTS, levels=LEVELS):
        self.knots, self.levels = knots, levels

    def __call__(self, t):
        return self.levels[torch.searchsorted(self.knots, t.contiguous(), right=True)][..., None]

    def integral(self, t):
        """Integral of the input from 0 to t."""
        edges = [0.0, *self.knots.tolist(), math.inf]
        spans = [max(0.0, min(t, end) - begin) for begin, end in pairwise(edges)]
        return sum(level * span for level, span in zip(self.levels.tolist(), spans, strict=True))


def options(solver, dt):
    """Options of `solve` for adaptive steps, or for steps of length dt."""
    return {"solver": solver.name} | ({} if dt is None else {"dt": dt, "rtol": None} if solver.adaptive else {"dt": dt})


def problem_for(solver, drift, diffusion):
    """An equation that the method can solve: with noise only for methods that need it."""
    if solver.handles(None):
        return Problem(drift)
    return Problem(drift, diffusion, noise="diagonal" if solver.handles("diagonal") else "additive")


def pulse(t, u):
    return 20.0 * ((t >= 10.0) & (t < 10.05)).to(u) + 0.0 * u


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("solver", ADAPTIVE)
def test_a_pulse_between_its_stops(solver, dtype):
    end = solve(Problem(pulse), torch.zeros(1, dtype=dtype), [0.0, 20.0], solver=solver, stops=[10.05, 10.0]).ys
    assert abs(float(end[0, -1]) - 1.0) < 50 * 1e-3
    assert abs(float(end[0, -1]) - 1.0) < 1e-5


@pytest.mark.parametrize("solver", ["tsit5", "bs3", "rkc2"])
def test_save_times_do_not_move_steps(solver):
    def steps(ts, **kwargs):
        return solve(Problem(lambda t, u: torch.cos(t) - u), [1.0], ts, solver=solver, **kwargs).stats.steps

    assert steps([0.0, 10.0]) == steps([0.0, *torch.linspace(0.1, 9.9, 50).tolist(), 10.0])
    assert steps([0.0, 10.0]) < steps([0.0, 10.0], stops=torch.linspace(0.1, 9.9, 50))


def test_each_path_has_its_own_stops():
    start = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    problem = Problem(lambda t, u, c: 20.0 * ((t >= c) & (t < c + 0.05)).to(u))
    at = torch.tensor([[3.0], [7.0]], dtype=torch.float64)
    stops = torch.cat([at, at + 0.05, torch.full_like(at, math.nan)], 1)
    both = solve(problem, start, [0.0, 10.0], context=at, stops=stops).ys[0, :, -1]
    torch.testing.assert_close(both, start + 1.0)
    alone = solve(problem, start[1:], [0.0, 10.0], context=at[1:], stops=stops[1:]).ys[0, :, -1]
    assert torch.equal(both[1:], alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("solver", "dt"), OWN_STEPS + FIXED_STEPS)
def test_inputs_switch_between_steps(solver, dtype, dt):
    problem = problem_for(solver, lambda t, u, c: c + 0.0 * u, 1e-9)
    ts, inputs = [0.0, 0.74, 2.3, 3.3, 5.0], Switching()
    solution = solve(problem, torch.zeros(1, dtype=dtype), ts, context=inputs, random_state=0, **options(solver, dt))
    exact = torch.tensor([inputs.integral(t) for t in ts], dtype=torch.float64)
    torch.testing.assert_close(
        solution.ys[0, :, 0].double(), exact, rtol=0.0, atol=1e-5 if dtype.itemsize == 4 else 1e-7
    )


@pytest.mark.parametrize(("solver", "dt"), OWN_STEPS + FIXED_STEPS)
def test_a_later_level_never_changes_earlier_states(solver, dt):
    problem = problem_for(solver, lambda t, u, c: c - u, lambda t, u, c: 0.1 * c)
    knots, levels = torch.arange(1.0, 5.0).double(), torch.tensor([1.0, 2.0, -1.0, 0.5, 1.0]).double()

    def before_the_third_knot(last):
        inputs = Switching(knots, torch.cat([levels[:3], torch.full((2,), last).double()]))
        ts = [0.0, 1.5, 3.0, 5.0]
        solution = solve(problem, [1.0], ts, context=inputs, random_state=0, on_error="mask", **options(solver, dt))
        return solution.ys[0, :3]

    assert torch.equal(before_the_third_knot(7.0), before_the_third_knot(1e7))


@given(
    st.lists(st.tuples(st.floats(0.01, 9.99), st.floats(-100.0, 100.0)), max_size=8),
    st.sampled_from([*ADAPTIVE, "sosri2", "ees25"]),
)
def test_inputs_that_switch_anywhere(switches, solver):
    """The state is a sum over the intervals between switches, whatever their times and levels."""
    knots, order = torch.tensor([t for t, _ in switches], dtype=torch.float64).sort()
    levels = torch.tensor([0.3, *(switches[i][1] for i in order.tolist())], dtype=torch.float64)
    inputs, ts = Switching(knots, levels), [0.0, 5.0, 10.0]
    problem = Problem(lambda t, u, c: c + 0.0 * u, 1e-9 if solver == "sosri2" else None)
    solution = solve(
        problem, [0.0], ts, solver=solver, context=inputs, random_state=0, dt=0.7 if solver == "ees25" else None
    )
    exact = torch.tensor([inputs.integral(t) for t in ts], dtype=torch.float64)
    torch.testing.assert_close(solution.ys[0, :, 0], exact, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("solver", "dt", "gradient"), GRADIENTS)
def test_gradients_across_knots(solver, dt, gradient):
    rate, inputs = torch.nn.Parameter(torch.tensor(0.7, dtype=torch.float64)), Switching()

    class Drift(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = rate

        def forward(self, t, u, c):
            return c - self.rate * u

    tolerances = {"rtol": None if solver == "tsit5" and dt else 1e-6, "atol": 1e-9}
    end = solve(
        Problem(Drift()), torch.ones(2, 1).double(), [0.0, 3.0, 5.0], solver=solver, dt=dt, context=inputs,
        gradient=gradient, **tolerances,
    ).ys[0, :, -1, 0]  # fmt: skip
    exact, t = torch.ones((), dtype=torch.float64), 0.0
    for level, until in zip(LEVELS, [*KNOTS.tolist(), 5.0], strict=True):
        decay = torch.exp(-rate * (until - t))
        exact, t = exact * decay + level / rate * (1.0 - decay), until
    torch.testing.assert_close(end, exact.expand(2), rtol=0.0, atol=2e-3 if solver == "ees25" else 1e-4)
    found, wanted = (torch.autograd.grad(x, rate)[0] for x in (end[0], exact))
    torch.testing.assert_close(found, wanted, rtol=0.0, atol=1e-2 if solver == "ees25" else 1e-4)


@pytest.mark.parametrize("gradient", ["checkpoint", "forward", "reversible"])
def test_callable_inputs_along_fixed_steps(gradient):
    """It ended in a raw error of torch."""
    start = torch.ones(2, 1, dtype=torch.float64, requires_grad=True)
    problem = Problem(lambda t, u, c: c - u)
    end = solve(
        problem, start, [0.0, 1.0], solver="ees25", dt=0.1, context=lambda t: t[..., None], gradient=gradient
    ).ys[0, :, -1]
    slope = torch.autograd.grad(end.sum(), start)[0]
    torch.testing.assert_close(slope, torch.full_like(slope, math.exp(-1.0)), rtol=1e-3, atol=0.0)


def test_side_steps_do_not_depend_on_each_other():
    times = torch.tensor([0.0, 1.0, 2.32, 3.0, 5.0], dtype=torch.float64)
    noise = Brownian(0, torch.arange(3), torch.zeros(3).long(), 1, start=torch.zeros(3).double(), cell=1.0)
    problem, u0 = Problem(lambda t, u, c: c - u, 0.2), torch.ones(3, 1, dtype=torch.float64)

    def values(keep):
        request = SolveRequest(
            problem, u0, times[keep], get_solver("sosri2"), context=Switching(), noise=noise, side_steps=True
        )
        return integrate(request).values

    assert torch.equal(values([0, 1, 2, 3, 4])[:, [0, 2, 3]], values([0, 2, 3]))


def test_time_runs_backwards_through_knots():
    problem, inputs = Problem(lambda t, u, c: c - 0.3 * u), Switching()
    back = solve(problem, [1.0], [5.0, 2.32, 0.0], context=inputs, rtol=1e-9, atol=1e-10).ys[0]
    there = solve(problem, back[-1], [0.0, 2.32, 5.0], context=inputs, rtol=1e-9, atol=1e-10).ys[0]
    torch.testing.assert_close(there.flip(0), back, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("max_step", [None, 2.0])
def test_jumps_by_day(max_step):
    """A rate of 1 from 8 to 18 h; without a bound on the steps whole days are stepped over."""

    def rate(t, u):
        return ((t[:, 0] % 24.0 >= 8.0) & (t[:, 0] % 24.0 < 18.0)).to(u)

    jumps = (Jump(rate, lambda t, u: u + 1.0, max_step=max_step),)
    mean = solve(Problem(None, jumps=jumps), [0.0], [0.0, 72.0], n_paths=100, random_state=0).ys[:, -1].mean()
    if max_step is None:
        assert mean < 24.0
    else:
        assert abs(mean - 30.0) < 4.0 * (30.0 / 100.0) ** 0.5


@pytest.mark.parametrize("solver", ["tsit5", "rock4", "rosenbrock", "sosri2", "torchdiffeq:dopri5"])
def test_no_step_is_longer_than_allowed(solver):
    problem = Problem(lambda t, u: -u, 0.1 if solver == "sosri2" else None)
    stats = solve(problem, [1.0], [0.0, 1.0], solver=solver, max_step=0.03, random_state=0).stats
    assert stats.steps >= 34
    assert stats.steps <= 80


def test_expect_takes_stops():
    mean = expect(Problem(pulse, 0.1), [0.0], [0.0, 20.0], lambda ys: ys[:, -1, 0], n_paths=50, random_state=0,
                  stops=[10.0, 10.05], max_step=5.0)  # fmt: skip
    assert abs(float(mean) - 1.0) < 4.0 * 0.1 * (20.0 / 50.0) ** 0.5


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"stops": "noon"}, "stops must be an array of times"),
        ({"stops": 3.0}, "stops must be an array of times"),
        ({"stops": [math.nan]}, "stops must be finite, with NaN only to fill up shorter rows, got nan at index 0"),
        ({"stops": [[1.0, math.inf]] * 2}, r"stops must be finite.*got inf at index \(0, 1\)"),
        ({"stops": [[1.0]] * 3}, r"stops must have shape \(n,\) or \(2, n\)"),
        ({"max_step": 0.0}, "max_step must be a positive number"),
        ({"max_step": "day"}, "max_step must be a number"),
        ({"max_step": 0.1, "dt": 0.2, "solver": "euler"}, "longer than max_step=0.1 allows"),
    ],
)
def test_what_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        solve(Problem(lambda t, u: -u), torch.ones(2, 1), [0.0, 1.0], **bad)
    with pytest.raises(ValueError, match="max_step must be a positive number"):
        Jump(lambda t, u: u[:, 0], 0.0, max_step=-1.0)


@pytest.mark.parametrize("solver", ADAPTIVE)
def test_any_longest_step(solver):
    """One without effect, and one that takes too many steps."""
    decay = Problem(lambda t, u: -u)
    free, bounded = (solve(decay, [1.0], [0.0, 1.0], solver=solver, **o).ys for o in ({}, {"max_step": math.inf}))
    torch.testing.assert_close(free, bounded, rtol=0, atol=0)
    options = {"max_step": 1e-3, "max_steps": 10, "on_error": "mask"}
    assert solve(decay, [1.0], [0.0, 1e9], solver=solver, **options).status.item() == Status.MAX_STEPS
