"""The noise of an adaptive search: the tops of the trees are drawn once, for all paths and cells."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.noise.brownian import Brownian, level_of_node
from skneuralde.noise.dyadic import power_of_two

#: Increments that are kept at most, and the share of paths that must look for a level before it is drawn for all.
_MOST_KEPT, _SHARE = 2**21, 0.25


class Table:
    """Increments and areas of dyadic parts of the first cells, which are looked up instead of drawn one by one.

    A level of the trees is drawn once enough paths ask for it; what lies deeper, or is no dyadic part, is asked of the
    noise itself. The numbers are the same.

    Parameters
    ----------
    noise : Brownian
    n_cells : int
        Cells of interest, from the origin.
    """

    def __init__(self, noise: Brownian, n_cells: int):
        self.noise, self.n_cells = noise, n_cells
        batch = len(noise.path)
        self.w, self.area = noise.origin.new_zeros(2, 0, batch, noise.dim).unbind(0)
        self.levels = 0
        # On another device a look at how many paths ask for a level would have to wait for it.
        self.room = _MOST_KEPT if noise.path.device.type == "cpu" else 0

    def over(self, rows: Tensor, noise: Brownian, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Increment and area (n, dim) over one interval (n,) inside one cell of each of the paths ``rows``.

        ``noise`` is that of the rows alone.
        """
        if not self.room:
            return noise.over(begin, end)
        cell = begin.floor()
        level = level_of_node(begin - cell, end - cell)
        self._draw_for(level)
        parts = power_of_two(level)
        empty = begin == end
        known = empty | (level < self.levels) & ((end - begin) * parts == 1.0) & (cell < self.n_cells)
        # The levels above hold n, 2 n, 4 n, ... nodes.
        node = (parts - 1.0) * self.n_cells + (begin * parts).floor()
        place = torch.where(known & ~empty, node.long() * self.w.shape[1] + rows, 0)
        w, area = (part.view(-1, self.noise.dim).index_select(0, place) for part in (self.w, self.area))
        w, area = w.masked_fill_(empty[:, None], 0.0), area.masked_fill_(empty[:, None], 0.0)
        if not bool(known.all()):
            others = (~known).nonzero()[:, 0]
            w[others], area[others] = noise.select(others).over(begin[others], end[others])
        return w, area

    def _draw_for(self, level: Tensor) -> None:
        """Draw one more level where enough paths look for it and there is room."""
        size = self.noise.path.numel() * self.noise.dim * self.n_cells
        while self.levels == 0 or int((level >= self.levels).sum()) > _SHARE * len(level):
            if size * 2 ** (self.levels + 1) > self.room:
                self.room = self.room if self.levels else 0
                return
            w, area = self.noise.cells(0, self.n_cells << self.levels, self.levels, area=True)
            assert area is not None  # asked for
            self.w = torch.cat([self.w, w.transpose(0, 1)])
            self.area = torch.cat([self.area, area.transpose(0, 1)])
            self.levels += 1
