"""What fixed steps have to do: which steps to make, and where to find the times wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.solvers.mesh.grid_snapping import snapped
from skneuralde.solvers.mesh.split_cells import SplitCells

#: A number of cells that nobody steps through.
_FAR = 2.0**52


class PartialCells(NamedTuple):
    """Steps that are parts of a cell, row by row and in order; all of shape (n,), positions in cells."""

    row: Tensor
    step: Tensor
    begin: Tensor
    end: Tensor

    def where(self, chosen: Tensor) -> PartialCells:
        """Some of them."""
        return PartialCells(*(column[chosen] for column in self))


@dataclass(frozen=True)
class StepSchedule:
    """Which steps paths make; lengths are counted in cells.

    Attributes
    ----------
    cuts : SplitCells
        Rows are paths, or there is one for all.
    count : int64 Tensor of shape (rows,)
        Steps to make.
    first : int64 Tensor of shape (rows,)
        The mesh point at which each path begins, which is its number 0.
    """

    cuts: SplitCells
    count: Tensor
    first: Tensor

    @classmethod
    def through(cls, points: Tensor, count: Tensor) -> StepSchedule:
        """By ``count (rows,)`` steps through points (rows, n), padded with infinity, that leave no cell's end out."""
        furthest = int(torch.where(points.isfinite(), points, 0.0).max()) + points.shape[1]
        cuts, begin = SplitCells.make(points, furthest), points[:, :1].contiguous()
        return cls(cuts, count, (begin.floor().long() + cuts.before(begin))[:, 0])

    def step_to(self, position: Tensor) -> Tensor:
        """The steps that end at positions (rows, m), which are mesh points; -1 for the start and what lies before."""
        cell = position.clamp_max(_FAR).floor().long()
        return (cell + self.cuts.before(position) - self.first[:, None] - 1).clamp_min(-1)

    def cell(self, point: Tensor) -> Tensor:
        """The cell in which each of the mesh points (rows, m) lies, or that it begins."""
        return self.cuts.cell(point + self.first[:, None])

    def place(self, point: Tensor) -> Tensor:
        """The positions of mesh points (rows, m)."""
        return self.cuts.place(point + self.first[:, None])

    @cached_property
    def parts(self) -> PartialCells:
        """The steps that are shorter than a cell."""
        row, column = self.cuts.position.isfinite().nonzero(as_tuple=True)
        end, point = self.cuts.position[row, column], self.cuts.point[row, column]
        cell = end.floor()
        follows = torch.zeros_like(row, dtype=torch.bool)
        follows[1:] = (row[1:] == row[:-1]) & (cell[1:] == cell[:-1])
        is_last = torch.ones_like(follows)
        is_last[:-1] = ~follows[1:]
        # A cut ends a part, from the cut before it in the same cell or else from where the cell begins; the last one
        # in a cell begins one, too.
        columns = [
            (row, row),
            (point - 1, point),
            (torch.where(follows, end.roll(1), cell), end),
            (end, cell + 1.0),
        ]
        parts = PartialCells(*(torch.stack(pair, 1).flatten() for pair in columns))
        parts = parts._replace(step=parts.step - self.first[parts.row])
        is_part = torch.stack([torch.ones_like(is_last), is_last], 1).flatten()
        return parts.where((is_part & (parts.step >= 0) & (parts.step < self.count[parts.row])).nonzero()[:, 0])

    @property
    def shortest(self) -> Tensor:
        """Of each row the shortest step, (rows,); infinity without any."""
        row, _, begin, end = self.parts
        n_parts = torch.bincount(row, minlength=len(self.count))
        whole = torch.where(self.count > n_parts, 1.0, torch.inf).double()
        return whole.scatter_reduce(0, row, end - begin, "amin")


@dataclass(frozen=True)
class GridSchedule(StepSchedule):
    """Which steps to make and where to find the times wanted.

    Attributes
    ----------
    state : int64 Tensor of shape (rows, n_times)
        The mesh point at each time, or before it.
    rest : float64 Tensor of shape (rows, n_times)
        From there to the time; 0 where the time is never reached.
    is_wanted : bool Tensor of shape (rows, n_times)
        False where the times only pad.
    """

    state: Tensor
    rest: Tensor
    is_wanted: Tensor

    @classmethod
    def make(cls, position: Tensor, *, aside: bool, max_steps: int, stops: Tensor | None = None) -> GridSchedule:
        """From the times wanted, (rows, n_times), and more times to stop at, (rows, n), in cells from the start.

        The latter are `snapped` already.
        """
        is_wanted = position.isfinite()
        position = snapped(torch.where(is_wanted, position, 0.0))
        whole = position.floor()
        rows = len(position) if stops is None else max(len(position), len(stops))
        inside = position[:, :0] if aside or bool((position == whole).all()) else position
        every = [x.expand(rows, -1) for x in (inside, stops) if x is not None]
        cuts = SplitCells.make(torch.cat(every, 1), max_steps + 1)
        passed = cuts.before(position.expand(rows, -1).contiguous())
        state = whole.clamp_max(max_steps + 1).long() + passed
        count = whole.amax(-1).clamp_max(max_steps + 1).long() + cuts.position.isfinite().sum(-1)
        rest = torch.zeros_like(position)
        if aside:
            # Whoever keeps to the boundaries of cells comes to the times from the last point before them.
            rest = position - cuts.place(state)
            rest = torch.where(state > max_steps, 0.0, rest)
        state = state.clamp_max(max_steps + 1)
        return cls(cuts, count.clamp_max(max_steps), torch.zeros_like(count), state, rest, is_wanted)

    def without(self, lost: Tensor) -> GridSchedule:
        """Without what is lost, ``(batch, n_times)``, and the steps that lead to nothing else."""
        batch = len(lost)
        is_wanted = self.is_wanted.expand(batch, -1)
        count = torch.where(is_wanted & ~lost, self.state, 0).amax(-1)
        state = torch.where(lost, torch.maximum(self.state, count[:, None] + 1), self.state)
        rest = self.rest.expand(batch, -1).masked_fill(lost, 0.0)
        cuts = SplitCells(
            self.cuts.position.expand(batch, -1).contiguous(), self.cuts.point.expand(batch, -1).contiguous()
        )
        return GridSchedule(cuts, count, self.first.expand(batch), state, rest, is_wanted)

    def since(self, first: Tensor) -> GridSchedule:
        """Without the steps before the points ``first (batch,)``, where all that was wanted before is told."""
        state = (self.state - first[:, None]).clamp_min(0)
        return replace(self, count=self.count - first, state=state, first=first)
