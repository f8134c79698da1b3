"""Noise of steps over cells of a fixed-step grid, or parts of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.mesh.grid_schedule import PartialCells
from skneuralde.solvers.mesh.increments import IncrementSource


class GridIncrements:
    """The noise of consecutive steps up to ``last - 1``, over whole cells and over parts of cells.

    Every cell is drawn once, some steps before the first path reaches it. Paths are in the order of a mesh. The parts
    of step k are at the positions ``by_step[bounds[k] : bounds[k + 1]]``. The last path ends after ``until`` cells.
    """

    def __init__(
        self, source: IncrementSource, parts: PartialCells, by_step: Tensor, bounds: list[int], until: float, last: int
    ):
        self.source, self.parts, self.by_step, self.bounds = source, parts, by_step, bounds
        self.until, self.last = until, last
        self.batch = len(source.offset)
        self.end, self.skipped = -1, 0
        self.bottom, self.cells = 0, Increments(source.offset.new_zeros(0))
        self.whole = self.of_parts = self.cells

    def at(self, k: int, place: Tensor, row: Tensor) -> Increments:
        """Noise of step ``k``, over cells ``place // batch (n,)`` of the first paths, and over parts in some rows."""
        if k >= self.end:
            self._draw(k, int(place.min()) // self.batch, int(place.max()) // self.batch)
        increments = self._of(self.whole, place)
        if len(row) == 0:
            return increments
        mine = slice(self.bounds[k] - self.skipped, self.bounds[k + 1] - self.skipped)
        return increments.put(row, self.of_parts.map(lambda x: x[mine]))

    def _draw(self, k: int, lowest: int, highest: int) -> None:
        """Draw the noise of the next steps, which begin in cells from ``lowest`` to ``highest``."""
        self.end, self.skipped = min(k + self.source.block, self.last), self.bounds[k]
        highest = min(highest + self.end - k, math.ceil(self.until)) - 1
        known = self.cells.map(lambda x: x[lowest - self.bottom :])
        top = lowest + len(known.w)
        if top <= highest:
            more = self.source.cells(top, highest + 1, self.until, split=len(self.parts.row) > 0)
            known = more.after(known) if len(known.w) else more.map(torch.Tensor.contiguous)
        self.bottom, self.cells, self.whole = lowest, known, self.source.finished(*known)
        chosen, turn = self.by_step[self.bounds[k] : self.bounds[self.end]].sort()
        if len(chosen):
            parts = self.parts.where(chosen)
            place = parts.begin.floor().long() * self.batch + parts.row
            of_parts = self.source.parts(parts, self._of(self.cells, place))
            self.of_parts = of_parts.map(lambda x: torch.empty_like(x).index_copy_(0, turn, x))

    def _of(self, cells: Increments, place: Tensor) -> Increments:
        place = place - self.bottom * self.batch
        return cells.map(lambda x: x.flatten(0, 1).index_select(0, place))
