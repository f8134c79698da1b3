"""The steps of paths that share the boundaries of cells and stop between them on their own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.cut_noise import CutNoise
from skneuralde.solvers.drawing import Source
from skneuralde.solvers.drawn import Drawn, StepNoise
from skneuralde.solvers.orders import rank
from skneuralde.solvers.plans import Plan


class _Cut(NamedTuple):
    """The paths that make only a part of a cell in some step: where it begins, its length, and the cell behind it."""

    row: Tensor
    begin: Tensor
    length: Tensor
    cell: Tensor
    place: Tensor


class CutSteps:
    """The steps of a plan for a mesh.

    Most are as long as a cell: all are treated as such, and then the few `Plan.parts` are put right.

    Parameters
    ----------
    plan : Plan
    order : int64 Tensor of shape (batch,)
        The mesh's order of paths.
    active : list of int
        Number of paths that make each step: the first ones.
    start, pace : float64 Tensor of shape (batch, 1) or (1, 1)
        Where each path starts, and the signed length of a cell.
    dtype : torch.dtype
        Of the states.
    source : Source or None
        Of the noise.
    drawn : Drawn or None
        What keeps the noise.
    """

    def __init__(
        self,
        plan: Plan,
        order: Tensor,
        active: list[int],
        start: Tensor,
        pace: Tensor,
        dtype: torch.dtype,
        source: Source | None,
        drawn: Drawn | None,
    ):
        self.plan, self.order, self.active, self.drawn = plan, order, active, drawn
        self.start, self.pace = (x.expand(len(order), 1)[order, 0] for x in (start, pace))
        self.length = self.pace.to(dtype)
        self.source = None if source is None else source.select(order)
        self.here = torch.arange(len(order), device=order.device)
        self.parts = plan.parts._replace(row=rank(order)[plan.parts.row])
        self.by_step = self.parts.step.argsort(stable=True)
        self.counts = torch.bincount(self.parts.step, minlength=len(active)).tolist()

    def along(self, first: int, last: int) -> Iterator[tuple[Tensor, Tensor, Increments | None]]:
        """Start and length, (active, 1) each, and noise of the steps ``first`` to ``last - 1``."""
        batch, noise = len(self.order), self._noise(last)
        cell = self.plan.cell(torch.full_like(self.order, first)[:, None])[self.order, 0]
        cell, place = cell.double(), cell * batch + self.here
        for k in range(first, last):
            n, cut = self.active[k], self._cuts[k]
            cell, place = cell[:n], place[:n]
            t, h = self.start[:n] + self.pace[:n] * cell, self.length[:n]
            then, there = cell + 1.0, place + batch
            if len(cut.row):
                t, h = t.index_copy_(0, cut.row, cut.begin), h.index_copy(0, cut.row, cut.length)
                then, there = then.index_copy_(0, cut.row, cut.cell), there.index_copy_(0, cut.row, cut.place)
            yield t[:, None], h[:, None], None if noise is None else noise(k, place, cut.row)
            cell, place = then, there

    def _noise(self, last: int) -> StepNoise | None:
        """What gives the noise of each step before ``last``."""
        if self.source is None:
            return None
        fresh = CutNoise(self.source, self.parts, self.by_step, self._bounds, self._furthest, last).at
        return fresh if self.drawn is None else self.drawn.noise(self.plan, self.order, self.active, fresh)

    @cached_property
    def _bounds(self) -> list[int]:
        """The first part of each step, among those in the order of their steps."""
        return [0, *accumulate(self.counts)]

    @cached_property
    def _furthest(self) -> int:
        """The last cell that a path enters."""
        return int(self.plan.cell((self.plan.count - 1).clamp_min(0)[:, None]).max())

    @cached_property
    def _cuts(self) -> list[_Cut]:
        """The parts that belong to each step."""
        row, _, begin, end = self.parts.where(self.by_step)
        start, pace, cell = self.start[row], self.pace[row], end.floor()
        length, place = (pace * (end - begin)).to(self.length.dtype), cell.long() * len(self.order) + row
        columns = row, start + pace * begin, length, cell, place
        return list(map(_Cut, *(column.split(self.counts) for column in columns)))
