"""Fixed-step methods of other packages, which know one step size and one time for a whole batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from skneuralde.solvers.base import Increments, Step
from skneuralde.solvers.equation import Equation
from skneuralde.solvers.fixed import FixedStepper
from skneuralde.solvers.march import Mesh


@dataclass(frozen=True)
class Stretch:
    """Consecutive steps of equal length, counted 0, 1, 2, ... so that every path has the same time and step.

    The equation in that time is ``du = h f ds + sqrt(h) g dB``, where B has unit increments over each step.

    Attributes
    ----------
    equation : Equation
    t : float64 Tensor of shape (n, 1)
        Where each path starts.
    h : float or Tensor of shape (n, 1)
    noise : list of Increments
        One per step; empty without noise.
    n_steps : int
    """

    equation: Equation
    t: Tensor
    h: Tensor | float
    noise: list[Increments]
    n_steps: int

    def time(self, s: Tensor) -> Tensor:
        """Each path's own time at the count ``s``, a scalar."""
        return self.t + s.double() * self.h


class ForeignStepper(FixedStepper):
    """A method that another package runs over stretches of equal steps.

    The mesh, the noise, the times wanted and the bounds on the work are those of our own fixed-step methods.
    """

    @abstractmethod
    def run(self, stretch: Stretch, u: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Make the steps: states (n_steps, n, dim) after each, and what to remember for the next stretch, (n, dim)."""

    def step(
        self,
        equation: Equation,
        t: Tensor,
        h: Tensor | float,
        u: Tensor,
        noise: Increments | None,
        state: Tensor | None,
    ) -> Step:
        """One step, as a stretch of its own."""
        states, memory = self.run(Stretch(equation, t, h, [] if noise is None else [noise], 1), u, state)
        return Step(states[0], state=memory)

    def states(
        self, equation: Equation, u0: Tensor, mesh: Mesh, noise: Iterator[Increments] | None
    ) -> Iterator[Tensor]:
        """State after each step of a mesh, for the paths that make it."""
        u, memory = u0 if mesh.order is None else u0[mesh.order], None
        for first, last in pairwise(_changes(mesh)):
            active = mesh.active[first]
            part = equation if mesh.order is None else equation.select(mesh.order[:active])
            drawn = [] if noise is None else [next(noise) for _ in range(first, last)]
            memory = None if memory is None else memory[:active]
            stretch = Stretch(part, mesh.t[first], mesh.h[first], drawn, last - first)
            states, memory = self.run(stretch, u[:active], memory)
            yield from states
            u = states[-1]


def _changes(mesh: Mesh) -> list[int]:
    """The steps at which the length or the number of paths changes, with the first and the end."""
    changes = [k for k in range(1, len(mesh.active)) if not _continues(mesh, k)]
    return [0, *changes, len(mesh.active)] if mesh.active else [0]


def _continues(mesh: Mesh, k: int) -> bool:
    """Whether step k is as long as the one before, for the same paths."""
    before, now = mesh.h[k - 1], mesh.h[k]
    if isinstance(before, Tensor) and isinstance(now, Tensor):
        return mesh.active[k] == mesh.active[k - 1] and torch.equal(before, now)
    return bool(before == now)
