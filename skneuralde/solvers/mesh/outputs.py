"""Requested states along a mesh."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde._transforms import twice_differentiated
from skneuralde.solvers.core.batch_order import rank
from skneuralde.solvers.core.dense_output import DenseOutput
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step, Stepper
from skneuralde.solvers.mesh.mesh import Mesh, walk


class OutputRows(NamedTuple):
    """Rows of a step, in the mesh's order (None: all of them), and fractions of the step (None: its end)."""

    rows: Tensor | None = None
    theta: Tensor | None = None


class RequestedStates(ABC):
    """States along a mesh that were requested."""

    places: dict[int, OutputRows]  #: by the number of the step; one tensor is kept for each, in this order

    @abstractmethod
    def pick(self, u0: Tensor, kept: list[Tensor]) -> Tensor:
        """The states in the order of the request, from the initial states and those that were kept."""

    def keep(self, stepper: Stepper, k: int, before: Tensor, step: Step) -> Tensor:
        """The requested states of step ``k``, given the states before it."""
        rows, theta = self.places[k]
        if rows is None:
            return step.u1
        if theta is None:
            return step.u1.index_select(0, rows)
        assert isinstance(stepper, DenseOutput)  # only then are states inside steps requested
        stages = tuple(stage.index_select(0, rows) for stage in step.stages)
        inside = stepper.interpolate(theta, before.index_select(0, rows), stages)
        # The end of a step comes after the jumps there.
        return torch.where(theta < 1.0, inside.to(step.u1.dtype), step.u1.index_select(0, rows))


class AllPathsAt(RequestedStates):
    """The states of all paths at some mesh points, counted from 0 at the start; (batch, n_points, dim)."""

    def __init__(self, points: list[int]):
        self.points = points
        self.places = dict.fromkeys(sorted({point - 1 for point in points} - {-1}), OutputRows())

    def pick(self, u0: Tensor, kept: list[Tensor]) -> Tensor:
        states = {-1: u0, **dict(zip(self.places, kept, strict=True))}
        return torch.stack([states[point - 1] for point in self.points], 1)


class OneStatePerRow(RequestedStates):
    """One state per row, of a path (n,) at a mesh point (n,) or inside the step that ends there; (n, dim).

    Mesh points are counted from 0 at the start. ``theta (n, 1)`` is a fraction of the step, 1 at its end; with it no
    point is the start.
    """

    def __init__(self, point: Tensor, path: Tensor, mesh: Mesh, theta: Tensor | None = None):
        self.path = path
        counts = torch.bincount(point, minlength=1).tolist()
        # Short numbers are sorted faster.
        self.permutation = (point.to(torch.int16) if len(counts) <= 2**15 else point).argsort(stable=True)
        row = path if mesh.permutation is None else rank(mesh.permutation)[path]
        rows = row[self.permutation].split(counts)
        inside = [None] * len(counts) if theta is None else theta[self.permutation].split(counts)
        self.at_start = counts[0]
        self.counts = counts
        self.places = {
            number - 1: OutputRows(rows[number], inside[number]) for number, n in enumerate(counts) if n and number
        }

    def pick(self, u0: Tensor, kept: list[Tensor]) -> Tensor:
        states = torch.cat([u0[self.path[self.permutation[: self.at_start]]], *kept])
        return torch.empty_like(states).index_copy_(0, self.permutation, states)

    def split(self, rows: Tensor) -> list[Tensor]:
        """Rows ``(n, ...)`` in the order of the request, split by `places`."""
        parts = rows[self.permutation].split(self.counts)
        return [parts[k + 1] for k in self.places]


class Replay(NamedTuple):
    """The steps of a mesh, which can be made any number of times, and the states that are requested along it."""

    stepper: Stepper
    rhs: RightHandSide
    mesh: Mesh
    outputs: RequestedStates

    def run(
        self, u: Tensor, solver_state: Tensor | None = None, *, first: int = 0, last: int | None = None
    ) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """Make steps: the requested states of each, and the state and solver state after the last one."""
        stepper, rhs, mesh, outputs = self
        kept = []
        last = len(mesh) if last is None else last
        for k, before, step in walk(stepper, rhs, u, mesh, first, last, solver_state):
            if k in outputs.places:
                kept.append(outputs.keep(stepper, k, before, step))
            u, solver_state = step.u1, step.solver_state
        return kept, u, solver_state

    def differentiable_gradient(
        self, u: Tensor, dependencies: Sequence[Tensor], slopes: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Gradient in the initial states and the dependencies, from those of the requested states, with a graph.

        It can be differentiated again. The graph of all steps is held, whatever the gradient mode.
        """
        with twice_differentiated():
            ends = self.run(u)[0]
        pairs = [(end, slope) for end, slope in zip(ends, slopes, strict=True) if end.requires_grad]
        sources = [x for x in (u, *dependencies) if x.requires_grad]
        if not pairs or not sources:
            return [None] * (1 + len(dependencies))
        differentiable, along = zip(*pairs, strict=True)
        found = iter(torch.autograd.grad(differentiable, sources, along, create_graph=True, allow_unused=True))
        return [next(found) if x.requires_grad else None for x in (u, *dependencies)]
