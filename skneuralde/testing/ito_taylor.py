"""Ito-Taylor expansions of the solution of a stochastic differential equation around its start.

References
----------
.. [1] P. E. Kloeden and E. Platen, *Numerical Solution of Stochastic Differential Equations* (1992), chapter 5.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from skneuralde.terms.derivatives import along

#: A function of time and state.
Function = Callable[[Tensor, Tensor], Tensor]


class ItoTaylor:
    """Expansions of ``du = f dt + G dW`` around one point, in Ito's sense.

    Parameters
    ----------
    f : callable
        Drift: time (1,) and state (dim,) to (dim,).
    G : callable
        Diffusion: likewise to (dim, m).
    t : Tensor of shape (1,)
    u : Tensor of shape (dim,)
    """

    def __init__(self, f: Function, G: Function, t: Tensor, u: Tensor):
        self.f, self.G, self.t, self.u = f, G, t, u
        self.m = G(t, u).shape[-1]

    def generator(self, function: Function) -> Function:
        """L0 of a function: its expected rate of change."""

        def rate(t: Tensor, u: Tensor) -> Tensor:
            total = along(function, (t, u), (torch.ones_like(t), self.f(t, u)))[1]
            for g in self.G(t, u).unbind(-1):

                def slope(v: Tensor, g: Tensor = g) -> Tensor:
                    return along(lambda x: function(t, x), (v,), (g,))[1]

                total = total + 0.5 * along(slope, (u,), (g,))[1]
            return total

        return rate

    def along(self, j: int, function: Function) -> Function:
        """Lj of a function: its derivative along noise j."""
        return lambda t, u: along(lambda x: function(t, x), (u,), (self.G(t, u)[..., j],))[1]

    def mean(self, function: Function) -> tuple[Tensor, Tensor, Tensor]:
        """Taylor coefficients in time, to second order, of the expectation of a function."""
        first = self.generator(function)
        second = self.generator(first)
        return self._value(function), self._value(first), 0.5 * self._value(second)

    def path(self, h: float, w: Tensor, area: Tensor) -> Tensor:
        """States (n, dim) after a time h, given the increments of the noise and its space-time Levy areas (n, m).

        The error is of order h^2 with noise that commutes, else of order h.
        """
        first = h * (0.5 * w + area)  # I(j, 0), the integral of the noise
        f, single, pairs, with_drift, with_time, triple = self._terms
        square = w[:, :, None] * w[:, None, :] - h * torch.eye(self.m, dtype=w.dtype)
        total = self.u + h * f + w @ single + torch.einsum("njk,jkd->nd", 0.5 * square, pairs)
        return total + first @ with_drift + (h * w - first) @ with_time + ((w**3 - 3.0 * h * w) / 6.0) @ triple

    @cached_property
    def _terms(self) -> tuple[Tensor, ...]:
        """Values of f, Lj u, Lj Lk u, Lj f, L0 gj and Lj Lj gj."""
        columns = [self._column(j) for j in range(self.m)]
        pairs = [self._values([self.along(j, g) for g in columns]) for j in range(self.m)]
        return (
            self._value(self.f),
            self._values(columns),
            torch.stack(pairs),
            self._values([self.along(j, self.f) for j in range(self.m)]),
            self._values([self.generator(g) for g in columns]),
            self._values([self.along(j, self.along(j, g)) for j, g in enumerate(columns)]),
        )

    def _column(self, j: int) -> Function:
        return lambda t, u: self.G(t, u)[..., j]

    def _value(self, function: Function) -> Tensor:
        return function(self.t, self.u)

    def _values(self, functions: list[Function]) -> Tensor:
        return torch.stack([self._value(function) for function in functions])
