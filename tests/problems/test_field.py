"""Equations of fields, put together and flattened."""

import copy

import pytest
import torch

from skneuralde.problems import Advection, FieldProblem, Laplacian, Problem
from tests.problems.test_operators import noise

T = torch.tensor([[0.5], [1.5]], dtype=torch.float64)
U = noise(2, 4, 3, 2)
SOURCE = noise(4, 3, 2)


def law(t, u):
    return torch.stack([u[:, 0] * u[:, 1], torch.sin(t[:, 0]) - u[:, 1]], -1)


def cubed(u):
    return u**3


def test_the_sum_of_everything():
    laplacian = Laplacian([1.0, 0.0], (1.0, 0.5), "periodic")
    advection = Advection([0.3, 0.1], (1.0, 0.5), "periodic")
    problem = Problem([law, SOURCE.numpy(), [0.1, 0.2]], operator=[laplacian, advection, cubed])
    assert problem.state_ndim == 3
    problem.check(T, U)
    flat = problem.flattened((4, 3, 2))
    assert isinstance(flat, FieldProblem)
    pointwise = torch.stack([U[..., 0] * U[..., 1], torch.sin(T[:, :, None]) - U[..., 1]], -1)
    constant = torch.tensor([0.1, 0.2], dtype=torch.float64)
    expected = pointwise + SOURCE + constant + laplacian(U) + advection(U) + U**3
    torch.testing.assert_close(flat.drift(T, U.flatten(1)), expected.flatten(1))
    torch.testing.assert_close(problem.drift(T, U), pointwise + SOURCE + constant)
    rest = flat.drift.without_diffusion(T, U.flatten(1)).view_as(U)
    torch.testing.assert_close(rest + laplacian.apply_function(U, lambda z: z), expected)


def test_pointwise_jacobian():
    flat = Problem(law, operator=Laplacian(0.0)).flattened((4, 3, 2))
    slope = flat.drift.pointwise(T, U.flatten(1)).slope
    assert slope.shape == (2, 4, 3, 2, 2)
    torch.testing.assert_close(slope[..., 0, :], U.flip(-1))
    torch.testing.assert_close(slope[..., 1, :], torch.tensor([0.0, -1.0]).double().expand(2, 4, 3, 2))


def test_context_reaches_every_point():
    problem = Problem(lambda t, u, c: c[:, :1] * u, operator=cubed)
    c = torch.tensor([[2.0], [3.0]], dtype=torch.float64)
    problem.check(T, U, c)
    torch.testing.assert_close(problem.drift(T, U, c), c[:, :, None, None] * U)


def test_number_of_axes():
    assert Problem(law, operator=Laplacian(1.0)).state_ndim is None
    assert Problem(law, operator=[cubed, Laplacian(1.0, ndim=2)]).state_ndim == 3
    with pytest.raises(ValueError, match="different numbers of axes"):
        Problem(law, operator=[Laplacian(1.0, ndim=2), Laplacian(1.0, ndim=1)])


def test_parameters_are_shared():
    raw, source = torch.nn.Parameter(torch.zeros(2).double()), torch.nn.Parameter(SOURCE.clone())
    problem = Problem([law, source], operator=Laplacian(raw))
    flat = problem.flattened((4, 3, 2))
    assert set(map(id, flat.parameters())) == {id(raw), id(source)}
    flat.drift(T, U.flatten(1)).sum().backward()
    assert raw.grad is not None
    assert source.grad is not None
    twin = copy.deepcopy(problem)
    torch.testing.assert_close(twin.drift(T, U), problem.drift(T, U))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"drift": law, "operator": 3.0}, "operator must be a Laplacian"),
        ({"drift": law, "operator": Laplacian}, "operator must be a Laplacian"),
        ({"drift": law, "operator": []}, "operator is an empty list"),
        ({"drift": law, "operator": cubed, "diffusion": 0.1}, "an equation with an operator has no noise"),
        ({"drift": [law, SOURCE[:, :2].numpy()], "operator": cubed}, r"the shape of one state, \(4, 3, 2\)"),
        ({"drift": lambda t, u: u[:, :1], "operator": cubed}, r"drift must return shape \(24, 2\)"),
        ({"drift": law, "operator": lambda u: u[..., 0]}, r"operator must return the field's shape \(2, 4, 3, 2\)"),
        ({"drift": law, "operator": [cubed, lambda u: u.log()]}, r"operator\[1\] returned nan"),
        ({"drift": law, "operator": lambda u: u.float()}, "operator must keep the dtype"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Problem(**arguments).check(T, U)
