"""Jumps with steps that each path chooses."""

import math

import pytest
import torch

from skneuralde import Jump, Problem, solve
from skneuralde.noise import Brownian, PoissonProcesses
from skneuralde.solvers import SolveRequest, get_solver, integrate

N = 10_000
TIMES = [0.0, 0.3, 1.0]
CHANNELS = (
    Jump(2.0, lambda t, u: u / 2),
    Jump(lambda t, u: 2.0 + torch.sin(u[:, 0]), lambda t, u, z: 0.5 * u + 0.1 * z, bound=3.0),
)


def problem(noise):
    return Problem(lambda t, u: 0.1 * u, (lambda t, u: 0.2 * u) if noise else None, jumps=CHANNELS)


def trajectory(equation, rows, *, name="sosri2", u0=None, rtol=1e-4, side_steps=False, channels=2, **options):
    rows = torch.as_tensor(rows)
    keys = (rows, torch.zeros_like(rows))
    times = torch.tensor([*TIMES, 1.7], dtype=torch.float64)
    return integrate(
        SolveRequest(
            equation,
            torch.ones(len(rows), 1, dtype=torch.float64) if u0 is None else u0,
            times,
            solver=get_solver(name),
            poisson=PoissonProcesses(3, *keys, channels),
            noise=Brownian(3, *keys, 1, cell=0.7),
            rtol=rtol,
            atol=1e-8,
            side_steps=side_steps,
            **options,
        )
    )


@pytest.mark.parametrize("name", ["sosri2", "tsit5", "rosenbrock", "rock2", "rock4"])
def test_moments_of_halving_jumps(name):
    noisy = name == "sosri2"
    equation = Problem(lambda t, u: 0.1 * u, (lambda t, u: 0.2 * u) if noisy else None, jumps=CHANNELS[:1])
    end = solve(equation, [1.0], TIMES, solver=name, n_paths=N, random_state=1).ys[:, -1, 0]
    for power, moment in ((1, math.exp(0.1 - 1.0)), (2, math.exp(0.2 + 0.04 * noisy - 1.5))):
        sample = end**power
        assert abs(sample.mean() - moment) < 4 * sample.std() / N**0.5


@pytest.mark.parametrize("name", ["sosri2", "tsit5"])
def test_the_same_seed_gives_the_same_jumps_at_every_tolerance(name):
    rough, fine = (trajectory(problem(name == "sosri2"), range(30), name=name, rtol=rtol) for rtol in (1e-2, 1e-4))
    for channel in range(2):
        torch.testing.assert_close(rough.jumps.of_channel(channel), fine.jumps.of_channel(channel), rtol=0, atol=0)
    torch.testing.assert_close(rough.values, fine.values, rtol=1e-2, atol=0)


@pytest.mark.parametrize("side_steps", [False, True])
@pytest.mark.parametrize("name", ["sosri2", "tsit5"])
def test_answers_do_not_depend_on_batch_mates(name, side_steps):
    every = trajectory(problem(name == "sosri2"), range(30), name=name, side_steps=side_steps)
    some = trajectory(problem(name == "sosri2"), range(0, 30, 7), name=name, side_steps=side_steps)
    torch.testing.assert_close(every.values[::7], some.values, rtol=1e-14 if name == "tsit5" else 0, atol=0)
    assert (torch.bincount(every.jumps.path, minlength=30)[::7] == torch.bincount(some.jumps.path, minlength=5)).all()


@pytest.mark.parametrize("name", ["sosri2", "tsit5"])
def test_side_steps_lead_to_the_same_states_and_jumps(name):
    inside, side_steps = (
        trajectory(problem(name == "sosri2"), range(30), name=name, side_steps=x, rtol=1e-5) for x in (0, 1)
    )
    torch.testing.assert_close(inside.values, side_steps.values, rtol=1e-6, atol=0)
    for channel in range(2):
        ours, theirs = inside.jumps.of_channel(channel), side_steps.jumps.of_channel(channel)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("side_steps", [False, True])
@pytest.mark.parametrize("gradient", ["direct", "checkpoint", "forward"])
@pytest.mark.parametrize("name", ["sosri2", "tsit5"])
def test_gradients_lead_through_affects_alone(name, gradient, side_steps):
    class Scale(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))

        def forward(self, t, u):
            return self.scale * u

    def value(scale):
        equation = Problem(lambda t, u: 0.1 * u, lambda t, u: 0.2 * u, jumps=(Jump(2.0, scale),))
        equation = equation if name == "sosri2" else Problem(lambda t, u: 0.1 * u, jumps=(Jump(2.0, scale),))
        run = trajectory(equation, range(5), name=name, side_steps=side_steps, channels=1, gradient=gradient)
        return run.values.square().sum(), run

    at = Scale(0.5)
    total, run = value(at)
    (slope,) = torch.autograd.grad(total, at.scale)
    # Every state is a power of the scale times what does not depend on it.
    before = run.jumps.path[:, None] == torch.arange(5)
    times = torch.tensor([*TIMES, 1.7])
    counts = (before[:, :, None] & (run.jumps.elapsed[:, None, None] <= times)).sum(0)
    expected = (2 * counts * run.values[..., 0].detach().square() / 0.5).sum()
    torch.testing.assert_close(slope, expected, rtol=1e-9, atol=0)


def test_a_save_at_a_jump_holds_the_state_after_it():
    counting = Problem(None, jumps=(Jump(2.0, lambda t, u: u + 1),))
    keys = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    poisson = PoissonProcesses(0, *keys, 1)
    at = poisson.arrivals(0, torch.full((1, 1), 8.0, dtype=torch.float64)) / 2.0
    times = torch.cat([torch.zeros(1, 1, dtype=torch.float64), at], 1)
    u0 = torch.zeros(1, 1, dtype=torch.float64)
    for name in ("tsit5", "rosenbrock"):
        for side_steps in (False, True):
            run = integrate(
                SolveRequest(counting, u0, times, solver=get_solver(name), poisson=poisson, side_steps=side_steps)
            )
            assert run.values[0, :, 0].tolist() == list(range(times.shape[1]))
            assert torch.equal(run.jumps.elapsed.sort().values, at[0])


@pytest.mark.parametrize("steps", [{"rtol": 1e-3}, {"rtol": None, "dt": 0.1}])
def test_times_marks_and_counts_tell_the_whole_path(steps):
    adding = Problem(None, 0.0, jumps=(Jump(2.0, lambda t, u, z: u + z), Jump(1.0, lambda t, u: u + 10.0)))
    y0 = [[[0.0, 1.0]], [[2.0, 3.0]], [[4.0, 5.0]]]
    run = solve(adding, y0, [0.5, 1.0, 2.0], n_paths=4, random_state=0, **steps)
    assert run.jump_counts.shape == (4, 3, 1, 2)
    times, marks = run.jump_times, run.jump_marks
    assert [x.shape[:3] for x in times] == [(4, 3, 1)] * 2
    assert marks[1].shape == (*times[1].shape, 0)
    for k in range(2):
        assert torch.equal(times[k].isfinite().sum(-1), run.jump_counts[..., k])
        assert (times[k].diff(dim=-1).nan_to_num(1.0) > 0).all()
    for save, time in enumerate((0.5, 1.0, 2.0)):
        moved = torch.where((times[0] <= time)[..., None], marks[0], 0.0).sum(-2)
        expected = torch.tensor(y0) + moved + 10.0 * (times[1] <= time).sum(-1)[..., None]
        torch.testing.assert_close(run.ys[..., save, :], expected)
    plain = solve(Problem(lambda t, u: -u), [1.0], [0.0, 1.0], n_paths=2)
    assert plain.jump_times == plain.jump_marks == ()
    assert plain.jump_counts.shape == (2, 0)
