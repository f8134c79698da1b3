"""Schedules of fixed steps: the steps to make, and the mesh point of each save time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.solvers.mesh.split_cells import SplitCells

#: A number of cells beyond all meshes.
_FAR = 2.0**52
#: A time within this distance of the boundary of a cell, in cells, is moved onto it.
SNAP = 1e-9


def snapped(position: Tensor) -> Tensor:
    """Times in cells, moved onto the boundary of a cell from which they differ by rounding alone."""
    nearest = position.round()
    return torch.where((position - nearest).abs() <= SNAP, nearest, position)


class PartialCells(NamedTuple):
    """Steps over a part of a cell, row by row and in order; all of shape (n,), positions in cells."""

    row: Tensor
    step: Tensor
    begin: Tensor
    end: Tensor

    def where(self, chosen: Tensor) -> PartialCells:
        """Some of them."""
        return PartialCells(*(column[chosen] for column in self))


@dataclass(frozen=True)
class StepSchedule:
    """The steps that paths make, one row per path or one for all; lengths are counted in cells."""

    splits: SplitCells
    count: Tensor  #: int64 (rows,), number of steps
    first: Tensor  #: int64 (rows,), the mesh point at which each path begins; it counts as the path's number 0

    @classmethod
    def through(cls, points: Tensor, count: Tensor) -> StepSchedule:
        """``count (rows,)`` steps through points (rows, n), padded with infinity, with all boundaries of cells."""
        furthest = int(torch.where(points.isfinite(), points, 0.0).max()) + points.shape[1]
        splits, begin = SplitCells.make(points, furthest), points[:, :1].contiguous()
        return cls(splits, count, (begin.floor().long() + splits.before(begin))[:, 0])

    def step_to(self, position: Tensor) -> Tensor:
        """The steps that end at positions (rows, m), which are mesh points; -1 for the start and before."""
        cell = position.clamp_max(_FAR).floor().long()
        return (cell + self.splits.before(position) - self.first[:, None] - 1).clamp_min(-1)

    def cell(self, point: Tensor) -> Tensor:
        """The cell of each of the mesh points (rows, m); a boundary belongs to the cell that begins there."""
        return self.splits.cell(point + self.first[:, None])

    def place(self, point: Tensor) -> Tensor:
        """The positions of mesh points (rows, m)."""
        return self.splits.place(point + self.first[:, None])

    @cached_property
    def parts(self) -> PartialCells:
        """The steps that are shorter than a cell."""
        row, column = self.splits.position.isfinite().nonzero(as_tuple=True)
        end, point = self.splits.position[row, column], self.splits.point[row, column]
        cell = end.floor()
        follows = torch.zeros_like(row, dtype=torch.bool)
        follows[1:] = (row[1:] == row[:-1]) & (cell[1:] == cell[:-1])
        is_last = torch.ones_like(follows)
        is_last[:-1] = ~follows[1:]
        # A split ends a part, which begins at the split before it in the same cell or else at the start of the cell.
        # The last split of a cell also begins a part.
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
        """The shortest step of each row, (rows,); infinity without steps."""
        row, _, begin, end = self.parts
        n_parts = torch.bincount(row, minlength=len(self.count))
        whole = torch.where(self.count > n_parts, 1.0, torch.inf).double()
        return whole.scatter_reduce(0, row, end - begin, "amin")


@dataclass(frozen=True)
class GridSchedule(StepSchedule):
    """The steps to make, and the mesh point of each save time, (rows, n_times)."""

    state: Tensor  #: int64, the mesh point at each save time, or the last one before it
    rest: Tensor  #: float64, distance from there to the save time; 0 if that is never reached
    is_save_time: Tensor  #: bool, False for padding

    @classmethod
    def make(cls, position: Tensor, *, side_steps: bool, max_steps: int, stops: Tensor | None = None) -> GridSchedule:
        """From the save times (rows, n_times), and further times to stop at, (rows, n), in cells from the start.

        The latter are `snapped` already. With ``side_steps`` save times are no mesh points.
        """
        is_save_time = position.isfinite()
        position = snapped(torch.where(is_save_time, position, 0.0))
        whole = position.floor()
        rows = len(position) if stops is None else max(len(position), len(stops))
        inside = position[:, :0] if side_steps or bool((position == whole).all()) else position
        every = [x.expand(rows, -1) for x in (inside, stops) if x is not None]
        splits = SplitCells.make(torch.cat(every, 1), max_steps + 1)
        passed = splits.before(position.expand(rows, -1).contiguous())
        state = whole.clamp_max(max_steps + 1).long() + passed
        count = whole.amax(-1).clamp_max(max_steps + 1).long() + splits.position.isfinite().sum(-1)
        rest = torch.zeros_like(position)
        if side_steps:
            # Save times are reached from the last mesh point before them.
            rest = position - splits.place(state)
            rest = torch.where(state > max_steps, 0.0, rest)
        state = state.clamp_max(max_steps + 1)
        return cls(splits, count.clamp_max(max_steps), torch.zeros_like(count), state, rest, is_save_time)

    def without(self, failed: Tensor) -> GridSchedule:
        """Drop failed save times, ``(batch, n_times)``, and the steps needed only for them."""
        batch = len(failed)
        is_save_time = self.is_save_time.expand(batch, -1)
        count = torch.where(is_save_time & ~failed, self.state, 0).amax(-1)
        state = torch.where(failed, torch.maximum(self.state, count[:, None] + 1), self.state)
        rest = self.rest.expand(batch, -1).masked_fill(failed, 0.0)
        splits = SplitCells(
            self.splits.position.expand(batch, -1).contiguous(), self.splits.point.expand(batch, -1).contiguous()
        )
        return GridSchedule(splits, count, self.first.expand(batch), state, rest, is_save_time)

    def since(self, first: Tensor) -> GridSchedule:
        """Drop the steps before the points ``first (batch,)``, whose save times are known."""
        state = (self.state - first[:, None]).clamp_min(0)
        return replace(self, count=self.count - first, state=state, first=first)
