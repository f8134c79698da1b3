"""Derivatives along directions, without torch's forward mode."""

import numpy as np
import pytest
import torch

from skneuralde import Problem, solve
from skneuralde.terms.derivatives import along, value_and_jacobian

POWERS = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
U = torch.tensor([[0.0], [0.5], [2.0]], dtype=torch.float64)


def powers(t, u):
    return (u**POWERS).sum(-1, keepdim=True)


def root(t, u):
    return -u - torch.where(u > 0.6, (u - 0.6).sqrt(), 0.0)


def powers_of_time(t, u):
    return (t**POWERS).sum(-1, keepdim=True) - u


def differences(function, x):
    step = 1e-6
    return (function(x + step) - function(x - step)) / (2 * step)


@pytest.mark.parametrize("function", [powers, root, powers_of_time])
@pytest.mark.parametrize("records", [False, True])
def test_masked_infinite_factors_are_not_lost(function, records):
    t, unit = torch.zeros_like(U), torch.ones_like(U)
    with torch.set_grad_enabled(records):
        expected = differences(lambda u: function(t, u), U)
        torch.testing.assert_close(value_and_jacobian(lambda u: function(t, u), U)[1][..., 0], expected)
        torch.testing.assert_close(along(lambda u: function(t, u), [U], [unit])[1], expected)
        expected = differences(lambda s: function(s, U), t)
        torch.testing.assert_close(along(lambda s: function(s, U), [t], [unit])[1], expected)


def test_rows_are_differentiated_alone():
    """A row whose derivative is found by differences leaves the others as they are."""
    _, together = along(lambda u: powers(None, u), [U], [torch.ones_like(U)])
    for row, expected in zip(U.split(1), together.split(1), strict=True):
        assert torch.equal(along(lambda u: powers(None, u), [row], [torch.ones_like(row)])[1], expected)


@pytest.mark.parametrize("y0", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("function", [powers, root])
def test_a_stiff_method_with_masked_parts(function, y0):
    exact = solve(Problem(lambda t, u: function(t, u) - 4.0 * u), [y0], [0.0, 0.3], rtol=1e-9, atol=1e-9).ys
    options = {"solver": "rosenbrock", "rtol": 1e-6, "atol": 1e-6}
    found = solve(Problem(lambda t, u: function(t, u) - 4.0 * u), [y0], [0.0, 0.3], **options).ys
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["rosenbrock", "rock2"])
def test_functions_that_leave_torch(name):
    def drift(t, u, sin):
        return -10.0 * sin(u) + sin(5.0 * t)

    inside = Problem(lambda t, u: drift(t, u, torch.sin))
    outside = Problem(lambda t, u: torch.from_numpy(drift(t.detach().numpy(), u.detach().numpy(), np.sin)))
    expected, found = (solve(p, [1.0, 2.0], [0.0, 0.3], solver=name, rtol=1e-6).ys for p in (inside, outside))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
