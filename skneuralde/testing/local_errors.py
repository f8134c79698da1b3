"""Checks of one step with noise against the Ito-Taylor expansion of the solution.

By the fundamental theorem of mean-square convergence a method has strong order p if its local error has a root mean
square of order p + 1/2 and a mean of order p + 1. Both are computed by Gauss-Hermite quadrature over the noise of the
step, so that no sampling error hides a coefficient that is slightly wrong.

References
----------
.. [1] G. N. Milstein and M. V. Tretyakov, *Stochastic Numerics for Mathematical Physics* (2004), theorems 1.1 and 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.problems import Problem, in_calculus
from skneuralde.solvers import RightHandSide, Solver, Step, StepInput, Stepper
from skneuralde.testing.cases import NOISE_KINDS, require, slope, tensor
from skneuralde.testing.ito_taylor import Function, ItoTaylor

_START = 0.3


def _drift(t: Tensor, u: Tensor) -> Tensor:
    (x, y), s = u.unbind(-1), t[..., 0]
    first = 0.7 + torch.sin(1.3 * s) - 0.9 * x + torch.sin(y + 0.3)
    return torch.stack([first, 0.5 * torch.cos(s) + x * torch.cos(y) - 0.8 * y - 0.2], -1)


def _diagonal(t: Tensor, u: Tensor) -> Tensor:
    (x, y), s = u.unbind(-1), t[..., 0]
    first = (0.6 + 0.3 * torch.sin(s)) * torch.sqrt(1.0 + (x + 0.5) ** 2)
    return torch.stack([first, (0.8 + 0.2 * s) * (1.2 + torch.sin(y + 0.4))], -1)


def _additive(t: Tensor, u: Tensor) -> Tensor:
    s, one = t[..., 0], torch.ones_like(t[..., 0])
    return torch.stack([0.6 + 0.3 * torch.sin(s), 0.2 * one, -0.3 * s, 0.7 * one], -1).unflatten(-1, (2, 2))


def _general(t: Tensor, u: Tensor) -> Tensor:
    (x, y), s = u.unbind(-1), t[..., 0]
    entries = [0.6 + 0.2 * torch.sin(y), 0.3 * torch.cos(x), 0.1 + 0.2 * x, 0.5 + 0.2 * torch.sin(x + y + s)]
    return torch.stack(entries, -1).unflatten(-1, (2, 2))


_DIFFUSIONS: dict[str, Function] = {"diagonal": _diagonal, "additive": _additive, "general": _general}


def _identity(t: Tensor, u: Tensor) -> Tensor:
    return u


def _exponentials(t: Tensor, u: Tensor) -> Tensor:
    """``exp(a . u) - 1`` for some vectors a: their means, the moment generating function, hold all moments."""
    return torch.expm1(u @ tensor([[1.0, -0.7, 0.3, 1.2, 0.0, -1.1], [0.0, 0.4, 1.1, -0.8, 0.9, -0.6]]))


class _Expansion(NamedTuple):
    """The equation with one kind of noise, which starts at 0: small states have small rounding errors."""

    problem: Problem
    paths: ItoTaylor


@cache
def _expansion(kind: str) -> _Expansion:
    diffusion = _DIFFUSIONS[kind]
    problem, u = Problem(_drift, diffusion, noise=kind), torch.zeros(2, dtype=torch.float64)
    problem.check(tensor([[_START]]), u[None])
    matrix = diffusion if kind != "diagonal" else lambda t, u: torch.diag_embed(diffusion(t, u))
    return _Expansion(problem, ItoTaylor(_drift, matrix, tensor([_START]), u))


class _Noise(NamedTuple):
    """Nodes (n, 2) and weights (n,) of a quadrature over the noise of a step of length 1, odd about the middle row."""

    w: Tensor
    area: Tensor
    weights: Tensor


def _nodes(increments: str) -> _Noise:
    if increments == "three-point":
        w, weights = _product(3, 3)
        return _Noise(w, torch.zeros_like(w), weights)
    nodes, weights = _product(4, 4, 3, 3)
    return _Noise(nodes[:, :2], nodes[:, 2:] / math.sqrt(12.0), weights)


def _product(*sizes: int) -> tuple[Tensor, Tensor]:
    """Product rule of Gauss and Hermite: nodes (n, axes) and weights (n,)."""
    rules = [tuple(map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(size))) for size in sizes]
    nodes = torch.cartesian_prod(*(0.5 * (x - x.flip(0)) for x, _ in rules))
    weights = torch.cartesian_prod(*(w / w.sum() for _, w in rules)).prod(1)
    return nodes, weights


def _step(solver: Stepper, problem: Problem, noise: _Noise, h: float, rtol: float | None = None) -> Step:
    """One step from 0 with each node of the noise, with an error estimate where ``rtol`` is given."""
    n = len(noise.w)
    # Stages outside the step are within the interval of integration.
    rhs = RightHandSide(in_calculus(problem, solver.calculus), None, tensor([[_START - 1.0]]), tensor([[_START + 1.0]]))
    u, t = torch.zeros(n, 2, dtype=torch.float64), torch.full((n, 1), _START, dtype=torch.float64)
    stepper = solver.prepare(rhs, t, u, rtol=rtol, n_hazards=0)
    area = None if solver.levy_area is None else math.sqrt(h) * noise.area
    return stepper.step(StepInput(rhs, t, torch.full_like(u[:, :1], h), u, Increments(math.sqrt(h) * noise.w, area)))


def _order(error: Callable[[float], Tensor], weights: Tensor, *, finest: int) -> float:
    """Exponent of the root mean square of an error (n, ...) in the step size; infinite for mere rounding."""
    sizes = [0.5**k for k in range(finest - 3, finest + 1)]
    errors = [float((weights @ error(h).square()).sum().sqrt()) for h in sizes]
    # Rounding is relative to the noise of the step.
    return math.inf if errors[-1] < 5e-14 * math.sqrt(sizes[-1]) else slope(sizes, errors)


def _require(error: Callable[[float], Tensor], weights: Tensor, order: float, part: str, claim: str) -> None:
    """Refuse a local error whose expansion begins below ``h ** order``.

    Errors are series in the root of h. Extrapolation removes the power that is allowed, and the rest must be smaller:
    in the error itself that power would hide a smaller one with a small factor.
    """

    def rest(h: float) -> Tensor:
        return error(h) - 4.0**order * error(0.25 * h)

    measured = _order(rest, weights, finest=15 if order < 3.0 else 11) - 0.5
    require(
        measured > order - 0.2,
        f"{claim} needs a local error with a {part} of order {order}, measured {min(measured, order):.2f}",
    )


def _kinds(solver: Solver) -> list[str]:
    return [kind for kind in NOISE_KINDS if solver.handles(kind)]


def check_strong_order(solver: Stepper) -> None:
    """The local error is as small as the strong order asks, in the mean square and in the mean."""
    assert solver.strong_order is not None
    p, noise = min(solver.strong_order, 1.5), _nodes("gaussian")
    for kind in _kinds(solver):
        problem, paths = _expansion(kind)

        def error(h: float, problem: Problem = problem, paths: ItoTaylor = paths) -> Tensor:
            root = math.sqrt(h)
            return _step(solver, problem, noise, h).u1 - paths.path(h, root * noise.w, root * noise.area)

        claim = f"strong order {solver.strong_order} with {kind} noise"
        _require(error, noise.weights, p + 0.5, "root mean square", claim)
        _require_mean(solver, kind, _identity, p + 1.0, "mean", claim)


def check_weak_order(solver: Stepper) -> None:
    """The moments of one step are as accurate as the weak order asks."""
    assert solver.weak_order is not None
    for kind in _kinds(solver):
        claim = f"weak order {solver.weak_order} with {kind} noise"
        _require_mean(solver, kind, _exponentials, min(solver.weak_order, 2.0) + 1.0, "mean of exponentials", claim)


def _require_mean(solver: Stepper, kind: str, function: Function, order: float, part: str, claim: str) -> None:
    """Refuse an error of the mean of a function whose expansion begins below ``h ** order``."""
    noise, coefficients = _nodes(solver.increments), _mean(kind, function)

    def error(h: float) -> Tensor:
        values = function(tensor([_START]), _step(solver, _expansion(kind).problem, noise, h).u1)
        exact = sum(coefficient * h**k for k, coefficient in enumerate(coefficients))
        return (noise.weights @ values - exact)[None]

    _require(error, torch.ones(1, dtype=torch.float64), order, part, claim)


@cache
def _mean(kind: str, function: Function) -> tuple[Tensor, ...]:
    return _expansion(kind).paths.mean(function)


def check_error_order(solver: Stepper) -> None:
    """The error estimate shrinks at least as fast as ``error_order`` says."""
    noise = _nodes(solver.increments)
    for kind in _kinds(solver):
        problem = _expansion(kind).problem

        def error(h: float, problem: Problem = problem) -> Tensor:
            estimate = _step(solver, problem, noise, h, rtol=1e-3).error
            if estimate is None:
                raise AssertionError("an adaptive method must return an error estimate")
            return estimate

        measured = _order(error, noise.weights, finest=15)
        require(
            measured > solver.error_order - 0.15,
            f"expected an error estimate of order {solver.error_order} with {kind} noise, measured {measured:.2f}",
        )
