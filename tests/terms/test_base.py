"""Jacobians by forward mode, constants and sums."""

import pytest
import torch

from skneuralde.terms import Constant, Known, Sum, UserModule


class Pendulum(torch.nn.Module):
    """A mechanistic drift with two parameters."""

    def __init__(self):
        super().__init__()
        self.gravity = torch.nn.Parameter(torch.tensor(9.8, dtype=torch.float64))
        self.damping = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, t, u, c):
        angle, speed = u[:, :1], u[:, 1:]
        return torch.cat([speed, -self.gravity * angle.sin() - self.damping * speed * t + c[:, :1]], -1)


def matrix(t, u):
    return torch.stack([u**2, u.flip(-1) * t, u.prod(-1, keepdim=True).expand_as(u)], -1)


def independent_of_state(t, u):
    return torch.exp(-t).expand_as(u)


def points(batch=5, dim=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, n, generator=generator, dtype=torch.float64) for n in (1, dim, 1)]


def differences(term, t, u, c, step=1e-6):
    columns = []
    for direction in torch.eye(u.shape[-1], dtype=u.dtype):
        columns.append((term(t, u + step * direction, c) - term(t, u - step * direction, c)) / (2 * step))
    return torch.stack(columns, -1)


@pytest.mark.parametrize(
    "term",
    [
        UserModule(Pendulum(), "drift"),
        Known(matrix, "diffusion"),
        Known(independent_of_state, "diffusion"),
        Known(lambda t, u: u.norm(dim=-1), "rate"),
        Constant(torch.tensor([1.0, 2.0])),
    ],
)
def test_linearize_against_finite_differences(term):
    t, u, c = points()
    value, jacobian = term.linearize(t, u, c)
    torch.testing.assert_close(value, term(t, u, c))
    assert jacobian.shape == (*value.shape, 2)
    torch.testing.assert_close(jacobian, differences(term, t, u, c), rtol=1e-7, atol=1e-8)


def weights(batch=5, dim=2):
    """Symmetric matrices, not all of them positive."""
    matrix = torch.randn(batch, dim, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return matrix + matrix.mT


def bent(term, t, u, c, cov, step=1e-4):
    """Weighted second derivatives by differences of Jacobians."""
    total = 0.0
    for i, direction in enumerate(torch.eye(u.shape[-1], dtype=u.dtype)):
        above, below = (term.linearize(t, u + sign * step * direction, c)[1] for sign in (1.0, -1.0))
        slope = (above - below) / (2 * step)
        total = total + (slope * cov[:, i].view(len(u), *[1] * (slope.ndim - 2), -1)).sum(-1)
    return total


@pytest.mark.parametrize(
    "term",
    [
        UserModule(Pendulum(), "drift"),
        Known(matrix, "diffusion"),
        Known(independent_of_state, "diffusion"),
        Known(lambda t, u: u.norm(dim=-1), "rate"),
        Constant(torch.tensor([1.0, 2.0])),
        Sum([UserModule(Pendulum(), "drift"), Constant(torch.tensor([1.0, 2.0])), Known(lambda t, u: u**3, "drift")]),
    ],
)
def test_curvature_against_finite_differences(term):
    (t, u, c), cov = points(), weights()
    value, jacobian, bend = term.curvature(t, u, c, cov)
    expected_value, expected_jacobian = term.linearize(t, u, c)
    torch.testing.assert_close(value, expected_value)
    torch.testing.assert_close(jacobian, expected_jacobian)
    assert bend.shape == value.shape
    torch.testing.assert_close(bend, bent(term, t, u, c, cov) + torch.zeros_like(bend), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dim", [1, 3])
def test_curvature_can_be_differentiated_again(dim):
    t, u, _ = points(batch=3, dim=dim)
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def curvature(u, rate, cov):
        term = Known(lambda t, v: torch.sin(rate * v) * v.sum(-1, keepdim=True) + t, "drift")
        return term.curvature(t, u, None, cov)

    assert torch.autograd.gradcheck(curvature, (u.requires_grad_(), rate, weights(3, dim).requires_grad_()))


def test_linearize_calls_the_function_once():
    calls = []
    Known(lambda t, u: calls.append(len(u)) or u**2, "drift").linearize(*points(dim=3))
    assert calls == [15]


@pytest.mark.parametrize("dim", [1, 3])
def test_linearize_can_be_differentiated_again(dim):
    t, u, _ = points(batch=3, dim=dim)
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def linearize(u, rate):
        return Known(lambda t, v: torch.sin(rate * v) * v.sum(-1, keepdim=True) + t, "drift").linearize(t, u)

    assert torch.autograd.gradcheck(linearize, (u.requires_grad_(), rate))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_linearize_without_gradients(mode):
    term, arguments = UserModule(Pendulum(), "drift"), points()
    expected = term.linearize(*arguments)
    with mode():
        result = term.linearize(*arguments)
    assert not result[1].requires_grad
    torch.testing.assert_close(result, expected)


def test_constants_are_expanded_to_the_batch():
    t, u, _ = points()
    assert torch.equal(Constant(torch.tensor(2.0))(t, u), torch.full_like(u, 2))
    assert torch.equal(Constant(torch.tensor([1.0, 2.0]))(t, u)[4], torch.tensor([1.0, 2.0], dtype=u.dtype))
    assert Constant(torch.ones(2, 3))(t, u).shape == (5, 2, 3)
    assert Constant(torch.tensor(2.0), shape=())(t, u).shape == (5,)
    assert Constant(torch.tensor(2.0))(t.float(), u.float()).dtype == torch.float32


def test_sum_adds_values_and_jacobians():
    t, u, c = points()
    parts = [UserModule(Pendulum(), "drift"), Constant(torch.tensor(2.0)), Known(lambda t, u: u**3, "drift")]
    total = Sum(parts)
    torch.testing.assert_close(total(t, u, c), parts[0](t, u, c) + 2 + u**3)
    value, jacobian = total.linearize(t, u, c)
    torch.testing.assert_close(value, total(t, u, c))
    torch.testing.assert_close(jacobian, differences(total, t, u, c), rtol=1e-7, atol=1e-8)
    assert len(list(total.parameters())) == 2


def test_sum_of_constants_ignores_the_state():
    total = Sum([Constant(torch.tensor(2.0)), Constant(torch.tensor(3.0))])
    t, u, _ = points()
    value, jacobian = total.linearize(t, u)
    assert not total.state_dependent
    assert torch.equal(value, torch.full_like(u, 5))
    assert torch.equal(jacobian, u.new_zeros(5, 2, 2))
