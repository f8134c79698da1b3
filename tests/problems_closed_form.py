"""Equations whose solutions are known, shared by the tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.problems import Problem


@dataclass(frozen=True)
class ClosedForm:
    """A problem, an initial state (batch, dim), a time to go to, and the state there as a function of W there."""

    problem: Problem
    u0: Tensor
    end: float
    exact: Callable[[Tensor, float, Tensor], Tensor]


def oscillator() -> ClosedForm:
    """Rotation whose speed changes with time; without noise, smooth, with two components."""

    def drift(t, u):
        return (1.0 + 0.5 * torch.cos(t)) * torch.stack([u[:, 1], -u[:, 0]], -1)

    def exact(u0, t, w):
        angle = torch.as_tensor(t + 0.5 * torch.sin(torch.as_tensor(t, dtype=torch.float64)))
        c, s = torch.cos(angle), torch.sin(angle)
        return torch.stack([c * u0[:, 0] + s * u0[:, 1], c * u0[:, 1] - s * u0[:, 0]], -1)

    return ClosedForm(Problem(drift), torch.tensor([[1.0, 0.0], [0.5, 2.0]], dtype=torch.float64), 3.0, exact)


def geometric(calculus: str = "ito", noise: str = "diagonal") -> ClosedForm:
    """Geometric Brownian motion with a strong exact solution."""
    rate, volatility = 0.5, 0.4

    def diffusion(t, u):
        return volatility * (u[..., None] if noise == "general" else u)

    def exact(u0, t, w):
        correction = 0.5 * volatility**2 if calculus == "ito" else 0.0
        return u0 * torch.exp((rate - correction) * t + volatility * w)

    problem = Problem(lambda t, u: rate * u, diffusion, noise=noise, calculus=calculus)
    return ClosedForm(problem, torch.ones(1, 1, dtype=torch.float64), 1.0, exact)


def forced_noise() -> ClosedForm:
    """Additive noise on a drift that only knows the time: u = u0 + sin(t) + 0.7 W."""
    problem = Problem(lambda t, u: torch.cos(t).expand_as(u), 0.7, noise="additive")
    return ClosedForm(
        problem, torch.ones(1, 1, dtype=torch.float64), 1.0, lambda u0, t, w: u0 + torch.sin(torch.tensor(t)) + 0.7 * w
    )
