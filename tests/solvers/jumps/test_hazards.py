"""Jumps whose rates have no bound."""

import math

import pytest
import torch

from skneuralde import Jump, Problem, solve
from skneuralde.noise import Brownian, PoissonProcesses
from skneuralde.solvers import SolveRequest, SolverError, get_solver, integrate

TIMES = [0.0, 0.2, 0.6, 1.0]


def count(t, u):
    return u + 1.0


def problem(noise, scale=None, **options):
    halve = Jump(lambda t, u: 1.0 + u[:, 0] ** 2, (lambda t, u, z: 0.5 * u + 0.1 * z) if scale is None else scale)
    steady = Jump(1.0, lambda t, u: u + 0.5)
    rising = Jump(lambda t, u: 2.0 * t, lambda t, u: u - 0.2)
    diffusion = {"diagonal": lambda t, u: 0.2 * u, "additive": torch.tensor([[0.2, 0.1, 0.1]]).double()}.get(noise)
    jumps = (halve, steady, rising)
    return Problem(
        lambda t, u: 0.1 * u, diffusion, jumps=jumps, noise="additive" if noise == "additive" else "diagonal"
    )


def trajectory(noise, rows, *, name, rtol=1e-4, side_steps=False, scale=None, **options):
    rows = torch.as_tensor(rows)
    keys = (rows, torch.zeros_like(rows))
    return integrate(
        SolveRequest(
            problem(noise, scale),
            torch.ones(len(rows), 1, dtype=torch.float64),
            torch.tensor(TIMES, dtype=torch.float64),
            solver=get_solver(name),
            poisson=PoissonProcesses(3, *keys, 3),
            noise=Brownian(3, *keys, 3 if noise == "additive" else 1, cell=0.7),
            rtol=rtol,
            atol=1e-8,
            side_steps=side_steps,
            **options,
        )
    )


METHODS = [("diagonal", "sosri2"), ("additive", "sosra"), (None, "tsit5"), (None, "rosenbrock")]
#: The same by steps of a fixed size, and methods that have no others.
FIXED = [("diagonal", "sosri2"), ("additive", "sosra"), (None, "bs3"), ("diagonal", "euler"), ("diagonal", "platen")]
STEPS = [(*method, {"rtol": 1e-3}) for method in METHODS] + [(*method, {"rtol": None, "dt": 0.1}) for method in FIXED]


def roots_of_a_rising_rate(name, **steps):
    """Jump times of rate t, their exact values, and the final counts: none may be left out."""
    poisson = PoissonProcesses(0, torch.arange(50), torch.zeros(50, dtype=torch.int64), 1)
    integral = poisson.arrivals(0, torch.full((50, 1), 4.5, dtype=torch.float64))
    times = torch.tensor([0.0, 3.0], dtype=torch.float64)
    u0 = torch.zeros(50, 1, dtype=torch.float64)
    rising = Problem(None, jumps=(Jump(lambda t, u: t, count),))
    run = integrate(SolveRequest(rising, u0, times, solver=get_solver(name), poisson=poisson, **steps))
    log = run.jumps.of_channel(0)
    assert torch.equal(run.values[:, -1, 0], torch.bincount(log.path, minlength=50).double())
    exact = torch.where(integral.isfinite(), (2.0 * integral).sqrt(), torch.nan)
    return log, exact


@pytest.mark.parametrize(
    ("name", "steps"),
    [("tsit5", {"rtol": 1e-6}), ("rosenbrock", {"rtol": 1e-6}), ("bs3", {"rtol": None, "dt": 0.4})],
)
def test_jump_times_are_roots_of_the_integrated_rate(name, steps):
    log, exact = roots_of_a_rising_rate(name, **steps)
    torch.testing.assert_close(log.elapsed, exact[exact.isfinite()], rtol=0, atol=1e-5)


def test_jump_times_along_fixed_steps_are_as_accurate_as_the_method():
    errors = []
    for dt in (0.2, 0.05, 0.0125):
        log, exact = roots_of_a_rising_rate("euler", rtol=None, dt=dt)
        early = log.number < 2
        errors.append((log.elapsed - exact[log.path, log.number.clamp_max(exact.shape[1] - 1)])[early].abs().mean())
    # Euler's hazards are half a step behind, and so are the jumps.
    assert abs(math.log(errors[0] / errors[-1]) / math.log(16.0) - 1.0) < 0.1
    assert abs(errors[-1] / (0.5 * 0.0125) - 1.0) < 0.1


@pytest.mark.parametrize(("name", "order"), [("sosri2", 1.5), ("euler", 0.5)])
def test_jump_times_along_fixed_steps_have_the_order_of_the_method(name, order):
    jump = Jump(lambda t, u: 1.0 + u[:, 0] ** 2, lambda t, u: 0.5 * u + 0.2)
    driven = Problem(lambda t, u: -u, lambda t, u: 0.8 * u, jumps=(jump,))

    def first(name, dt):
        run = solve(driven, [1.0], [0.0, 1.0], solver=name, rtol=None, dt=dt, n_paths=200, random_state=2)
        return run.jump_times[0][:, 0]

    exact = first("sosri2", 2.0**-8)
    errors = [(first(name, dt) - exact).abs().nanmedian() for dt in (2.0**-3, 2.0**-6)]
    assert float((errors[0] / errors[-1]).log2() / 3) > order - 0.15


@pytest.mark.parametrize(("noise", "name"), METHODS)
def test_jumps_hardly_depend_on_the_tolerance(noise, name):
    rough, fine = (trajectory(noise, range(10), name=name, rtol=rtol) for rtol in (1e-3, 1e-4))
    for channel in range(3):
        ours, theirs = rough.jumps.of_channel(channel), fine.jumps.of_channel(channel)
        assert torch.equal(ours.path, theirs.path)
        torch.testing.assert_close(ours.elapsed, theirs.elapsed, rtol=0, atol=1e-2)
    torch.testing.assert_close(rough.values, fine.values, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("side_steps", [False, True])
@pytest.mark.parametrize(("noise", "name", "steps"), STEPS)
def test_answers_do_not_depend_on_batch_mates(noise, name, steps, side_steps):
    every = trajectory(noise, range(30), name=name, side_steps=side_steps, **steps)
    some = trajectory(noise, range(0, 30, 7), name=name, side_steps=side_steps, **steps)
    torch.testing.assert_close(every.values[::7], some.values, rtol=1e-10, atol=0)


@pytest.mark.parametrize(("noise", "name"), METHODS)
def test_side_steps_lead_to_the_same_states_and_jumps(noise, name):
    inside, side_steps = (trajectory(noise, range(10), name=name, side_steps=x, rtol=1e-3) for x in (False, True))
    torch.testing.assert_close(inside.values, side_steps.values, rtol=0.02, atol=0.02)
    for channel in range(3):
        ours, theirs = inside.jumps.of_channel(channel), side_steps.jumps.of_channel(channel)
        assert torch.equal(ours.path, theirs.path)
        assert torch.equal(ours.number, theirs.number)
        torch.testing.assert_close(ours.elapsed, theirs.elapsed, rtol=0, atol=1e-2)


@pytest.mark.parametrize("side_steps", [False, True])
@pytest.mark.parametrize(("noise", "name", "steps"), STEPS)
def test_the_steps_for_gradients_lead_to_the_same_states(noise, name, steps, side_steps):
    class Scale(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

        def forward(self, t, u):
            return self.scale * u

    scale = Scale()
    with torch.no_grad():
        plain = trajectory(noise, range(10), name=name, side_steps=side_steps, scale=scale, **steps).values
    values = trajectory(noise, range(10), name=name, side_steps=side_steps, scale=scale, **steps).values
    torch.testing.assert_close(values.detach(), plain, rtol=1e-9, atol=1e-12)
    (slope,) = torch.autograd.grad(values.sum(), scale.scale)
    assert slope != 0.0


@pytest.mark.parametrize(
    ("rate", "reason"), [(lambda t, u: 1.0 - u[:, 0], "not negative"), (lambda t, u: (1.0 - u[:, 0]).sqrt(), "finite")]
)
def test_a_rate_that_makes_no_sense_is_told_with_time_and_state(rate, reason):
    jumps = (Jump(rate, lambda t, u: u + 2.0),)
    with pytest.raises(SolverError, match=rf"jumps\[0\].rate .*{reason}.* at t = .* and u = \[2.0\]"):
        solve(Problem(None, jumps=jumps), [0.0], [0.0, 50.0], random_state=0)


def test_rates_are_never_called_past_the_end():
    latest = []

    def rate(t, u):
        latest.append(float(t.max()))
        return 3.0 + t[:, 0]

    for side_steps in (False, True):
        keys = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
        times = torch.tensor([0.0, 1.0], dtype=torch.float64)
        u0 = torch.zeros(1, 1, dtype=torch.float64)
        problem = Problem(lambda t, u: -u, jumps=(Jump(rate, count),))
        integrate(
            SolveRequest(
                problem,
                u0,
                times,
                solver=get_solver("tsit5"),
                poisson=PoissonProcesses(0, *keys, 1),
                side_steps=side_steps,
            )
        )
    assert max(latest) <= 1.0


def test_a_rate_that_is_zero_or_starts_late():
    never = Problem(None, jumps=(Jump(lambda t, u: 0.0 * t, count),))
    assert solve(never, [0.0], [0.0, 10.0], n_paths=3, random_state=0).jump_counts.sum() == 0
    late = Problem(None, jumps=(Jump(lambda t, u: 50.0 * (t > 1.0).to(t), count),))
    counts = solve(late, [0.0], [0.0, 2.0], n_paths=400, random_state=0).jump_counts.double()
    assert abs(counts.mean() - 50.0) < 4 * math.sqrt(50.0 / 400)
