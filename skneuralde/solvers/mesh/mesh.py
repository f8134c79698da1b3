"""Meshes: steps that are known in advance, as fixed steps are, and the accepted steps of an adaptive method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Protocol

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.right_hand_side import RightHandSide, TimePoint
from skneuralde.solvers.core.stepper import Step, StepInput, Stepper

#: Start, (active[k], 1), signed length, of the same shape or one for all, and noise of the steps ``first`` to
#: ``last - 1`` of a mesh, for the paths that make them; the same at every call.
MeshSteps = Callable[[int, int], Iterator[tuple[Tensor, Tensor | float, Increments | None]]]

#: The noise of these steps alone.
MeshNoise = Callable[[int, int], Iterator[Increments]]

#: Steps whose times are unbound at once.
_CHUNK = 512


class MeshStepEnds(Protocol):
    """Acts on paths at the ends of the steps of a mesh."""

    places: dict  #: its keys are the steps with something at their end

    def after(self, k: int, stepper: Stepper, rhs: RightHandSide, t: Tensor, step: Step) -> Step:
        """Step ``k``, which ends at times ``t``, after everything that happens at its end."""


@dataclass(frozen=True)
class Mesh:
    """The steps of every path; paths with more steps come first, so that those still under way are the first ones."""

    steps: MeshSteps
    active: list[int]  #: number of paths that make each step
    permutation: (
        Tensor | None
    )  #: int64 (batch,), order of the paths; None for the batch's own, then all make every step
    step_ends: tuple[MeshStepEnds, ...] = ()  #: act in turn: jumps, then restarts

    @classmethod
    def shared(cls, t: Tensor, h: Tensor, batch: int, noise: MeshNoise | None) -> Mesh:
        """The same steps for all paths, from ``t`` and ``h`` of shape (n_steps,)."""

        def times(first: int, last: int) -> Iterator[tuple[Tensor, float]]:
            starts = t[first:last, None, None].expand(-1, batch, 1)
            return zip(starts, h[first:last].tolist(), strict=True)

        return cls(_with_noise(times, noise), [batch] * len(t), None)

    @classmethod
    def ragged(cls, t: Tensor, h: Tensor, permutation: Tensor, active: list[int], noise: MeshNoise | None) -> Mesh:
        """Steps of every path, (batch, n_steps) padded on the right; the first ``active[k]`` paths make step k."""
        t, h = t[permutation, : len(active)], h[permutation, : len(active)]

        def times(first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
            for begin in range(first, last, _CHUNK):
                part = slice(begin, min(begin + _CHUNK, last))
                starts, lengths = (x[:, part, None].unbind(1) for x in (t, h))
                for n, start, length in zip(active[part], starts, lengths, strict=True):
                    yield start[:n], length[:n]

        return cls(_with_noise(times, noise), active, permutation)

    def __len__(self) -> int:
        return len(self.active)

    def sorted(self, rows: Tensor) -> Tensor:
        """Rows of the batch in the mesh's order of paths."""
        return rows if self.permutation is None else rows[self.permutation]

    def part(self, rhs: RightHandSide, active: int) -> RightHandSide:
        """The right-hand side of the first ``active`` paths."""
        return rhs if self.permutation is None else rhs.select(self.permutation[:active])


def _with_noise(
    times: Callable[[int, int], Iterator[tuple[Tensor, Tensor | float]]], noise: MeshNoise | None
) -> MeshSteps:
    def steps(first: int, last: int) -> Iterator[tuple[Tensor, Tensor | float, Increments | None]]:
        increments = repeat(None) if noise is None else noise(first, last)
        for (t, h), increment in zip(times(first, last), increments, strict=False):
            yield t, h, increment

    return steps


@dataclass(frozen=True)
class StepRun:
    """Consecutive steps of equal length, counted 0, 1, 2, ... so that every path has the same time and step.

    The equation in that time is ``du = h f ds + sqrt(h) g dB``, where B has unit increments over each step.
    """

    rhs: RightHandSide
    t: Tensor  #: float64 (n, 1), initial time of each path
    h: Tensor | float  #: (n, 1), or one for all
    noise: list[Increments]  #: one per step; empty without noise
    n_steps: int

    def time_point(self, s: Tensor) -> TimePoint:
        """Each path's own time at the count ``s`` of steps, a scalar in the dtype of the state."""
        t = self.t + s.double() * self.h
        return self.rhs.during(self.t, self.n_steps * self.h, t[None], s.dtype)[0]


class RunStepper(Stepper):
    """A method that makes consecutive steps of equal length in one call."""

    @abstractmethod
    def run(self, run: StepRun, u: Tensor, solver_state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Make the steps: states (n_steps, n, dim) after each, and the solver state (n, dim) after the last."""

    def step(self, inputs: StepInput) -> Step:
        """One step, as a run of its own."""
        rhs, t, h, u, noise, solver_state = inputs
        states, solver_state = self.run(StepRun(rhs, t, h, [] if noise is None else [noise], 1), u, solver_state)
        return Step(states[0], solver_state=solver_state)


def walk(
    stepper: Stepper, rhs: RightHandSide, u: Tensor, mesh: Mesh, first: int, last: int, solver_state: Tensor | None
) -> Iterator[tuple[int, Tensor, Step]]:
    """Make the steps ``first`` to ``last - 1`` of a mesh; yields the number, the state before, and the step.

    A step ends after the jumps at its end. ``u`` and ``solver_state`` belong to the paths that make step ``first``, or
    to more, in the mesh's order.
    """
    if isinstance(stepper, RunStepper):
        yield from _walk_runs(stepper, rhs, u, mesh, first, last, solver_state)
        return
    rows = -1
    for k, (t, h, noise) in enumerate(mesh.steps(first, last), first):
        active = mesh.active[k]
        if active != rows:
            rows, u, part = active, u[:active], mesh.part(rhs, active)
            solver_state = None if solver_state is None else solver_state[:active]
        step = stepper.step(StepInput(part, t, h, u, noise, solver_state))
        for ends in mesh.step_ends:
            step = ends.after(k, stepper, part, t + h, step)
        yield k, u, step
        u, solver_state = step.u1, step.solver_state


def _walk_runs(
    stepper: RunStepper, rhs: RightHandSide, u: Tensor, mesh: Mesh, first: int, last: int, solver_state: Tensor | None
) -> Iterator[tuple[int, Tensor, Step]]:
    for begin, steps in _runs(mesh, first, last):
        active, (t, h, _) = mesh.active[begin], steps[0]
        noise = [noise for *_, noise in steps if noise is not None]
        run = StepRun(mesh.part(rhs, active), t, h, noise, len(steps))
        states, end_state = stepper.run(run, u[:active], None if solver_state is None else solver_state[:active])
        for k, (state, (t, h, _)) in enumerate(zip(states, steps, strict=True), begin):
            # The solver state is that of the run's end.
            step = Step(state, solver_state=end_state if k == begin + len(steps) - 1 else None)
            for ends in mesh.step_ends:
                step = ends.after(k, stepper, run.rhs, t + h, step)
            yield k, u[:active], step
            u, solver_state = step.u1, step.solver_state


_Steps = list[tuple[Tensor, Tensor | float, Increments | None]]


def _runs(mesh: Mesh, first: int, last: int) -> Iterator[tuple[int, _Steps]]:
    """Steps of equal length of the same paths, without a jump or stop in between, and the number of the first."""
    begin, run = first, _Steps()
    jumped = set().union(*(ends.places for ends in mesh.step_ends))
    for k, step in enumerate(mesh.steps(first, last), first):
        if run and (k - 1 in jumped or not _is_same(run[-1][1], step[1])):
            yield begin, run
            begin, run = k, _Steps()
        run.append(step)
    if run:
        yield begin, run


def _is_same(before: Tensor | float, now: Tensor | float) -> bool:
    """Whether a step is as long as the one before, for the same paths."""
    if isinstance(before, Tensor) and isinstance(now, Tensor):
        return torch.equal(before, now)
    return bool(before == now)
