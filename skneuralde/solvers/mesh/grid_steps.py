"""The steps of paths that share the boundaries of cells and stop between them on their own."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.batch_order import rank
from skneuralde.solvers.mesh.grid_increments import GridIncrements
from skneuralde.solvers.mesh.grid_schedule import StepSchedule
from skneuralde.solvers.mesh.increment_cache import IncrementCache, StepNoise
from skneuralde.solvers.mesh.increments import IncrementSource

#: Times of whole cells that are found at once.
_CHUNK = 2**16


class _Cut(NamedTuple):
    """The paths that make only a part of a cell in some step: where it begins, its length, and the cell behind it."""

    row: Tensor
    begin: Tensor
    length: Tensor
    cell: Tensor
    place: Tensor


class GridSteps:
    """The steps of a route for a mesh.

    Most are as long as a cell: all are treated as such, and then the few `StepSchedule.parts` are put right.

    Parameters
    ----------
    route : StepSchedule
    order : int64 Tensor of shape (batch,)
        The mesh's order of paths.
    active : list of int
        Number of paths that make each step: the first ones.
    start, pace : float64 Tensor of shape (batch, 1) or (1, 1)
        Where each path starts, and the signed length of a cell.
    dtype : torch.dtype
        Of the states.
    source : IncrementSource or None
        Of the noise.
    drawn : IncrementCache or None
        What keeps the noise.
    """

    def __init__(
        self,
        route: StepSchedule,
        order: Tensor,
        active: list[int],
        start: Tensor,
        pace: Tensor,
        dtype: torch.dtype,
        source: IncrementSource | None,
        drawn: IncrementCache | None,
    ):
        self.route, self.order, self.active, self.drawn = route, order, active, drawn
        self.start, self.pace = (x.expand(len(order), 1)[order, 0] for x in (start, pace))
        self.length = self.pace.to(dtype)
        self.source = None if source is None else source.select(order)
        self.parts = route.parts._replace(row=rank(order)[route.parts.row])
        self.by_step = self.parts.step.argsort(stable=True)

    def along(self, first: int, last: int) -> Iterator[tuple[Tensor, Tensor, Increments | None]]:
        """Start and length, (active, 1) each, and noise of the steps ``first`` to ``last - 1``."""
        batch, noise, nobody = len(self.order), self._noise(last), self.order[:0]
        cell = self.route.cell(torch.full_like(self.order, first)[:, None])[self.order, 0]
        cell, place, k = cell.double(), cell * batch + torch.arange(batch, device=cell.device), first
        while k < last:
            n, cut = self.active[k], self._cuts.get(k)
            cell, place = cell[:n], place[:n]
            if cut is None:
                # Whole cells, up to where a path stops inside one or for good.
                stop = min(self._changes[bisect_right(self._changes, k)], last, k + max(1, _CHUNK // n))
                count = torch.arange(stop - k, device=place.device)[:, None]
                starts = (self.start[:n] + self.pace[:n] * (cell + count))[..., None].unbind()
                places = (place + batch * count).unbind()
                for t, here in zip(starts, places, strict=True):
                    yield t, self.length[:n, None], None if noise is None else noise(k, here, nobody)
                    k += 1
                cell, place = cell + float(len(count)), place + batch * len(count)
                continue
            t = (self.start[:n] + self.pace[:n] * cell).index_copy_(0, cut.row, cut.begin)
            h = self.length[:n].index_copy(0, cut.row, cut.length)
            yield t[:, None], h[:, None], None if noise is None else noise(k, place, cut.row)
            cell = (cell + 1.0).index_copy_(0, cut.row, cut.cell)
            place = (place + batch).index_copy_(0, cut.row, cut.place)
            k += 1

    def _noise(self, last: int) -> StepNoise | None:
        """What gives the noise of each step before ``last``."""
        if self.source is None:
            return None
        fresh = GridIncrements(self.source, self.parts, self.by_step, self._bounds, self._until, last).at
        return fresh if self.drawn is None else self.drawn.noise(self.route, self.order, self.active, fresh)

    @cached_property
    def _bounds(self) -> list[int]:
        """The first part of each step, among those in the order of their steps."""
        return [0, *torch.bincount(self.parts.step, minlength=len(self.active)).cumsum(0).tolist()]

    @cached_property
    def _until(self) -> float:
        """Where the last path ends, in cells."""
        return float(self.route.place(self.route.count[:, None]).max())

    @cached_property
    def _changes(self) -> list[int]:
        """The steps with parts, and those that fewer paths make than the one before; then the end."""
        fewer = (k for k, (before, now) in enumerate(pairwise(self.active), 1) if now < before)
        return sorted({*self._cuts, *fewer, len(self.active)})

    @cached_property
    def _cuts(self) -> dict[int, _Cut]:
        """The parts that belong to each step, where there are any."""
        row, step, begin, end = self.parts.where(self.by_step)
        steps, sizes = (x.tolist() for x in step.unique_consecutive(return_counts=True))
        start, pace, cell = self.start[row], self.pace[row], end.floor()
        length, place = (pace * (end - begin)).to(self.length.dtype), cell.long() * len(self.order) + row
        columns = row, start + pace * begin, length, cell, place
        return dict(zip(steps, map(_Cut, *(column.split(sizes) for column in columns)), strict=True))
