"""Requested states along a mesh."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.solvers.core.batch_order import rank
from skneuralde.solvers.core.dense_output import DenseOutput
from skneuralde.solvers.core.stepper import Step, Stepper
from skneuralde.solvers.mesh.mesh import Mesh


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
