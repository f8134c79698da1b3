"""The operators of an equation share one grid."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skneuralde import Advection, Dirichlet, Laplacian, NeuralPDEField, Problem, solve
from skneuralde.problems.grid_operator import GridOperator

GRIDS = [
    (0.1, "periodic"),
    ((0.1, 0.3), ("neumann", "periodic")),
    (0.2, (Dirichlet(1.0, 2.0), "neumann_cell")),
    ((0.2, 0.2), "dirichlet"),
]


def operators(grid, told, shared):
    """A Laplacian and an Advection, of which ``told`` know the grid."""
    make = [lambda *g: Laplacian(0.5, *g), lambda *g: Advection([0.3, -0.2], *g), lambda *g: Laplacian([0.1, 0.2], *g)]
    return [f(*grid) if i in told or shared else f() for i, f in enumerate(make)]


@given(grid=st.sampled_from(GRIDS), told=st.sets(st.integers(0, 2), min_size=1))
def test_who_is_told_the_grid_does_not_matter(grid, told):
    u = torch.randn(1, 5, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    some, all_of_them = (Problem(None, operator=operators(grid, told, shared)).operator for shared in (False, True))
    assert torch.equal(some(u), all_of_them(u))
    assert some.ndim == all_of_them.ndim


def test_spacing_and_boundary_may_come_from_different_operators():
    parts = Problem(None, operator=[Laplacian(1.0, 0.5), Advection(1.0, boundary="periodic")]).operator.parts
    for part in parts:
        assert isinstance(part, GridOperator)
        assert part.axes.spacing == (0.5,)
        assert part.axes.boundary[0].name == "periodic"


def test_an_operator_of_two_equations_is_not_changed():
    advection = Advection(torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64)))
    first, second = (
        Problem(None, operator=[Laplacian(1.0, spacing), advection]).operator.parts[1] for spacing in (0.1, 0.2)
    )
    assert [x.axes.spacing for x in (first, second, advection)] == [(0.1,), (0.2,), (1.0,)]
    assert first.velocity is second.velocity is advection.velocity


@pytest.mark.parametrize(
    "pair",
    [
        [Laplacian(1.0, 0.1), Advection(1.0, 0.2)],
        [Laplacian(1.0, 0.1, "periodic"), Advection(1.0, 0.1, "neumann")],
        [Laplacian(1.0, (0.1, 0.2)), Advection([1.0, 1.0], 0.1)],
    ],
)
def test_different_grids_are_refused(pair):
    with pytest.raises(ValueError, match="an equation has one grid"):
        Problem(None, operator=pair)


def test_the_estimator_gives_its_grid():
    """A wave that travels around a periodic axis."""
    n, speed = 40, 0.5
    x, t = np.arange(n) * 0.1, np.linspace(0.0, 2.0, 9)
    y = np.sin(2 * math.pi * (x - speed * t[:, None]) / 4.0)[..., None]
    field = {"spacing": 0.1, "boundary": "periodic", "diffusivity": 0.0, "reaction": None, "random_state": 0}
    model = NeuralPDEField(operator=Advection(speed), **field).fit(t[:, None], y)
    error = np.abs(model.predict(t[:, None]) - y)
    assert error.max() < 0.02
    with pytest.raises(ValueError, match="an equation has one grid"):
        NeuralPDEField(operator=Advection(speed, 0.2), **field).fit(t[:, None], y)


def test_a_solution_with_a_grid_given_once():
    u0 = torch.sin(2 * math.pi * torch.arange(50, dtype=torch.float64) / 50)[:, None]
    once, twice = (
        solve(Problem(None, operator=[Laplacian(0.01, 0.02, "periodic"), moving]), u0, [0.0, 1.0]).ys
        for moving in (Advection(1.0), Advection(1.0, 0.02, "periodic"))
    )
    assert torch.equal(once, twice)
