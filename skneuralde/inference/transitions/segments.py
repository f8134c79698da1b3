"""Transitions: from a known state to a later time, with the inputs in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from skneuralde.inference.moments.propagator import Interval, MomentPropagator, Moments
from skneuralde.problems import Problem


class TransitionSource(Protocol):
    """A collection of transitions that can be selected by position."""

    def __len__(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """The device of all tensors."""
        ...

    def select(self, items: Tensor) -> Transitions:
        """The transitions at these positions, in this order."""
        ...


@dataclass(frozen=True)
class Transitions:
    """A flat list of transitions. Each has one or more segments, on which the inputs c move linearly."""

    state: Tensor  #: (n, dim), the state at the start of each transition
    time: Tensor  #: float64 (n,), the start times
    offsets: Tensor  #: int64 (n + 1,), segments ``offsets[i]:offsets[i + 1]`` belong to transition i
    lengths: Tensor  #: float64 (n_segments,), signed; a segment of negative length runs backwards in time
    c0: Tensor  #: (n_segments, k), the inputs at the start of each segment
    c1: Tensor  #: (n_segments, k), the inputs at its end
    cov: Tensor | None = None  #: (n, dim, dim), covariance of the state at the start; None if it is known exactly

    def __len__(self) -> int:
        return len(self.state)

    @property
    def device(self) -> torch.device:
        """The device of all tensors."""
        return self.state.device

    @property
    def horizon(self) -> Tensor:
        """Signed length of each transition, of shape (n,)."""
        total = torch.cat([self.lengths.new_zeros(1), self.lengths.cumsum(0)])
        return total[self.offsets[1:]] - total[self.offsets[:-1]]

    @property
    def is_direct(self) -> bool:
        """Whether every transition is a single segment."""
        return len(self.lengths) == len(self)

    def select(self, items: Tensor) -> Transitions:
        """The transitions at these positions, in this order."""
        if self.is_direct:
            offsets, segments = torch.arange(len(items) + 1, device=items.device), items
        else:
            offsets, segments = consecutive(self.offsets[items], self.offsets[items + 1])
        c0 = self.c0.index_select(0, segments)
        return Transitions(
            self.state.index_select(0, items),
            self.time.index_select(0, items),
            offsets,
            self.lengths.index_select(0, segments),
            c0,
            c0 if self.c1 is self.c0 else self.c1.index_select(0, segments),
            None if self.cov is None else self.cov.index_select(0, items),
        )

    def moments(self, problem: Problem, propagator: MomentPropagator) -> tuple[Tensor, Tensor | None]:
        """Mean (n, dim) and covariance (n, dim, dim) at each transition's end.

        The covariance is None without diffusion if the states are known exactly.
        """
        mean, cov, _ = self._propagate(problem, propagator, Moments(self.state, self.cov))
        return mean, cov

    def moments_and_matrix(self, problem: Problem, propagator: MomentPropagator) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and covariance at each transition's end, and the transition matrix (n, dim, dim); needs ``cov``."""
        assert self.cov is not None
        unit = torch.eye(self.state.shape[-1], dtype=self.state.dtype, device=self.device).expand_as(self.cov)
        mean, cov, matrix = self._propagate(problem, propagator, Moments(self.state, self.cov, unit))
        assert cov is not None
        assert matrix is not None
        return mean, cov, matrix

    def _propagate(self, problem: Problem, propagator: MomentPropagator, moments: Moments) -> Moments:
        if len(self) and self.is_direct:
            return propagator.advance(problem, moments, Interval(self.time, self.lengths, self.c0, self.c1))
        if not len(self) and problem.diffusion is not None:
            return moments._replace(cov=self.state.new_zeros(0, *2 * self.state.shape[1:]))
        time, counts = self.time, self.offsets.diff()
        for k in range(int(counts.max()) if len(self) else 0):
            rows = (counts > k).nonzero()[:, 0]  # all of them first
            segments = self.offsets[rows] + k
            length = self.lengths[segments]
            interval = Interval(time[rows], length, self.c0[segments], self.c1[segments])
            moved = propagator.advance(problem, moments.rows(rows) if k else moments, interval)
            moments = moments.with_rows(rows, moved) if k else moved
            time = time.index_copy(0, rows, time[rows] + length)
        return moments


def consecutive(first: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets (n + 1,) of n groups of positions ``first[i], ..., stop[i] - 1``, and all of these positions."""
    counts = (stop - first).long()
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    within = torch.arange(int(offsets[-1]), device=first.device) - offsets[:-1].repeat_interleave(counts)
    return offsets, first.repeat_interleave(counts) + within


def random_subset(transitions: TransitionSource, size: int, generator: torch.Generator) -> Transitions:
    """At most ``size`` of the transitions, drawn without replacement, in their order."""
    n = len(transitions)
    chosen = torch.arange(n) if n <= size else torch.randperm(n, generator=generator)[:size].sort().values
    return transitions.select(chosen.to(transitions.device))
