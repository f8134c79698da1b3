"""Jumps at the edge: short waiting times, rates that have just become zero, states at the end of their range."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from skneuralde import Jump, Problem, solve


def birth_and_death(birth, death, **options):
    births = Jump(lambda t, u: birth * u, lambda t, u: u + 1, **options)
    return Problem(None, jumps=(births, Jump(lambda t, u: death * u, lambda t, u: u - 1, **options)))


def test_nothing_comes_of_a_population_that_has_died_out():
    """Short exponential numbers, below a tolerance of 1e-4, come up within 40,000 paths."""
    run = solve(birth_and_death(2.0, 1.0), [1.0], [0.0, 1.0], n_paths=40_000, random_state=0)
    x = run.ys[:, -1, 0]
    assert x.min() == 0.0
    assert torch.equal(1.0 + run.jump_counts[:, 0] - run.jump_counts[:, 1], x)
    # The probability of extinction of a linear process.
    gone = (math.e - 1.0) / (2.0 * math.e - 1.0)
    assert abs((x == 0.0).double().mean() - gone) < 4 * math.sqrt(gone * (1 - gone) / 40_000)


@pytest.mark.parametrize("rate", [3.0, 1e6])
@pytest.mark.parametrize(
    "options", [{}, {"dtype": torch.float32}, {"solver": "bs3", "rtol": None, "dt": 2.5}, {"solver": "rosenbrock"}]
)
def test_waiting_times_are_exponential_and_nothing_happens_after_the_last_one(options, rate):
    n, once = 100_000, Jump(lambda t, u: rate * (u < 0.5).to(u), lambda t, u: u + 1.0)
    run = solve(Problem(None, jumps=(once,)), [0.0], [0.0, 10.0], n_paths=n, random_state=1, **options)
    assert (run.jump_counts == 1).all()
    waits = rate * run.jump_times[0][:, 0].numpy()
    assert kstest(waits, "expon").pvalue > 1e-3
    short = waits[waits < 1e-3]
    assert kstest(short, lambda x: np.expm1(-x) / np.expm1(-1e-3)).pvalue > 1e-3


def test_waiting_times_with_noise():
    n, once = 10_000, Jump(lambda t, u: 1e4 * (u < 50.0).to(u), lambda t, u: u + 100.0)
    for options in ({}, {"solver": "euler", "dt": 0.5}):
        equation = Problem(None, lambda t, u: 1.0 + 0.0 * u, jumps=(once,))
        run = solve(equation, [0.0], [0.0, 1.0], n_paths=n, random_state=1, **options)
        assert (run.jump_counts == 1).all()
        assert kstest(1e4 * run.jump_times[0][:, 0].numpy(), "expon").pvalue > 1e-3


def test_a_rate_that_another_jump_has_taken_to_zero_does_not_fire():
    """Two causes of death whose hazards reach their thresholds within the tolerance of each other."""
    causes = [Jump(lambda t, u: 1.0 * u, lambda t, u: u - 1.0), Jump(lambda t, u: 1.0 * u, lambda t, u: u - 1.0)]
    for options in ({"rtol": 1e-1}, {"rtol": 1e-2}):
        run = solve(Problem(None, jumps=causes), [1.0], [0.0, 9.0], n_paths=20_000, random_state=0, **options)
        assert run.ys.min() == 0.0
        assert (run.jump_counts.sum(-1) <= 1).all()


def test_a_rate_that_ends_in_time_fires_before():
    """The rate 1 until t = 1: whatever the steps, as many jumps as the integral says, and none later."""
    pulse = Jump(lambda t, u: (t < 1.0).to(u), lambda t, u: u + 1.0)
    for options in ({}, {"solver": "bs3", "rtol": None, "dt": 0.25}):
        run = solve(Problem(None, jumps=(pulse,)), [0.0], [0.0, 3.0], n_paths=4_000, random_state=0, **options)
        assert abs(run.jump_counts.double().mean() - 1.0) < 4 * math.sqrt(1.0 / 4_000)
        assert run.jump_times[0].nan_to_num(nan=0.0).max() <= 1.0 + 1e-3


def test_a_crossing_just_before_the_rate_ends_is_not_lost():
    """Some are, by errors of the hazard; more were where the jump stood at the end of the step, after its rate."""
    once = Jump(lambda t, u: (t < 1.0).to(u) * (u == 0.0).to(u), lambda t, u: u + 1.0)
    fine, coarse = (
        solve(
            Problem(None, jumps=(once,)),
            [0.0],
            [0.0, 3.0],
            n_paths=20_000,
            random_state=0,
            rtol=rtol,
            atol=rtol,
            solver="bs3",
        )
        for rtol in (1e-7, 0.1)
    )
    lost = (fine.jump_counts > coarse.jump_counts).sum() / fine.jump_counts.sum()
    assert lost < 0.0475
    assert (coarse.jump_counts <= fine.jump_counts).all()


@given(
    birth=st.floats(0.0, 2.0),
    death=st.floats(0.1, 3.0),
    first=st.integers(1, 6),
    end=st.floats(0.1, 1.5),
    fixed=st.booleans(),
)
def test_birth_and_death_processes_have_their_moments(birth, death, first, end, fixed):
    options = {"solver": "bs3", "rtol": None, "dt": 0.3} if fixed else {}
    n = 1_000
    problem = birth_and_death(birth, death)
    run = solve(problem, [float(first)], [0.0, end / 2, end], n_paths=n, random_state=0, **options)
    assert run.ys.min() >= 0.0
    x, rate = run.ys[:, -1, 0], birth - death
    assert torch.equal(first + run.jump_counts[:, 0] - run.jump_counts[:, 1], x)
    growth = math.exp(rate * end)
    # The integral of exp(rate s); its limit avoids the division by zero.
    integral = end if abs(rate) < 1e-9 else math.expm1(rate * end) / rate
    variance = first * (birth + death) * growth * integral
    assert abs(x.mean() - first * growth) < 5 * math.sqrt(variance / n)
    births = run.jump_counts[:, 0].double()
    assert abs(births.mean() - birth * first * integral) < 5 * births.std() / math.sqrt(n) + 1e-2
