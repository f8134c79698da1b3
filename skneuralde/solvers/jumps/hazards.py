"""Hazards: the integrals of rates that have no bound, carried along as states."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from skneuralde.noise import PoissonProcesses
from skneuralde.solvers.core.right_hand_side import ProblemLike, RightHandSide, TimePoint


@dataclass(frozen=True)
class Hazards:
    """Structure of augmented states: ``dim`` states, then a hazard and a count of jumps for each of the ``channels``.

    The hazard of a channel is the integral of its rate since its last jump.
    """

    dim: int
    channels: tuple[int, ...]
    rtol: float  #: tolerance of the local error of a hazard, whose size is of order one
    accuracy: float  #: share of a hazard by which it may differ from its threshold where a path jumps
    leaping: tuple[bool, ...]  #: for each channel, whether all jumps of a step happen at its end (tau-leaping)

    @property
    def width(self) -> int:
        """Number of hazards and counts."""
        return 2 * len(self.channels)

    def augment(self, u: Tensor) -> Tensor:
        """Augmented states of paths that have not jumped yet."""
        return torch.cat([u, u.new_zeros(len(u), self.width)], 1)

    def tolerances(self, atol: Tensor) -> Tensor:
        """Absolute tolerances of augmented states."""
        return torch.cat([atol.expand(self.dim), atol.new_full((self.width,), self.rtol)])

    def state(self, u: Tensor) -> Tensor:
        """The states of the equation, ``(n, dim)``."""
        return u[:, : self.dim]

    def split(self, u: Tensor) -> tuple[Tensor, ...]:
        """States, hazards and counts."""
        return u.split([self.dim, len(self.channels), len(self.channels)], 1)

    def hazard(self, u: Tensor) -> Tensor:
        """The hazard of each channel, ``(n, n_channels)``."""
        return u[:, self.dim : self.dim + len(self.channels)]

    def number(self, u: Tensor) -> Tensor:
        """Number of the next jump of each channel, ``(n, n_channels)``."""
        return u[:, self.dim + len(self.channels) :].long()

    def threshold(self, poisson: PoissonProcesses, path: Tensor, u: Tensor) -> Tensor:
        """The value at which each hazard makes its channel jump, ``(n, n_channels)``."""
        number = self.number(u)
        columns = [poisson.gaps(k, path, number[:, i]) for i, k in enumerate(self.channels)]
        return torch.stack(columns, 1)

    def passed(self, u: Tensor, threshold: Tensor, chosen: Tensor) -> Tensor:
        """States after the ``chosen (n, n_channels)`` hazards have passed their thresholds: the next ones apply."""
        state, hazard, number = self.split(u)
        return torch.cat([state, hazard - torch.where(chosen, threshold, 0.0).to(u.dtype), number + chosen], 1)


class AugmentedRightHandSide(RightHandSide):
    """Right-hand side of augmented states: the states of an equation, then their hazards and counts of jumps.

    No noise moves hazards and counts, and the drift of a hazard is its rate. A jump resets the hazard of its channel
    and adds to the count, except for channels that leap.
    """

    def __init__(self, rhs: RightHandSide, hazards: Hazards):
        super().__init__(rhs.problem, rhs.context, rhs.lower, rhs.upper, rhs.segments)
        self.counter, self.hazards = rhs.counter, hazards
        self._drift = partial(_drift_and_rates, rhs.problem, hazards)

    def state(self, u: Tensor) -> Tensor:
        return self.hazards.state(u)

    @property
    def field(self) -> None:
        return None

    def pattern(self, dim: int) -> None:
        return None

    def diffusion(self, now: TimePoint, u: Tensor) -> Tensor:
        g = super().diffusion(now, self.state(u))
        return torch.cat([g, g.new_zeros(len(g), self.hazards.width, *g.shape[2:])], 1)

    def linearized_diffusion(self, now: TimePoint, u: Tensor) -> tuple[Tensor, Tensor]:
        g, slope = super().linearized_diffusion(now, self.state(u))
        nothing = g.new_zeros(len(g), self.hazards.width, *g.shape[2:])
        padded = slope.new_zeros(*torch.cat([g, nothing], 1).shape, u.shape[1])
        padded[:, : slope.shape[1], ..., : slope.shape[-1]] = slope
        return torch.cat([g, nothing], 1), padded

    def rate(self, channel: int, now: TimePoint, u: Tensor) -> Tensor:
        return super().rate(channel, now, self.state(u))

    def affect(self, channel: int, now: TimePoint, u: Tensor, marks: Tensor) -> Tensor:
        state, hazard, number = self.hazards.split(u)
        after = super().affect(channel, now, state, marks)
        slots = [i for i, k in enumerate(self.hazards.channels) if k == channel and not self.hazards.leaping[i]]
        if slots:
            own = torch.zeros_like(hazard[:1])
            own[:, slots] = 1.0
            hazard, number = hazard * (1.0 - own), number + own
        return torch.cat([after, hazard, number], 1)


def _drift_and_rates(problem: ProblemLike, hazards: Hazards, t: Tensor, u: Tensor, c: Tensor | None) -> Tensor:
    """Drift of augmented states; rates below zero, which `RateCheck` judges at the ends of steps, count as zero."""
    state = hazards.state(u)
    rates = torch.stack([problem.jumps[k].rate(t, state, c) for k in hazards.channels], 1)
    return torch.cat([problem.drift(t, state, c), rates.clamp_min(0.0), torch.zeros_like(rates)], 1)
