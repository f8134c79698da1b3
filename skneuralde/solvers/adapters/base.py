"""Fixed-step methods of other packages, which know one step size and one time for a whole batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.right_hand_side import RightHandSide, TimePoint
from skneuralde.solvers.core.stepper import Step
from skneuralde.solvers.mesh.mesh import Mesh
from skneuralde.solvers.stepping.fixed import FixedStepper


@dataclass(frozen=True)
class StepRun:
    """Consecutive steps of equal length, counted 0, 1, 2, ... so that every path has the same time and step.

    The equation in that time is ``du = h f ds + sqrt(h) g dB``, where B has unit increments over each step.

    Attributes
    ----------
    equation : RightHandSide
    t : float64 Tensor of shape (n, 1)
        Where each path starts.
    h : float or Tensor of shape (n, 1)
    noise : list of Increments
        One per step; empty without noise.
    n_steps : int
    """

    rhs: RightHandSide
    t: Tensor
    h: Tensor | float
    noise: list[Increments]
    n_steps: int

    def time_point(self, s: Tensor) -> TimePoint:
        """Each path's own time at the count ``s``, a scalar in the dtype of the state."""
        return self.rhs.at(self.t + s.double() * self.h, s.dtype)


class BackendStepper(FixedStepper):
    """A method that another package runs over stretches of equal steps.

    The mesh, the noise, the times wanted and the bounds on the work are those of our own fixed-step methods.
    """

    has_own_march = True

    @abstractmethod
    def run(self, stretch: StepRun, u: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Make the steps: states (n_steps, n, dim) after each, and what to remember for the next stretch, (n, dim)."""

    def step(
        self,
        rhs: RightHandSide,
        t: Tensor,
        h: Tensor | float,
        u: Tensor,
        noise: Increments | None,
        state: Tensor | None,
    ) -> Step:
        """One step, as a stretch of its own."""
        states, memory = self.run(StepRun(rhs, t, h, [] if noise is None else [noise], 1), u, state)
        return Step(states[0], state=memory)

    def march(
        self, rhs: RightHandSide, u: Tensor, mesh: Mesh, first: int, last: int, carry: Tensor | None
    ) -> Iterator[tuple[int, Tensor, Step]]:
        for begin, steps in _stretches(mesh, first, last):
            active, (t, h, _) = mesh.active[begin], steps[0]
            noise = [noise for *_, noise in steps if noise is not None]
            stretch = StepRun(mesh.part(rhs, active), t, h, noise, len(steps))
            states, memory = self.run(stretch, u[:active], None if carry is None else carry[:active])
            for k, (state, (t, h, _)) in enumerate(zip(states, steps, strict=True), begin):
                # What is remembered belongs to the stretch's end.
                step = Step(state, state=memory if k == begin + len(steps) - 1 else None)
                if mesh.landings is not None:
                    step = mesh.landings.after(k, self, stretch.rhs, t + h, step)
                yield k, u[:active], step
                u, carry = step.u1, step.state


_Steps = list[tuple[Tensor, Tensor | float, Increments | None]]


def _stretches(mesh: Mesh, first: int, last: int) -> Iterator[tuple[int, _Steps]]:
    """Steps of equal length of the same paths, inside which none jumps, with the number of the first of them."""
    begin, stretch = first, _Steps()
    jumped = () if mesh.landings is None else mesh.landings.places
    for k, step in enumerate(mesh.steps(first, last), first):
        if stretch and (k - 1 in jumped or not _is_same(stretch[-1][1], step[1])):
            yield begin, stretch
            begin, stretch = k, _Steps()
        stretch.append(step)
    if stretch:
        yield begin, stretch


def _is_same(before: Tensor | float, now: Tensor | float) -> bool:
    """Whether a step is as long as the one before, for the same paths."""
    if isinstance(before, Tensor) and isinstance(now, Tensor):
        return torch.equal(before, now)
    return bool(before == now)
