"""Small equations, known and learned, shared by the tests of inference, losses and training."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.inference import Transitions
from skneuralde.problems import Problem


def column(*values: float) -> Tensor:
    """Float64 states of one dimension, or lengths."""
    return torch.tensor(values, dtype=torch.float64)


def no_inputs(n: int) -> Tensor:
    return torch.zeros(n, 0, dtype=torch.float64)


def checked(problem: Problem, dim: int) -> Problem:
    """The problem after the one check that counts its noises."""
    problem.check(torch.zeros(2, 1, dtype=torch.float64), torch.rand(2, dim, dtype=torch.float64) + 0.5)
    return problem


def cubic(t, u):
    """A well with a forcing: nonlinear, and different at every time."""
    return u - 0.6 * u**3 + torch.sin(2 * t)


def wavy(t, u):
    return 0.3 + 0.1 * torch.sin(u)


def pendulum(t, u):
    return torch.stack([u[:, 1], -torch.sin(u[:, 0]) - 0.2 * u[:, 1]], -1)


def geometric_matrix(t, u):
    """Two noises that act on both components, linear in the state."""
    x, y = u[:, 0], u[:, 1]
    return torch.stack([torch.stack([0.2 * x, 0.1 * y], -1), torch.stack([0.1 * y, 0.3 * x + 0.1 * y], -1)], 1)


def nonlinear(name: str) -> tuple[Problem, Tensor]:
    """Equations without closed moments, and a state to start from."""
    problem, start = {
        "additive": (Problem(cubic, 0.4, noise="additive"), column(0.2, 1.5)[:, None]),
        "diagonal": (Problem(cubic, wavy), column(0.2, 1.5)[:, None]),
        "pendulum": (Problem(pendulum, [0.1, 0.2], noise="additive"), torch.tensor([[0.3, 1.0]], dtype=torch.float64)),
        "general": (Problem(pendulum, geometric_matrix, noise="general"), torch.tensor([[1.0, 0.4]]).double()),
        "stratonovich": (Problem(cubic, wavy, calculus="stratonovich"), column(0.2, 1.5)[:, None]),
    }[name]
    return checked(problem, start.shape[1]), start


def direct(state: Tensor, lengths: Tensor, time: float = 0.0) -> Transitions:
    """Transitions of one segment each, without inputs."""
    n = len(state)
    inputs = no_inputs(n)
    return Transitions(state, torch.full((n,), time).double(), torch.arange(n + 1), lengths, inputs, inputs)


class OrnsteinUhlenbeck(torch.nn.Module):
    """Drift -exp(log_rate) (u - mean), to be learned."""

    def __init__(self, rate: float = 1.0, mean: float = 0.0):
        super().__init__()
        self.log_rate = torch.nn.Parameter(torch.tensor(rate, dtype=torch.float64).log())
        self.mean = torch.nn.Parameter(torch.tensor(mean, dtype=torch.float64))

    def forward(self, t, u):
        return -self.log_rate.exp() * (u - self.mean)


class Level(torch.nn.Module):
    """A positive constant, to be learned."""

    def __init__(self, value: float):
        super().__init__()
        self.log_value = torch.nn.Parameter(torch.tensor(value, dtype=torch.float64).log())

    def forward(self, t, u):
        return self.log_value.exp().expand_as(u)
