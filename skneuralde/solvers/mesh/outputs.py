"""Which states along a mesh are wanted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.solvers.core.batch_order import rank
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step
from skneuralde.solvers.mesh.mesh import DenseOutput, Mesh, Stepper


class OutputRows(NamedTuple):
    """Rows of a step, in the mesh's order (None: all of them), and how far inside it (None: at its end)."""

    rows: Tensor | None = None
    theta: Tensor | None = None


class RequestedStates(ABC):
    """States along a mesh that are wanted, step by step.

    Attributes
    ----------
    places : dict of int to OutputRows
        By the number of the step. Whoever makes the steps keeps one tensor for each, in this order.
    """

    places: dict[int, OutputRows]

    @abstractmethod
    def pick(self, u0: Tensor, kept: list[Tensor]) -> Tensor:
        """The states in the order in which they were asked for, from the initial states and what was kept."""

    def keep(self, marcher: Stepper, k: int, before: Tensor, step: Step) -> Tensor:
        """What is wanted of step ``k``, given the states before it."""
        rows, theta = self.places[k]
        if rows is None:
            return step.u1
        if theta is None:
            return step.u1.index_select(0, rows)
        assert isinstance(marcher, DenseOutput)  # nobody else is asked for what lies inside a step
        stages = tuple(stage.index_select(0, rows) for stage in step.stages)
        interpolate = marcher.interpolate(theta, before.index_select(0, rows), stages)
        # The end of a step is behind the jumps there.
        return torch.where(theta < 1.0, interpolate, step.u1.index_select(0, rows))


class AllPathsAt(RequestedStates):
    """The states of all paths at some mesh points, which are counted from 0, the start; (batch, n_points, dim)."""

    def __init__(self, points: list[int]):
        self.points = points
        self.places = dict.fromkeys(sorted({point - 1 for point in points} - {-1}), OutputRows())

    def pick(self, u0: Tensor, kept: list[Tensor]) -> Tensor:
        states = {-1: u0, **dict(zip(self.places, kept, strict=True))}
        return torch.stack([states[point - 1] for point in self.points], 1)


class OneStatePerRow(RequestedStates):
    """One state per row: of a path at a mesh point, or inside the step that ends there; (n, dim).

    Parameters
    ----------
    point, path : int64 Tensor of shape (n,)
        Mesh points are counted from 0, the start.
    theta : float64 Tensor of shape (n, 1), optional
        How far inside the step, up to 1 at its end; then no point is the start.
    mesh : Mesh
    """

    def __init__(self, point: Tensor, path: Tensor, mesh: Mesh, theta: Tensor | None = None):
        self.path = path
        counts = torch.bincount(point, minlength=1).tolist()
        # Short numbers are sorted faster.
        self.order = (point.to(torch.int16) if len(counts) <= 2**15 else point).argsort(stable=True)
        row = path if mesh.order is None else rank(mesh.order)[path]
        rows = row[self.order].split(counts)
        interpolate = [None] * len(counts) if theta is None else theta[self.order].split(counts)
        self.at_start = counts[0]
        self.counts = counts
        self.places = {
            number - 1: OutputRows(rows[number], interpolate[number]) for number, n in enumerate(counts) if n and number
        }

    def pick(self, u0: Tensor, kept: list[Tensor]) -> Tensor:
        states = torch.cat([u0[self.path[self.order[: self.at_start]]], *kept])
        return torch.empty_like(states).index_copy_(0, self.order, states)

    def apart(self, rows: Tensor) -> list[Tensor]:
        """What belongs to each of `places`, of rows ``(n, ...)`` in the order in which they were asked for."""
        parts = rows[self.order].split(self.counts)
        return [parts[k + 1] for k in self.places]


def run(
    marcher: Stepper,
    rhs: RightHandSide,
    u: Tensor,
    mesh: Mesh,
    wanted: RequestedStates,
    *,
    first: int = 0,
    last: int | None = None,
    carry: Tensor | None = None,
) -> tuple[list[Tensor], Tensor, Tensor | None]:
    """Make steps of a mesh: what is wanted of each, and state and carry after the last one."""
    kept = []
    for k, before, step in marcher.march(rhs, u, mesh, first, len(mesh) if last is None else last, carry):
        if k in wanted.places:
            kept.append(wanted.keep(marcher, k, before, step))
        u, carry = step.u1, step.state
    return kept, u, carry
