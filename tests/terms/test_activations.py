"""Activations and their derivatives, as they are differentiated to train on a Jacobian."""

import pytest
import torch

from skneuralde.terms.activations import ACTIVATIONS

X = torch.linspace(-4.0, 4.0, 10, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_is_exact_to_a_rounding_of_one(dtype):
    x = torch.linspace(-30.0, 30.0, 1001, dtype=dtype)
    error = (ACTIVATIONS["tanh"].function(x).double() - torch.tanh(x.double())).abs().max()
    assert error <= 2 * torch.finfo(dtype).eps


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_value_and_derivatives_of_three_orders(activation):
    function, with_slope = ACTIVATIONS[activation].function, ACTIVATIONS[activation].with_slope

    def forwards(x):
        """Slope and curvature by forward mode."""
        return torch.func.jvp(with_slope, (x,), (torch.ones_like(x),))[1]

    def backwards(f):
        return torch.func.grad(lambda x: f(x).sum())

    def differences(f):
        return (f(X + 1e-6) - f(X - 1e-6)) / 2e-6

    value, slope = with_slope(X)
    torch.testing.assert_close(value, function(X))
    torch.testing.assert_close(slope, differences(function), rtol=1e-7, atol=1e-9)
    curvature = backwards(lambda x: with_slope(x)[1])(X)
    torch.testing.assert_close(curvature, differences(lambda x: with_slope(x)[1]), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(forwards(X), (slope, curvature))
    third = backwards(lambda x: forwards(x)[1])(X)
    torch.testing.assert_close(third, differences(lambda x: forwards(x)[1]), rtol=1e-7, atol=1e-8)
    assert torch.autograd.gradcheck(with_slope, X.clone().requires_grad_())
