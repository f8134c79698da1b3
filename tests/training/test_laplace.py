"""Standard errors from the curvature at a minimum, against closed forms."""

import numpy as np
import pytest
import torch

from skneuralde.inference import Model
from skneuralde.losses import Objective
from skneuralde.problems import Problem
from skneuralde.training.laplace import NoMinimumError, laplace, observed_information

DESIGN = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 5.0]], dtype=torch.float64)


class Line(torch.nn.Module):
    def __init__(self, *coefficients):
        super().__init__()
        self.coefficients = torch.nn.Parameter(torch.tensor(coefficients, dtype=torch.float64))

    def forward(self, t, u):
        return self.coefficients.sum() * u


class Given(Objective):
    """A function of the parameters per item, whatever the equation."""

    def __init__(self, function, weight):
        self.function = function
        self.weight = torch.tensor(weight, dtype=torch.float64)

    def start_epoch(self, model, epoch):
        pass

    def values(self, model, items, *, seed):
        return self.function(next(model.parameters()))[items]


def at(*coefficients):
    return Model(Problem(Line(*coefficients), 1.0))


def squares(target):
    return lambda p: 0.5 * (DESIGN @ p - target).square()


def test_the_covariance_of_weighted_least_squares():
    truth = torch.tensor([0.3, -2.0], dtype=torch.float64)
    weight = [1.0, 2.0, 0.0, 3.0]
    found = laplace(at(0.3, -2.0), Given(squares(DESIGN @ truth), weight)).covariance
    np.testing.assert_allclose(found, torch.linalg.inv(DESIGN.T @ (torch.tensor(weight)[:, None] * DESIGN)))


def test_gradient_and_hessian_of_a_curved_loss():
    gradient, hessian = observed_information(at(0.5, 2.0), Given(lambda p: (p[0] * p[1] ** 2).repeat(2), [1.0, 2.0]))
    np.testing.assert_allclose(gradient, [12.0, 6.0])
    np.testing.assert_allclose(hessian, [[0.0, 12.0], [12.0, 3.0]])


def test_a_direction_without_information_gets_a_large_error():
    found = laplace(at(1.0, 1.0), Given(lambda p: 50 * (p.sum() - 2.0).square().repeat(1), [1.0])).covariance
    along, across = torch.tensor([1.0, 1.0]).double(), torch.tensor([1.0, -1.0]).double()
    assert along @ found @ along == pytest.approx(0.01)
    assert 1e3 < across @ found @ across < np.inf


def test_a_saddle_and_a_slope_are_no_minimum():
    with pytest.raises(NoMinimumError, match="curves upwards"):
        laplace(at(0.0, 0.0), Given(lambda p: (p[0] ** 2 - p[1] ** 2).repeat(1), [1.0]))
    target = DESIGN @ torch.tensor([0.0, 1.0], dtype=torch.float64)
    with pytest.raises(NoMinimumError, match=r"stopped 2\.0 standard errors before"):
        laplace(at(1.0, 1.0), Given(squares(target), [1.0] * 4))
