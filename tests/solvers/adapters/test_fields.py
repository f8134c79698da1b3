"""Fields against py-pde, whose solutions are kept in a file: see tools/pypde_fields.py."""

from pathlib import Path

import numpy as np
import pytest
import torch

from skneuralde.problems import Laplacian, Problem
from skneuralde.solvers import solve

PYPDE = np.load(Path(__file__).parents[2] / "estimators" / "data" / "pypde_fields.npz")


def still(t, u):
    return torch.zeros_like(u)


def fisher(t, u):
    return u * (1 - u)


def brusselator(t, u):
    x, y = u.unbind(-1)
    return torch.stack([1 + x**2 * y - 4 * x, 3 * x - x**2 * y], -1)


def gray_scott(t, u):
    x, y = u.unbind(-1)
    return torch.stack([-x * y**2 + 0.04 * (1 - x), x * y**2 - 0.1 * y], -1)


@pytest.mark.parametrize("solver", ["rosenbrock", "etdrk4", "rock2", "rock4", "rkc2"])
@pytest.mark.parametrize(
    ("name", "law", "boundary"),
    [
        ("heat", still, "periodic"),
        ("fisher", fisher, "neumann_cell"),
        ("brusselator", brusselator, "neumann_cell"),
        ("gray_scott", gray_scott, "periodic"),
    ],
)
def test_against_py_pde(name, law, boundary, solver):
    values, times = PYPDE[f"{name}_values"][:6], PYPDE[f"{name}_times"][:6]
    laplacian = Laplacian(PYPDE[f"{name}_diffusivity"], tuple(PYPDE[f"{name}_spacing"].tolist()), boundary)
    ys = solve(Problem(law, operator=laplacian), values[0], times, solver=solver, rtol=1e-4, atol=1e-5).ys[0]
    assert np.abs(ys.numpy() - values).max() < 2e-3 * np.abs(values).max()
