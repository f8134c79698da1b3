"""ROCK2: orthogonal Runge-Kutta-Chebyshev."""

from __future__ import annotations

import bisect
from functools import lru_cache

import torch
from torch import Tensor

from skneuralde.solvers.equation import Equation
from skneuralde.solvers.rock2_polynomials import Scheme, scheme
from skneuralde.solvers.rock2_table import TABLE
from skneuralde.solvers.stabilized import MOST_STAGES, Advance, Stabilized

#: The polynomials are stable at least as far as this times the square of the number of stages, from so many on.
_SHARE, _EXACT = 0.81, 100


class ROCK2(Stabilized):
    """Second order, stable along ``0.81 s^2`` of the negative real axis with s stages: for diffusion.

    Close to the longest interval that a polynomial of second order can have. Its steps end on the times wanted. The
    stages are of first order only: where stiff components are forced, `rkc2` is better.

    References
    ----------
    .. [1] A. Abdulle and A. A. Medovikov, "Second order Chebyshev methods based on orthogonal polynomials", Numer.
       Math. 90 (2001) 1-18.
    """

    name = "rock2"
    order = error_order = 2
    reference = "Abdulle & Medovikov (2001)"

    def stages(self, z: float) -> int:
        return _choices()[bisect.bisect_left(_lengths(), z)]

    def advance(self, equation: Equation, t: Tensor, h: Tensor, u: Tensor, f: Tensor, s: int) -> Advance:
        c = coefficients(s)
        last = c.nodes[-1]
        nodes = (*c.nodes[1:], last + c.sigma)
        *moments, end = equation.along(t, h, nodes, u.dtype)
        before, now = u, torch.addcmul(u, c.mu[0] * h, f)
        for mu, nu, moment in zip(c.mu[1:], c.nu[1:], moments, strict=False):
            slope = equation.drift(moment, now)
            before, now = now, torch.addcmul(torch.lerp(before, now, nu), mu * h, slope)
        step = c.sigma * h
        slope = equation.drift(moments[-1], now)
        middle = torch.addcmul(now, step, slope)
        final = equation.drift(end, middle)
        error = (1.0 - c.tau / c.sigma**2) * step * (final - slope)
        return Advance(torch.addcmul(middle, step, final) - error, error)

    def compare(self, h: Tensor, u: Tensor, f: Tensor, u1: Tensor, f1: Tensor) -> Tensor:
        raise AssertionError("the stages tell the error")


@lru_cache(maxsize=512)
def coefficients(s: int) -> Scheme:
    """The step of s stages; its zeros are interpolated in ``1 / s^2`` between those of the table, and beyond it."""
    stages = [row[0] for row in TABLE]
    i = min(max(bisect.bisect_left(stages, s), 1), len(TABLE) - 1)
    if stages[i] == s or stages[i - 1] == s:
        return scheme(s, *TABLE[i if stages[i] == s else i - 1][1:])
    low, high = TABLE[i - 1], TABLE[i]
    share = (s**-2 - low[0] ** -2) / (high[0] ** -2 - low[0] ** -2)
    p, q, d = (a + share * (b - a) for a, b in zip(low[1:], high[1:], strict=True))
    return scheme(s, p, q, d)


@lru_cache(maxsize=1)
def _choices() -> list[int]:
    """Numbers of stages that are used: all of the small ones, then in proportion, to have few schemes."""
    choices = list(range(3, 51))
    while choices[-1] < MOST_STAGES:
        choices.append(min(int(1.02 * choices[-1]) + 1, MOST_STAGES))
    return [*choices, MOST_STAGES + 1]


@lru_cache(maxsize=1)
def _lengths() -> list[float]:
    """How far each of them is stable, a hair less for rounding."""
    return [0.998 * coefficients(s).length if s < _EXACT else _SHARE * s**2 for s in _choices()[:-1]]
