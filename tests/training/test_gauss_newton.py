"""Gauss-Newton steps against closed forms and autograd."""

import itertools

import pytest
import torch
from torch import nn

from skneuralde.losses import SumOfSquares
from skneuralde.training import GaussNewton
from skneuralde.training.gauss_newton import NormalEquations


class Curve(nn.Module):
    """``a exp(-b t) - y``."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.tensor(x, dtype=torch.float64)) for x in (a, b))

    def forward(self, t, y):
        return (self.a * torch.exp(-self.b * t) - y).reshape(*t.shape)


class Fit(SumOfSquares):
    def __init__(self, t, y, weight=None):
        self.data = t, y
        self.weight = torch.ones(len(t), dtype=torch.float64) if weight is None else weight

    def start_epoch(self, model, epoch):
        self.epoch = epoch

    def residuals(self, model):
        return model, self.data

    def values(self, model, items, *, seed):
        return 0.5 * model(*(x[items] for x in self.data)).square().mean(-1)


def data(a=2.0, b=0.7):
    t = torch.linspace(0, 3, 20, dtype=torch.float64)[:, None]
    return t, a * torch.exp(-b * t)


def test_the_normal_equations_are_those_of_autograd():
    weight = torch.arange(20.0, dtype=torch.float64)
    fit, model = Fit(*data(), weight), Curve(1.0, 0.3)
    loss, matrix, gradient = NormalEquations(fit, model).evaluate()
    residual = model(*fit.data)[:, 0]
    half = 0.5 * weight @ residual.square()
    expected = torch.stack(torch.autograd.grad(half, [model.a, model.b], retain_graph=True))
    rows = torch.stack([torch.stack(torch.autograd.grad(r, [model.a, model.b], retain_graph=True)) for r in residual])
    assert float(loss) == pytest.approx(float(half.detach()))
    assert torch.allclose(gradient, expected)
    assert torch.allclose(matrix, rows.T @ (weight[:, None] * rows))


def test_a_nonlinear_curve_is_found_in_one_epoch():
    model, optimizer = Curve(0.5, 3.0), GaussNewton()
    for epoch in (1, 2):
        loss = optimizer.run_epoch(model, Fit(*data()), epoch=epoch, seed=0, factor=1.0)
    assert loss < 1e-16
    assert float(model.a.detach()) == pytest.approx(2.0, abs=1e-7)
    assert float(model.b.detach()) == pytest.approx(0.7, abs=1e-7)


def test_no_step_makes_the_loss_larger():
    torch.manual_seed(0)
    t, y = data()
    fit, model, optimizer = Fit(t, y + 0.3 * torch.randn(20, 1).double()), Curve(-3.0, -1.0), GaussNewton()
    losses = [optimizer.run_epoch(model, fit, epoch=epoch, seed=0, factor=1.0) for epoch in range(1, 8)]
    assert all(after <= before for before, after in itertools.pairwise(losses))
    assert losses[-1] < 0.1


def test_a_parameter_without_any_effect_stays():
    model = Curve(1.0, 0.3)
    model.idle = nn.Parameter(torch.tensor(5.0, dtype=torch.float64))
    GaussNewton().run_epoch(model, Fit(*data()), epoch=1, seed=0, factor=1.0)
    assert float(model.idle.detach()) == 5.0
    assert float(model.a.detach()) != 1.0
