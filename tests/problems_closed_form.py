"""Equations whose solutions are known, shared by the tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from skneuralde.problems import Problem, stratonovich_form


@dataclass(frozen=True)
class ClosedForm:
    """A problem, an initial state (batch, dim), a time to go to, and the state there as a function of W there."""

    problem: Problem
    u0: Tensor
    end: float
    exact: Callable[[Tensor, float, Tensor], Tensor]

    def in_stratonovich(self):
        """The same solutions, from the other reading of the integral."""
        return replace(self, problem=stratonovich_form(self.problem))

    def at_end(self, u0, noise):
        """The state at the end of a mesh of increments (steps, batch, m)."""
        return self.exact(u0, noise.end, noise.w.sum(0))


def oscillator() -> ClosedForm:
    """Rotation whose speed changes with time; without noise, smooth, with two components."""

    def drift(t, u):
        return (1.0 + 0.5 * torch.cos(t)) * torch.stack([u[:, 1], -u[:, 0]], -1)

    def exact(u0, t, w):
        angle = torch.as_tensor(t + 0.5 * torch.sin(torch.as_tensor(t, dtype=torch.float64)))
        c, s = torch.cos(angle), torch.sin(angle)
        return torch.stack([c * u0[:, 0] + s * u0[:, 1], c * u0[:, 1] - s * u0[:, 0]], -1)

    return ClosedForm(Problem(drift), torch.tensor([[1.0, 0.0], [0.5, 2.0]], dtype=torch.float64), 3.0, exact)


def geometric(
    calculus: str = "ito", noise: str = "diagonal", *, rate: float = 0.5, volatility: float = 0.4, end: float = 1.0
) -> ClosedForm:
    """Geometric Brownian motion with a strong exact solution."""

    def diffusion(t, u):
        return volatility * (u[..., None] if noise == "general" else u)

    def exact(u0, t, w):
        correction = 0.5 * volatility**2 if calculus == "ito" else 0.0
        return u0 * torch.exp((rate - correction) * t + volatility * w)

    problem = Problem(lambda t, u: rate * u, diffusion, noise=noise, calculus=calculus)
    return ClosedForm(problem, torch.ones(1, 1, dtype=torch.float64), end, exact)


def forced_noise() -> ClosedForm:
    """Additive noise on a drift that only knows the time: u = u0 + sin(t) + 0.7 W."""
    problem = Problem(lambda t, u: torch.cos(t).expand_as(u), 0.7, noise="additive")
    return ClosedForm(
        problem, torch.ones(1, 1, dtype=torch.float64), 1.0, lambda u0, t, w: u0 + torch.sin(torch.tensor(t)) + 0.7 * w
    )


def half(dim: int = 1) -> Tensor:
    return torch.full((1, dim), 0.5, dtype=torch.float64)


def saturating(a: float = 0.8) -> ClosedForm:
    """Noise that ceases at the bounds -1 and 1: u = tanh(a W + artanh(u0))."""
    problem = Problem(lambda t, u: -(a**2) * u * (1 - u**2), lambda t, u: a * (1 - u**2))
    return ClosedForm(problem, half(), 1.0, lambda u0, t, w: torch.tanh(a * w + torch.atanh(u0)))


def turning(a: float = 0.8) -> ClosedForm:
    """An angle: u = arctan(a W + tan(u0)); Kloeden and Platen (1992), section 4.4."""
    problem = Problem(lambda t, u: -(a**2) * u.sin() * u.cos() ** 3, lambda t, u: a * u.cos() ** 2)
    return ClosedForm(problem, half(), 1.0, lambda u0, t, w: torch.atan(a * w + torch.tan(u0)))


def fading_noise(a: float = 1.0, b: float = 0.5) -> ClosedForm:
    """Additive noise whose size changes with time: sqrt(1 + t) u = u0 + b (t + a W)."""

    def diffusion(t, u):
        return (a * b / (1 + t).sqrt()).expand_as(u)

    problem = Problem(lambda t, u: b / (1 + t).sqrt() - u / (2 * (1 + t)), diffusion, noise="additive")
    return ClosedForm(problem, half(), 1.0, lambda u0, t, w: (u0 + b * (t + a * w)) / math.sqrt(1 + t))


@dataclass(frozen=True)
class LinearAdditive:
    """du = A u dt + B dW, whose solution needs the path: exact up to the square of the mesh."""

    matrix: Tensor
    noise: Tensor
    end: float = 1.0

    @cached_property
    def problem(self):
        return Problem(lambda t, u: u @ self.matrix.T, self.noise, noise="additive")

    @property
    def u0(self):
        return half(len(self.matrix))

    def at_end(self, u0, noise):
        """The state at the end of a fine mesh of increments and areas (steps, batch, m)."""
        u, flow = u0, torch.matrix_exp(self.matrix * noise.h).T
        for w, area in noise:
            # The integral of exp(A (h - s)) B dW to first order in A.
            u = u @ flow + w @ self.noise.T + noise.h * (0.5 * w + area) @ (self.matrix @ self.noise).T
        return u


def stiff_noise() -> LinearAdditive:
    """An Ornstein-Uhlenbeck process that forgets 30 times per unit of time."""
    return LinearAdditive(*torch.tensor([[[-30.0]], [[1.0]]], dtype=torch.float64))


def rotating_noise() -> LinearAdditive:
    """Two components that turn into each other, three noises."""
    matrix = torch.tensor([[-0.5, 2.0], [-2.0, -0.5]], dtype=torch.float64)
    return LinearAdditive(matrix, torch.tensor([[0.5, 0.1, 0.0], [0.0, 0.3, 0.4]], dtype=torch.float64))
