"""Transitions: from a known state to a later time, through the inputs that act in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from skneuralde.inference.moments.local_linearisation import put_rows
from skneuralde.inference.moments.propagator import MomentPropagator
from skneuralde.problems import Problem


class TransitionSource(Protocol):
    """What transitions can be selected from: a list of them, or a record of series."""

    def __len__(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where everything is."""
        ...

    def select(self, items: Tensor) -> Transitions:
        """The transitions at these positions, in this order."""
        ...


@dataclass(frozen=True)
class Transitions:
    """A flat list of transitions; each passes through one or more segments, on which the inputs c move linearly.

    Attributes
    ----------
    state : Tensor of shape (n, dim)
        Where each transition starts.
    time : float64 Tensor of shape (n,)
        When it starts.
    offsets : int64 Tensor of shape (n + 1,)
        Segments ``offsets[i]:offsets[i + 1]`` belong to transition i.
    lengths : float64 Tensor of shape (n_segments,)
        Signed lengths of the segments; negative runs against time.
    c0, c1 : Tensor of shape (n_segments, k)
        The inputs at both ends of each segment.
    cov : Tensor of shape (n, dim, dim) or None
        Covariance of the state where each transition starts; None where it is known exactly.
    """

    state: Tensor
    time: Tensor
    offsets: Tensor
    lengths: Tensor
    c0: Tensor
    c1: Tensor
    cov: Tensor | None = None

    def __len__(self) -> int:
        return len(self.state)

    @property
    def device(self) -> torch.device:
        """Where everything is."""
        return self.state.device

    @property
    def horizon(self) -> Tensor:
        """Signed length of each transition, of shape (n,)."""
        total = torch.cat([self.lengths.new_zeros(1), self.lengths.cumsum(0)])
        return total[self.offsets[1:]] - total[self.offsets[:-1]]

    def select(self, items: Tensor) -> Transitions:
        """The transitions at these positions, in this order."""
        cov = None if self.cov is None else self.cov.index_select(0, items)
        if self.is_direct:
            return Transitions(
                self.state.index_select(0, items),
                self.time.index_select(0, items),
                torch.arange(len(items) + 1, device=items.device),
                self.lengths.index_select(0, items),
                *self._inputs_at(items),
                cov,
            )
        counts = self.offsets[items + 1] - self.offsets[items]
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        within = torch.arange(int(offsets[-1]), device=items.device) - offsets[:-1].repeat_interleave(counts)
        segments = self.offsets[items].repeat_interleave(counts) + within
        return Transitions(
            self.state[items], self.time[items], offsets, self.lengths[segments], *self._inputs_at(segments), cov
        )

    @property
    def is_direct(self) -> bool:
        """Whether every transition is a single segment."""
        return len(self.lengths) == len(self)

    def _inputs_at(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        c0 = self.c0.index_select(0, segments)
        return c0, c0 if self.c1 is self.c0 else self.c1.index_select(0, segments)

    def moments(self, problem: Problem, propagator: MomentPropagator) -> tuple[Tensor, Tensor | None]:
        """Mean (n, dim) and covariance (n, dim, dim) at each transition's end.

        There is no covariance without diffusion where the states are known exactly.
        """
        mean, cov, time = self.state, self.cov, self.time
        if len(self) and self.is_direct:
            return propagator.advance(problem, mean, cov, time, self.lengths, self.c0, self.c1)
        if cov is None and problem.diffusion is not None:
            cov = mean.new_zeros(len(mean), mean.shape[-1], mean.shape[-1])
        counts = self.offsets[1:] - self.offsets[:-1]
        for k in range(int(counts.max()) if len(self) else 0):
            rows = (counts > k).nonzero()[:, 0]
            segments = self.offsets[rows] + k
            length = self.lengths[segments]
            part = None if cov is None else cov[rows]
            moved = propagator.advance(
                problem, mean[rows], part, time[rows], length, self.c0[segments], self.c1[segments]
            )
            mean, cov = put_rows(mean, cov, rows, moved)
            time = time.index_copy(0, rows, time[rows] + length)
        return mean, cov

    def flow(self, problem: Problem, propagator: MomentPropagator) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and covariance at each transition's end, and the matrix (n, dim, dim) by which the latter is carried."""
        mean, cov, time = self.state, self.cov, self.time
        assert cov is not None  # whoever asks for the matrix has a covariance
        if len(self) and self.is_direct:
            return propagator.flow(problem, mean, cov, time, self.lengths, self.c0, self.c1)
        transition = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device).expand_as(cov)
        counts = self.offsets[1:] - self.offsets[:-1]
        for k in range(int(counts.max()) if len(self) else 0):
            rows = (counts > k).nonzero()[:, 0]
            segments = self.offsets[rows] + k
            length = self.lengths[segments]
            new_mean, new_cov, carried = propagator.flow(
                problem, mean[rows], cov[rows], time[rows], length, self.c0[segments], self.c1[segments]
            )
            mean, cov = mean.index_copy(0, rows, new_mean), cov.index_copy(0, rows, new_cov)
            transition = transition.index_copy(0, rows, carried @ transition[rows])
            time = time.index_copy(0, rows, time[rows] + length)
        return mean, cov, transition


def random_subset(transitions: TransitionSource, size: int, generator: torch.Generator) -> Transitions:
    """At most ``size`` of the transitions, drawn without replacement, in their order."""
    n = len(transitions)
    chosen = torch.arange(n) if n <= size else torch.randperm(n, generator=generator)[:size].sort().values
    return transitions.select(chosen.to(transitions.device))
