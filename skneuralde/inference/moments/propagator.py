"""Moments of a state, the interval they cross, and the interface of the objects that propagate them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from skneuralde.problems import Problem


class Moments(NamedTuple):
    """Mean and covariance of n states."""

    mean: Tensor  #: (n, dim)
    cov: Tensor | None  #: (n, dim, dim); None if the states are known exactly
    #: (n, dim, dim), the matrix M that has carried an earlier covariance P to M P M'; None if it is not tracked.
    transition_matrix: Tensor | None = None

    def rows(self, rows: Tensor) -> Moments:
        """The moments of some of the states."""
        rest = (x if x is None else x.index_select(0, rows) for x in self[1:])
        return Moments(self.mean.index_select(0, rows), *rest)

    def with_rows(self, rows: Tensor, new: Moments) -> Moments:
        """All moments, with those of some of the states replaced."""
        pairs = zip(self[1:], new[1:], strict=True)
        rest = (x if x is None or y is None else x.index_copy(0, rows, y) for x, y in pairs)
        return Moments(self.mean.index_copy(0, rows, new.mean), *rest)


class Interval(NamedTuple):
    """Intervals of time, one per state, in which the inputs c move linearly."""

    time: Tensor  #: float64 (n,), start times
    length: Tensor  #: float64 (n,), signed; a negative length runs backwards in time
    c0: Tensor  #: (n, k), the inputs at the start
    c1: Tensor  #: (n, k), the inputs at the end; the same tensor as c0 if they are constant

    def inputs_at(self, fraction: Tensor | float) -> Tensor:
        """The inputs after a fraction of the length, a number or ``(n,)``."""
        if self.c0 is self.c1:
            return self.c0
        weight = fraction.to(self.c0.dtype)[:, None] if isinstance(fraction, Tensor) else fraction
        return torch.lerp(self.c0, self.c1, weight)

    def rows(self, rows: Tensor) -> Interval:
        """The intervals of some of the states."""
        c0 = self.c0[rows]
        return Interval(self.time[rows], self.length[rows], c0, c0 if self.c0 is self.c1 else self.c1[rows])

    def part(self, begin: float, end: float) -> Interval:
        """The part of each interval between two fractions of its length."""
        c0 = self.inputs_at(begin)
        c1 = c0 if self.c0 is self.c1 else self.inputs_at(end)
        return Interval(self.time + begin * self.length, (end - begin) * self.length, c0, c1)

    def repeated(self, n: int) -> Interval:
        """The intervals of n copies of all states."""
        if n == 1:
            return self
        c0 = self.c0.repeat(n, 1)
        c1 = c0 if self.c0 is self.c1 else self.c1.repeat(n, 1)
        return Interval(self.time.repeat(n), self.length.repeat(n), c0, c1)


class MomentPropagator(Protocol):
    """Carries mean and covariance across an interval."""

    def advance(self, problem: Problem, start: Moments, interval: Interval) -> Moments:
        """The moments at the end of each interval.

        The covariance is None if the states are known exactly at the start and the equation has no diffusion. The
        transition matrix is tracked if ``start`` has one; ``start`` then needs a covariance.
        """
        ...
