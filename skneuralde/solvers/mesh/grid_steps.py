"""Fixed steps of paths that share the boundaries of cells and stop between them at times of their own."""

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
from skneuralde.solvers.mesh.increment_cache import GridStepNoise, IncrementCache
from skneuralde.solvers.mesh.increments import IncrementSource

#: Times of whole cells that are computed at once.
_CHUNK = 2**16


class _SplitStep(NamedTuple):
    """The paths that make only a part of a cell in some step: its start, its length, and the cell after it."""

    row: Tensor
    begin: Tensor
    length: Tensor
    cell: Tensor
    place: Tensor


class GridSteps:
    """The steps of a schedule for a mesh with this ``permutation (batch,)`` and ``active`` number of paths.

    Most are whole cells: all are treated as such, and then the few `StepSchedule.parts` are corrected. ``start`` and
    ``unit``, (batch, 1) or (1, 1), are the initial time of each path and the signed length of a cell; ``dtype`` is that
    of the states.
    """

    def __init__(
        self,
        schedule: StepSchedule,
        permutation: Tensor,
        active: list[int],
        start: Tensor,
        unit: Tensor,
        dtype: torch.dtype,
        source: IncrementSource | None,
        increment_cache: IncrementCache | None,
    ):
        self.schedule, self.permutation, self.active, self.cache = schedule, permutation, active, increment_cache
        self.start, self.unit = (x.expand(len(permutation), 1)[permutation, 0] for x in (start, unit))
        self.length = self.unit.to(dtype)
        self.source = None if source is None else source.select(permutation)
        self.parts = schedule.parts._replace(row=rank(permutation)[schedule.parts.row])
        self.by_step = self.parts.step.argsort(stable=True)

    def along(self, first: int, last: int) -> Iterator[tuple[Tensor, Tensor, Increments | None]]:
        """Start and length, (active, 1) each, and noise of the steps ``first`` to ``last - 1``."""
        batch, noise, no_rows = len(self.permutation), self._noise(last), self.permutation[:0]
        cell = self.schedule.cell(torch.full_like(self.permutation, first)[:, None])[self.permutation, 0]
        cell, place, k = cell.double(), cell * batch + torch.arange(batch, device=cell.device), first
        while k < last:
            n, split = self.active[k], self._splits.get(k)
            cell, place = cell[:n], place[:n]
            if split is None:
                # Whole cells, up to the next step at which a path stops.
                stop = min(self._changes[bisect_right(self._changes, k)], last, k + max(1, _CHUNK // n))
                count = torch.arange(stop - k, device=place.device)[:, None]
                starts = (self.start[:n] + self.unit[:n] * (cell + count))[..., None].unbind()
                places = (place + batch * count).unbind()
                for t, here in zip(starts, places, strict=True):
                    yield t, self.length[:n, None], None if noise is None else noise(k, here, no_rows)
                    k += 1
                cell, place = cell + float(len(count)), place + batch * len(count)
                continue
            t = (self.start[:n] + self.unit[:n] * cell).index_copy_(0, split.row, split.begin)
            h = self.length[:n].index_copy(0, split.row, split.length)
            yield t[:, None], h[:, None], None if noise is None else noise(k, place, split.row)
            cell = (cell + 1.0).index_copy_(0, split.row, split.cell)
            place = (place + batch).index_copy_(0, split.row, split.place)
            k += 1

    def _noise(self, last: int) -> GridStepNoise | None:
        """The noise of each step before ``last``."""
        if self.source is None:
            return None
        fresh = GridIncrements(self.source, self.parts, self.by_step, self._bounds, self._until, last).at
        return fresh if self.cache is None else self.cache.noise(self.schedule, self.permutation, self.active, fresh)

    @cached_property
    def _bounds(self) -> list[int]:
        """The first part of each step, among those in the order of their steps."""
        return [0, *torch.bincount(self.parts.step, minlength=len(self.active)).cumsum(0).tolist()]

    @cached_property
    def _until(self) -> float:
        """End of the last path, in cells."""
        return float(self.schedule.place(self.schedule.count[:, None]).max())

    @cached_property
    def _changes(self) -> list[int]:
        """Steps with parts, steps that fewer paths make than the one before, and the end."""
        fewer = (k for k, (before, now) in enumerate(pairwise(self.active), 1) if now < before)
        return sorted({*self._splits, *fewer, len(self.active)})

    @cached_property
    def _splits(self) -> dict[int, _SplitStep]:
        """The parts of each step that has any."""
        row, step, begin, end = self.parts.where(self.by_step)
        steps, sizes = (x.tolist() for x in step.unique_consecutive(return_counts=True))
        start, unit, cell = self.start[row], self.unit[row], end.floor()
        length, place = (unit * (end - begin)).to(self.length.dtype), cell.long() * len(self.permutation) + row
        columns = row, start + unit * begin, length, cell, place
        return dict(zip(steps, map(_SplitStep, *(column.split(sizes) for column in columns)), strict=True))
