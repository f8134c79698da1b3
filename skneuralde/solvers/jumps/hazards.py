"""Rates without a bound: their integrals since the last jumps, the hazards, are carried as states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from skneuralde.noise import Clocks
from skneuralde.problems import Jump, Problem
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.terms import Affect, Constant, Term


@dataclass(frozen=True)
class Hazards:
    """What paths carry behind their ``dim`` states: a hazard and a count of jumps for each of the ``channels``.

    Attributes
    ----------
    dim : int
    channels : tuple of int
    rtol : float
        The local error that is allowed of a hazard; they are compared with numbers of size one.
    accuracy : float
        How close to its threshold a hazard counts as having reached it.
    leaping : tuple of bool
        Of each channel, whether what its hazard has passed in a step happens at the step's end.
    """

    dim: int
    channels: tuple[int, ...]
    rtol: float
    accuracy: float
    leaping: tuple[bool, ...]

    @property
    def width(self) -> int:
        """Numbers carried."""
        return 2 * len(self.channels)

    def carry(self, rhs: RightHandSide) -> RightHandSide:
        """The equation of states with what they carry."""
        rhs.counter.depends_on_time = True  # what was noticed of the drift says nothing of the rates
        return RightHandSide(self._problem(rhs), rhs.context, rhs.lower, rhs.upper, rhs.counter)

    def begin(self, u: Tensor) -> Tensor:
        """States that have not jumped yet, with what they carry."""
        return torch.cat([u, u.new_zeros(len(u), self.width)], 1)

    def tolerated(self, atol: Tensor) -> Tensor:
        """Absolute tolerances of states and of all that they carry."""
        return torch.cat([atol.expand(self.dim), atol.new_full((self.width,), self.rtol)])

    def hazard(self, u: Tensor) -> Tensor:
        """Of each channel, ``(n, n_channels)``."""
        return u[:, self.dim : self.dim + len(self.channels)]

    def number(self, u: Tensor) -> Tensor:
        """Of the jump that each channel waits for, ``(n, n_channels)``."""
        return u[:, self.dim + len(self.channels) :].long()

    def threshold(self, clocks: Clocks, path: Tensor, u: Tensor) -> Tensor:
        """What each hazard waits for, ``(n, n_channels)``."""
        number = self.number(u)
        columns = [clocks.gaps(k, path, number[:, i]) for i, k in enumerate(self.channels)]
        return torch.stack(columns, 1)

    def passed(self, u: Tensor, threshold: Tensor, chosen: Tensor) -> Tensor:
        """States whose ``chosen (n, n_channels)`` hazards have passed their thresholds and wait for the next ones."""
        state, hazard, number = u.split([self.dim, len(self.channels), len(self.channels)], 1)
        return torch.cat([state, hazard - torch.where(chosen, threshold, 0.0).to(u.dtype), number + chosen], 1)

    def _problem(self, rhs: RightHandSide) -> Problem:
        problem = cast(Problem, rhs.problem)
        rates = [problem.jumps[k].rate for k in self.channels]
        diffusion = None if problem.diffusion is None else _Undisturbed(problem.diffusion, self)
        slots = {k: i for i, k in enumerate(self.channels) if not self.leaping[i]}
        jumps = [_Carrying(jump, self, slots.get(k)) for k, jump in enumerate(problem.jumps)]
        drift = _Accumulating(problem.drift, rates, self)
        return Problem(drift, diffusion, jumps=jumps, noise=problem.noise, calculus=problem.calculus)


class _Accumulating(Term):
    """Drift of states and hazards."""

    def __init__(self, drift: Term, rates: Sequence[Term], hazards: Hazards):
        super().__init__()
        self.drift, self.rates, self.hazards = drift, nn.ModuleList(rates), hazards

    def forward(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        state = u[:, : self.hazards.dim]
        rates = torch.stack([rate(t, state, c) for rate in self.rates], 1)
        return torch.cat([self.drift(t, state, c), rates, torch.zeros_like(rates)], 1)


class _Undisturbed(Term):
    """A diffusion that leaves hazards alone."""

    def __init__(self, diffusion: Term, hazards: Hazards):
        super().__init__()
        self.diffusion, self.hazards = diffusion, hazards
        self.state_dependent = diffusion.state_dependent

    def forward(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        g = self.diffusion(t, u[:, : self.hazards.dim], c)
        return torch.cat([g, g.new_zeros(len(g), self.hazards.width, *g.shape[2:])], 1)


class _Carrying(Jump):
    """A jump of states with what they carry; that of its own ``slot``, if it has one, starts anew."""

    def __init__(self, jump: Jump, hazards: Hazards, slot: int | None):
        super().__init__(0.0, 0.0, bound=jump.bound, leap=jump.leap)
        self.jump, self.hazards = jump, hazards
        self.rate = jump.rate if isinstance(jump.rate, Constant) else _OfState(jump.rate, hazards)
        self.affect = _Resetting(jump.affect, hazards, slot)

    def draw(self, normals: Tensor) -> Tensor:
        return self.jump.draw(normals[:, : self.hazards.dim])

    def check_rate(self, rate: Tensor, t: Tensor, u: Tensor, *, name: str) -> None:
        self.jump.check_rate(rate, t, u[:, : self.hazards.dim], name=name)


class _OfState(Term):
    def __init__(self, rate: Term, hazards: Hazards):
        super().__init__()
        self.rate, self.hazards = rate, hazards

    def forward(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        return self.rate(t, u[:, : self.hazards.dim], c)


class _Resetting(Affect):
    def __init__(self, affect: Affect, hazards: Hazards, slot: int | None):
        super().__init__()
        self.affect, self.hazards, self.slot = affect, hazards, slot
        self.uses_marks = affect.uses_marks

    def forward(self, t: Tensor, u: Tensor, c: Tensor | None, z: Tensor) -> Tensor:
        dim, n = self.hazards.dim, len(self.hazards.channels)
        carried = u[:, dim:]
        if self.slot is not None:
            kept, counted = torch.ones_like(carried[:1]), torch.zeros_like(carried[:1])
            kept[:, self.slot], counted[:, n + self.slot] = 0.0, 1.0
            carried = carried * kept + counted
        return torch.cat([self.affect(t, u[:, :dim], c, z), carried], 1)
