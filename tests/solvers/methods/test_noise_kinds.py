"""All kinds of noise and both readings of the integral, for every method that treats them."""

import pytest
import torch

from skneuralde.problems import Problem
from skneuralde.solvers import get_solver, solve, solver_names
from tests.stubs import times

KINDS = ("diagonal", "additive", "general")
ABLE = {kind: [name for name in solver_names() if get_solver(name).handles(kind)] for kind in KINDS}
TS = times(0, 0.2, 0.5, 1.0)


def calculus_of(name):
    return "ito" if "ito" in get_solver(name).calculus else "stratonovich"


def settings(name, **changes):
    return {"solver": name, "rtol": None, "dt": 2.0**-6, "n_paths": 20, "random_state": 0} | changes


def wavy(t, u):
    return 0.4 + 0.2 * torch.sin(u)


@pytest.mark.parametrize("name", ABLE["diagonal"])
def test_both_readings_of_the_integral_agree(name):
    """du = a u dt + b u dW in Ito's sense has the drift (a - b^2 / 2) u in Stratonovich's."""
    ito = Problem(lambda t, u: 0.3 * u, lambda t, u: 0.5 * u)
    stratonovich = Problem(lambda t, u: (0.3 - 0.125) * u, lambda t, u: 0.5 * u, calculus="stratonovich")
    ys = [solve(problem, [1.0], TS, **settings(name)).ys for problem in (ito, stratonovich)]
    # A method for one reading is given the same equation twice; one for both makes its own error in each.
    torch.testing.assert_close(*ys, rtol=0, atol=1e-9 if len(get_solver(name).calculus) == 1 else 0.02)


@pytest.mark.parametrize("name", ABLE["general"])
def test_both_readings_agree_with_noise_that_does_not_commute(name):
    def diffusion(t, u):
        return torch.stack([torch.stack([0.3 * u[:, 0], -0.2 * u[:, 0]], -1), 0.2 * u.flip(-1)], -1)

    # The correction: half of the sum over both noises of their matrices' squares times u.
    first = torch.tensor([[0.3, 0.0], [-0.2, 0.0]], dtype=torch.float64)
    second = torch.tensor([[0.0, 0.2], [0.2, 0.0]], dtype=torch.float64)
    correction = 0.5 * (first @ first + second @ second)
    assert not torch.equal(first @ second, second @ first)
    ito = Problem(lambda t, u: -u, diffusion, noise="general")
    stratonovich = Problem(lambda t, u: -u - u @ correction.T, diffusion, noise="general", calculus="stratonovich")
    ys = [solve(problem, [1.0, 0.5], TS, **settings(name)).ys for problem in (ito, stratonovich)]
    torch.testing.assert_close(*ys, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ABLE["general"])
def test_general_noise_on_a_diagonal_is_diagonal_noise(name):
    calculus = calculus_of(name)
    matrix = Problem(lambda t, u: -u, lambda t, u: torch.diag_embed(wavy(t, u)), noise="general", calculus=calculus)
    diagonal = Problem(lambda t, u: -u, wavy, calculus=calculus)
    y0 = torch.tensor([[[1.0, 0.5], [0.2, 0.1]]], dtype=torch.float64)
    ys = [solve(problem, y0, TS, **settings(name, n_paths=3)).ys for problem in (matrix, diagonal)]
    torch.testing.assert_close(*ys, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(solver_names()) - set(ABLE["general"])))
def test_general_noise_is_refused_by_name(name):
    problem = Problem(lambda t, u: -u, lambda t, u: torch.diag_embed(u), noise="general")
    with pytest.raises(ValueError, match=f"solver '{name}' cannot treat general noise; these can: 'ees25', 'euler'"):
        solve(problem, [1.0], TS, **settings(name, rtol=1e-2))


@pytest.mark.parametrize("as_array", [True, False])
@pytest.mark.parametrize("name", ABLE["additive"])
def test_additive_noise_may_be_a_matrix(name, as_array):
    """Three Brownian motions drive two states: without a drift, their mixtures."""
    mixture = torch.tensor([[0.5, 0.0, 2.0], [0.3, 0.4, 0.0]], dtype=torch.float64)
    g = mixture if as_array else lambda t, u: mixture.expand(len(u), 2, 3)
    mixed = Problem(lambda t, u: 0 * u, g, noise="additive", calculus=calculus_of(name))
    three = Problem(lambda t, u: 0 * u, lambda t, u: torch.ones_like(u), noise="additive", calculus=calculus_of(name))
    w = solve(three, [0.0, 0.0, 0.0], TS, **settings(name)).ys
    ys = solve(mixed, [1.0, -1.0], TS, **settings(name)).ys
    torch.testing.assert_close(ys, times(1.0, -1.0) + w @ mixture.T, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["sosra", "sra1", "sosri", "sriw1", "sosri2"])
def test_matrix_noise_with_steps_chosen(name):
    g = torch.tensor([[0.5, 0.0], [0.3, 0.4], [0.0, -1.0]], dtype=torch.float64)
    problem = Problem(lambda t, u: -u, lambda t, u: g.expand(len(u), 3, 2), noise="additive")
    arguments, ts = {"n_paths": 30, "random_state": 0}, times(0, 0.5, 1.0)
    fine = solve(problem, [1.0, 0.0, 2.0], ts, solver="sra1", rtol=None, dt=0.5 / 2**9, **arguments).ys
    ys = solve(problem, [1.0, 0.0, 2.0], ts, solver=name, rtol=1e-2, atol=1e-2, **arguments).ys
    assert (ys - fine).square().mean().sqrt() < 1e-2
