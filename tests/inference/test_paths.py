"""Simulated series: shared and ragged times, noise, inputs, and independence of everything else."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skneuralde.inference import Curves, InputPath, SolverSettings
from skneuralde.problems import Problem
from skneuralde.solvers import get_solver, solver_names
from tests.learnable_equations import checked, column, geometric_matrix, nonlinear, pendulum

NAN = math.nan
EULER = SolverSettings(get_solver("euler"), 1e-3, torch.tensor(1e-6).double(), 0.05, 100_000, 0.05)
TSIT5 = SolverSettings(get_solver("tsit5"), 1e-8, torch.tensor(1e-10).double(), None, 100_000, 1.0)
ADAPTIVE = [solver for solver in map(get_solver, solver_names()) if solver.adaptive]
RAGGED = torch.tensor([[0.0, 0.33, 1.0, 2.0], [1.0, 1.2, NAN, NAN], [5.0, 5.5, 6.77, NAN]], dtype=torch.float64)
SHARED = torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.float64).repeat(3, 1)


def inputs(n, *, controls=False, context=False, interpolation="linear"):
    p = torch.arange(1.0, n + 1).double()[:, None] if context else torch.zeros(n, 0, dtype=torch.float64)
    knots = torch.linspace(0, 8, 5, dtype=torch.float64).repeat(n, 1)
    values = torch.sin(knots + torch.arange(n)[:, None])[..., None]
    return InputPath(p, knots, values if controls else values[..., :0], interpolation)


def curves(times, **kwargs):
    return Curves(times, inputs(len(times), **kwargs), torch.arange(7, 7 + len(times)))


START = column(1.0, -1.0, 0.5)[:, None]


@pytest.mark.parametrize("method", [EULER, TSIT5], ids=["euler", "tsit5"])
@pytest.mark.parametrize("times", [SHARED, RAGGED], ids=["shared", "ragged"])
def test_ordinary_equations(method, times):
    values, trajectory = curves(times).solve(Problem(lambda t, u: -u + t), START, method)
    elapsed = times - times[:, :1]
    exact = (START - times[:, :1] + 1) * torch.exp(-elapsed) + times - 1
    assert values.shape == (1, 3, times.shape[1], 1)
    assert not trajectory.status.any()
    accuracy = 1e-7 if method is TSIT5 else 0.1
    torch.testing.assert_close(values[0, ..., 0], exact, rtol=accuracy, atol=accuracy, equal_nan=True)


@pytest.mark.parametrize("times", [SHARED, RAGGED], ids=["shared", "ragged"])
def test_paths_have_the_moments_of_the_equation(times):
    rate, sigma, n_paths = 0.8, 0.5, 4000
    values, _ = curves(times).solve(Problem(lambda t, u: -rate * u, sigma), START, EULER, n_paths=n_paths, seed=3)
    assert values.shape == (n_paths, 3, times.shape[1], 1)
    elapsed = times - times[:, :1]
    mean, std = START * torch.exp(-rate * elapsed), sigma * ((1 - torch.exp(-2 * rate * elapsed)) / (2 * rate)).sqrt()
    seen = ~times.isnan() & (elapsed > 0)
    # Four standard errors, and Euler's own error.
    assert ((values.mean(0)[..., 0] - mean)[seen].abs() < 4 * std[seen] / n_paths**0.5 + 0.02).all()
    assert ((values.std(0)[..., 0] / std - 1)[seen].abs() < 4 / (2 * n_paths) ** 0.5 + 0.04).all()
    # Paths and series are independent of each other.
    final = values[:, :, 1, 0]
    assert np.abs(np.corrcoef(final.T.numpy()) - np.eye(3)).max() < 4 / n_paths**0.5


@pytest.mark.parametrize("side_steps", [False, True])
@pytest.mark.parametrize("options", [{}, {"context": True}, {"controls": True}, {"controls": True, "context": True}])
@pytest.mark.parametrize("times", [SHARED, RAGGED], ids=["shared", "ragged"])
def test_batch_mates_do_not_matter(times, options, side_steps):
    def drift(t, u, c):
        return c.sum(-1, keepdim=True) - u

    problem = Problem(drift if options else lambda t, u: -u, 0.5)
    all_of_them = curves(times, **options)
    values, _ = all_of_them.solve(problem, START, EULER, n_paths=3, seed=1, side_steps=side_steps)
    for i in range(3):
        alone = all_of_them.select(torch.tensor([i]))
        value, _ = alone.solve(problem, START[i : i + 1], EULER, n_paths=3, seed=1, side_steps=side_steps)
        used = alone.times.shape[1]
        assert used == int((~times[i].isnan()).sum())
        torch.testing.assert_close(value[:, 0], values[:, i, :used], rtol=1e-12, atol=1e-13)
        assert values[:, i, used:].isnan().all()
    # A path does not depend on how many there are.
    fewer, _ = all_of_them.solve(problem, START, EULER, n_paths=1, seed=1, side_steps=side_steps)
    torch.testing.assert_close(fewer[0], values[0], rtol=1e-12, atol=1e-13, equal_nan=True)


def test_mirrored_paths():
    start, path = torch.zeros(3, 1, dtype=torch.float64), curves(RAGGED)
    values = path.solve(Problem(None, 1.0), start, EULER, n_paths=4, antithetic=True)[0][..., 1, 0]
    assert torch.equal(values[0::2], -values[1::2])
    assert (values[0] != values[2]).all()
    # Each of them is a path like any other.
    many = path.solve(Problem(None, 1.0), start, EULER, n_paths=4000, antithetic=True)[0][..., 1, 0]
    elapsed = RAGGED[:, 1] - RAGGED[:, 0]
    assert ((many.square().mean(0) / elapsed - 1).abs() < 4 * (2 / 2000) ** 0.5).all()


def test_seeds_and_keys_tell_noises_apart():
    problem = Problem(None, 1.0)
    same_key = Curves(SHARED, inputs(3), torch.tensor([4, 4, 5]))
    start = torch.zeros(3, 1, dtype=torch.float64)

    def final(seed):
        return same_key.solve(problem, start, EULER, n_paths=2, seed=seed)[0][:, :, -1, 0]

    values = final(0)
    assert torch.equal(values, final(0))
    assert torch.equal(values[:, 0], values[:, 1])
    assert (values[:, 0] != values[:, 2]).all()
    assert (values[0] != values[1]).all()
    assert (values != final(1)).all()


@pytest.mark.parametrize("method", [EULER, TSIT5], ids=["euler", "tsit5"])
@pytest.mark.parametrize("times", [SHARED, RAGGED], ids=["shared", "ragged"])
def test_controls_act_along_the_way(method, times):
    """u' = c with linear controls: the integral, by the trapezoidal rule on a fine grid."""
    path = curves(times, controls=True)
    values, _ = path.solve(Problem(lambda t, u, c: c), START, method, n_paths=1)
    for i in range(3):
        row = times[i][~times[i].isnan()]
        fine = torch.cat([torch.linspace(a, b, 2001).double() for a, b in pairwise(row)])
        c = path.inputs.select(torch.tensor([i])).on_grid(fine[None])[0, :, 0]
        parts = torch.stack([torch.trapezoid(y, x) for x, y in zip(fine.split(2001), c.split(2001), strict=True)])
        wanted = START[i] + parts.cumsum(0)
        torch.testing.assert_close(
            values[0, i, 1 : len(row), 0], wanted, rtol=0, atol=1e-6 if method is TSIT5 else 0.06
        )


@settings(max_examples=20)
@given(
    st.sampled_from(ADAPTIVE),
    st.sampled_from(["next", "previous", "linear"]),
    st.lists(
        st.tuples(st.floats(0.01, 9.99), st.floats(-100.0, 100.0)), min_size=2, max_size=7, unique_by=lambda x: x[0]
    ),
)
def test_controls_that_switch_anywhere(solver, interpolation, switches):
    """The state is a sum over the intervals between knots, whatever their times and levels."""
    knots, levels = torch.tensor(sorted(switches), dtype=torch.float64).T[..., None].mT
    path = InputPath(torch.zeros(1, 0, dtype=torch.float64), knots, levels[..., None], interpolation)
    times = torch.tensor([[0.0, 2.5, 5.0, 10.0]], dtype=torch.float64)
    kind = "diagonal" if solver.handles("diagonal") else "additive"
    problem = Problem(lambda t, u, c: c, None if solver.handles(None) else 1e-9, noise=kind)
    problem.check(*torch.zeros(3, 1, 1).double())
    method = SolverSettings(solver, 1e-3, torch.tensor(1e-3).double(), None, 100_000, 16.0)
    values, _ = Curves(times, path, torch.tensor([7])).solve(problem, torch.zeros(1, 1).double(), method)
    points = torch.cat([times, knots], 1).unique()
    middles = 0.5 * (points[1:] + points[:-1])
    areas = torch.cat([torch.zeros(1), path.on_grid(middles[None])[0, :, 0] * points.diff()]).cumsum(0)
    exact = areas[torch.searchsorted(points, times[0])]
    torch.testing.assert_close(values[0, 0, :, 0], exact, rtol=1e-7, atol=1e-6)


def test_stratonovich_by_an_ito_method_is_converted():
    problem, _ = nonlinear("stratonovich")
    values, _ = curves(SHARED).solve(problem, START, EULER, n_paths=2000, seed=0)
    by_hand = Problem(
        lambda t, u: u - 0.6 * u**3 + torch.sin(2 * t) + 0.05 * (0.3 + 0.1 * torch.sin(u)) * torch.cos(u),
        problem.diffusion,
    )
    wanted, _ = curves(SHARED).solve(by_hand, START, EULER, n_paths=2000, seed=0)
    torch.testing.assert_close(values, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("calculus", ["ito", "stratonovich"])
def test_general_noise(calculus):
    problem = checked(Problem(pendulum, geometric_matrix, noise="general", calculus=calculus), 2)
    start = torch.tensor([[1.0, 0.4], [0.5, 0.1], [0.0, 1.0]], dtype=torch.float64)
    values, _ = curves(SHARED).solve(problem, start, EULER, n_paths=3, seed=0)
    assert values.shape == (3, 3, 3, 2)
    assert (values.std(0)[:, 1:] > 0).all()


def test_gradient_with_respect_to_start_and_parameters():
    rate = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    start = START.clone().requires_grad_()

    def final(rate, start):
        problem = Problem(lambda t, u: -rate * u, lambda t, u: 0.3 * rate * u)
        return curves(RAGGED).solve(problem, start, EULER, n_paths=2, seed=0)[0].nan_to_num(0.0)

    assert torch.autograd.gradcheck(final, (rate, start))


def test_select_keeps_what_belongs_together():
    path = curves(RAGGED, context=True).select(torch.tensor([2, 1]))
    assert path.times.shape == (2, 3)
    assert path.keys.tolist() == [9, 8]
    assert path.inputs.context[:, 0].tolist() == [3, 2]
    torch.testing.assert_close(path.times, RAGGED[[2, 1], :3], equal_nan=True)
