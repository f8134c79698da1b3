"""ROCK4: its polynomials, the conditions of its order, its estimate of the error, and what its stages do."""

import math
from functools import cache

import numpy as np
import pytest
import torch

from skneuralde.problems import Laplacian, Problem
from skneuralde.solvers import get_solver, solve
from skneuralde.solvers.methods.stabilized.rock4 import coefficients
from tests.solvers.methods.test_stiff import LAWS, error_of_stages

STAGES = [5, 6, 7, 12, 20, 33, 45, 100, 170, 600]


@cache
def tableau(s):
    """Butcher's A, b and the weights of the error, each over the slopes of all stages."""
    c = coefficients(s)
    m = len(c.recurrence.mu)
    rows = np.zeros((s + 1, s))
    for j, (mu, nu) in enumerate(zip(c.recurrence.mu, c.recurrence.nu, strict=True)):
        before = rows[max(j - 1, 0)]
        rows[j + 1] = before + nu * (rows[j] - before)
        rows[j + 1, j] += mu
    for i, weights in enumerate([*c.matrix, c.weights], m + 1):
        rows[i] = rows[m]
        rows[i, m : m + len(weights)] += weights
    error = np.zeros(s)
    error[[c.kept, *range(m, s)]] = c.error
    return rows[:s], rows[s], error


def conditions(a, b):
    """The sums of order 1 to 4 that belong to a step of weights b."""
    c = a.sum(1)
    ac = a @ c
    return np.array([b.sum(), b @ c, b @ c**2, b @ ac, b @ c**3, b @ (c * ac), b @ a @ c**2, b @ a @ ac])


@pytest.mark.parametrize("s", STAGES)
def test_conditions_of_order_four(s):
    a, b, _ = tableau(s)
    expected = [1, 1 / 2, 1 / 3, 1 / 6, 1 / 4, 1 / 8, 1 / 12, 1 / 24]
    np.testing.assert_allclose(conditions(a, b), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(a.sum(1)[1:], coefficients(s).nodes, rtol=0, atol=1e-13)
    assert min(coefficients(s).nodes) > 0.0
    assert max(coefficients(s).nodes) < 1.0  # the right-hand side is not asked beyond the step


@pytest.mark.parametrize("s", STAGES)
def test_the_error_is_that_of_a_step_of_order_three(s):
    a, _, error = tableau(s)
    sums = conditions(a, error)
    np.testing.assert_allclose(sums[:4], 0.0, rtol=0, atol=1e-13)
    assert np.abs(sums[4:]).min() > 0.005


def interval(s):
    """Where the method of s stages is stable, as densely as its polynomials swing."""
    return -0.5 * coefficients(s).recurrence.length * (1.0 - np.cos(np.linspace(np.pi, 0.0, 20 * s + 1)))


def polynomials(s, z):
    """Of all stages, of the step, and of the estimate of its error: by the recurrence, which rounding does not harm."""
    c = coefficients(s)
    stages = [np.ones_like(z)]
    for mu, nu in zip(c.recurrence.mu, c.recurrence.nu, strict=True):
        before, now = stages[-2:][0], stages[-1]
        stages.append(before + nu * (now - before) + mu * z * now)
    last = stages[-1]
    for row in c.matrix:
        stages.append(last + z * sum(map(np.multiply, row, stages[-len(row) :])))
    end = last + z * sum(map(np.multiply, c.weights, stages[-4:]))
    return stages, end, z * sum(map(np.multiply, c.error, [stages[c.kept], *stages[-4:]]))


@pytest.mark.parametrize("s", STAGES)
def test_polynomials(s):
    """Damped, with all stages, over the whole interval, whose length is 0.353 times the square of the stages."""
    length = coefficients(s).recurrence.length
    z = interval(s)
    stages, end, error = polynomials(s, z)
    assert np.abs(end).max() <= 1.0 + 1e-12
    assert np.abs(end[z < -2.5]).max() < 0.951
    assert np.abs(stages).max() <= 1.0 + 1e-12
    if s > 5:  # with five stages the estimate begins with the slope at the start, which nothing damps
        assert np.abs(end - error).max() <= 1.0 + 1e-12
    assert length > 0.99 * (0.353 * s**2 - 3.0)
    if s >= 100:
        assert length / s**2 == pytest.approx(0.353, rel=0.007)
    assert get_solver("rock4").stages(0.99 * length) <= max(s, 1.03 * s)


def test_every_number_of_stages_is_stable():
    """Also those between the entries of the table, whose zeros are interpolated."""
    for s in range(5, 130):
        z = interval(s)
        end = polynomials(s, z)[1]
        assert np.abs(end).max() <= 1.0 + 1e-12
        assert np.abs(end[z < -2.5]).max() < 0.951


def test_coefficients_are_small_and_smooth():
    def of(s):
        c = coefficients(s)
        return np.array([*c.weights, *(x for row in c.matrix for x in row)]), np.array(c.error)

    limit, _ = of(3000)
    for s in [*range(5, 200), 300, 500, 800]:
        end, error = of(s)
        assert np.abs(end - limit).max() < 20.0 / s**2
        assert np.abs(end).max() < (1.7 if s == 5 else 1.2)
        assert np.abs(error).max() < 1.4


@pytest.mark.parametrize("s", [5, 6, 12, 40, 150])
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_order_at_every_number_of_stages(law, s, dtype):
    steps = (4, 8) if dtype == torch.float32 else (15, 45)
    errors = [error_of_stages("rock4", LAWS[law], s, n, dtype) for n in steps]
    # Many stages round more: the errors here are of 1e-4 and 1e-5.
    assert abs(math.log(errors[0] / errors[1], steps[1] / steps[0]) - 4.0) < (0.45 if dtype == torch.float32 else 0.1)


def test_fewer_evaluations_than_of_second_order_where_solutions_are_smooth():
    """The diffusing Brusselator of Hairer and Wanner (1996), section IV.1."""

    def law(t, u):
        a, b = u.unbind(-1)
        return torch.stack([1.0 + a * a * b - 4.0 * a, 3.0 * a - a * a * b], -1)

    x = torch.linspace(0.0, 1.0, 51, dtype=torch.float64)
    u0 = torch.stack([1.0 + torch.sin(2.0 * math.pi * x), torch.full_like(x, 3.0)], -1)
    problem = Problem(law, operator=Laplacian([0.02, 0.02], 0.02, ndim=1))
    fine = solve(problem, u0, [0.0, 3.0], solver="etdrk4", rtol=1e-8, atol=1e-8).ys
    errors, evaluations = [], []
    for name, tolerance in (("rock2", 1e-5), ("rock4", 1e-5)):
        solution = solve(problem, u0, [0.0, 3.0], solver=name, rtol=tolerance, atol=tolerance)
        errors.append((solution.ys - fine).abs().max().item())
        evaluations.append(solution.stats.drift_evaluations)
    assert errors[1] < 2e-5
    assert errors[1] < errors[0]
    assert evaluations[1] < 0.5 * evaluations[0]
