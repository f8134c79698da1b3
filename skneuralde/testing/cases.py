"""Equations with known solutions, and the settings with which a solver solves them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from skneuralde.noise import Brownian
from skneuralde.problems import Problem
from skneuralde.solvers import RightHandSide, Solver, SolveRequest, Stepper, integrate

NOISE_KINDS = ("diagonal", "additive", "general")


def require(kept: bool, message: str) -> None:
    """Raise an AssertionError if a promise is not kept, also under ``python -O``."""
    if not kept:
        raise AssertionError(message)


def tensor(values: Any) -> Tensor:
    """Values as float64."""
    return torch.tensor(values, dtype=torch.float64)


class StuartLandau:
    """Stuart-Landau oscillator with rates that change with time: nonlinear, two components, solved in closed form.

    In polar coordinates it is ``r' = a(t) r (1 - r^2)``, ``theta' = b(t) + 0.7 a(t) r^2``.

    Parameters
    ----------
    autonomous : bool
        Whether the rates are constant instead.
    """

    def __init__(self, autonomous: bool = False):
        self.forcing = 0.0 if autonomous else 1.0
        self.problem = Problem(self.drift)
        generator = torch.Generator().manual_seed(0)
        self.u0 = 0.3 + 0.6 * torch.rand(4, 2, dtype=torch.float64, generator=generator)
        self.start = torch.arange(4, dtype=torch.float64)[:, None] / 4.0

    def drift(self, t: Tensor, u: Tensor) -> Tensor:
        x, y = u.unbind(-1)
        square = x * x + y * y
        t = t[..., 0]
        a, b = 1.0 + 0.5 * self.forcing * torch.cos(t), 2.0 + self.forcing * torch.sin(2.0 * t)
        growth, speed = a * (1.0 - square), b + 0.7 * a * square
        return torch.stack([growth * x - speed * y, growth * y + speed * x], -1)

    def exact(self, h: Tensor | float, start: Tensor | None = None) -> Tensor:
        """States (4, 2) at times h (4, 1) after ``start``."""
        t0 = self.start if start is None else start
        t1 = t0 + h
        a = t1 - t0 + 0.5 * self.forcing * (torch.sin(t1) - torch.sin(t0))
        b = 2.0 * (t1 - t0) - 0.5 * self.forcing * (torch.cos(2.0 * t1) - torch.cos(2.0 * t0))
        square = self.u0.square().sum(-1, keepdim=True)
        growth = (square + (1.0 - square) * torch.exp(-2.0 * a)) ** -0.5
        angle = b + 0.7 * (a - torch.log(growth))
        x, y = self.u0[:, :1], self.u0[:, 1:]
        c, s = torch.cos(angle), torch.sin(angle)
        return growth * torch.cat([c * x - s * y, c * y + s * x], 1)

    def rhs(self) -> RightHandSide:
        """The right-hand side on an interval that holds all times."""
        return RightHandSide(self.problem, None, tensor([[-10.0]]), tensor([[10.0]]))


def geometric(solver: Solver, kind: str = "diagonal") -> tuple[Problem, Callable[[Tensor], Tensor]]:
    """Geometric Brownian motion from 1, and its state at time 1 as a function of W there."""
    calculus = solver.calculus[0]

    def diffusion(t: Tensor, u: Tensor) -> Tensor:
        return 0.4 * (u[..., None] if kind == "general" else u)

    def exact(w: Tensor) -> Tensor:
        return torch.exp(0.5 - (0.08 if calculus == "ito" else 0.0) + 0.4 * w)

    return Problem(lambda t, u: 0.5 * u, diffusion, noise=kind, calculus=calculus), exact


def fading() -> tuple[Problem, Callable[[Tensor], Tensor]]:
    """Additive noise that fades, from 1, and its state at time 1: ``sqrt(1 + t) u = 1 + (t + W) / 2``."""

    def drift(t: Tensor, u: Tensor) -> Tensor:
        return 0.5 / (1.0 + t).sqrt() - u / (2.0 * (1.0 + t))

    def diffusion(t: Tensor, u: Tensor) -> Tensor:
        return (0.5 / (1.0 + t).sqrt()).expand_as(u)

    return Problem(drift, diffusion, noise="additive"), lambda w: (1.5 + 0.5 * w) / math.sqrt(2.0)


def some_noise(solver: Solver, drift: Callable[..., Tensor], size: Tensor | float) -> Problem:
    """An equation with a kind of noise that the method treats, in proportion to the state if it can; or without."""
    if solver.handles("diagonal"):
        return Problem(drift, lambda t, u: size * u, calculus=solver.calculus[0])
    if solver.handles("additive"):
        return Problem(drift, lambda t, u: size * torch.ones_like(u), noise="additive")
    if solver.handles("general"):
        return Problem(drift, lambda t, u: size * torch.diag_embed(u), noise="general", calculus=solver.calculus[0])
    return Problem(drift)


def brownian(n: int, *, dim: int = 1, start: Tensor | float = 0.0, cell: float = 1.0, seed: int = 0) -> Brownian:
    """Independent Brownian paths."""
    return Brownian(seed, torch.arange(n), torch.zeros(n, dtype=torch.int64), dim, start=start, cell=cell)


def solution(solver: Solver, problem: Problem, u0: Tensor, times: Tensor, **arguments: Any) -> Tensor:
    """States at the save times, (batch, n_times, dim)."""
    context = arguments.get("context")
    problem.check(times.reshape(-1)[:1, None].to(u0.dtype), u0[:1], None if context is None else context[:1])
    return integrate(SolveRequest(problem, u0, times, solver=solver, **arguments)).values


def settings(solver: Solver, accuracy: float = 1e-4) -> dict[str, Any]:
    """Arguments of a request with which any solver does sensible work."""
    if solver.adaptive and not solver.handles(None):
        accuracy = max(accuracy, 1e-3)  # a smaller tolerance takes very many steps of order 1.5
    return {"rtol": accuracy, "atol": accuracy, "dt": None if solver.adaptive else 0.05}


def tight(solver: Solver) -> float:
    """A tolerance that is tight for the order of the method and not slow."""
    return 1e-6 if solver.order is None or solver.order > 2 else 1e-5


def fixed(solver: Solver) -> dict[str, Any]:
    """Arguments of fixed steps if the method has them, else of tight adaptive ones."""
    if isinstance(solver, Stepper) or not solver.adaptive:
        return {"rtol": None, "dt": 0.1}
    return settings(solver, tight(solver))


def rms(x: Tensor) -> float:
    """Root mean square."""
    return float(x.square().mean().sqrt())


def slope(sizes: Sequence[float], errors: Sequence[float]) -> float:
    """Exponent of the power law that fits best."""
    x, y = (tensor([math.log(value) for value in values]) for values in (sizes, errors))
    x = x - x.mean()
    return float((x * y).sum() / x.square().sum())


#: Errors below this one are rounding.
ROUNDING = 2e-13


def finest_slope(order: float, error: Callable[[float], float]) -> float:
    """Exponent of an error in the step size, at the smallest sizes at which it is more than rounding.

    ``order`` is the expected exponent: the larger it is, the fewer sizes there are.
    """
    found: list[tuple[float, float]] = []
    for k in range(3, 15, 2 if order < 4.0 else 1):
        value = error(h := 0.5**k)
        if not value > ROUNDING:
            break
        found.append((h, value))
    if len(found) < 2:
        return math.inf
    return slope(*zip(*found[-3:], strict=True))
