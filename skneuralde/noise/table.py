"""The noise of an adaptive search: the tops of the trees are drawn once, for all paths and cells."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.noise.brownian import Brownian, waits_for_nothing

#: Increments that are kept at most, and the share of paths that must look for a level before it is drawn for all.
_MOST_KEPT, _SHARE = 2**21, 0.25


class Table:
    """Increments and areas of dyadic parts of the first cells, which are looked up instead of drawn one by one.

    A level of the trees is drawn once enough paths ask for it; what lies deeper is halved from there. The numbers are
    those of the noise itself.

    Parameters
    ----------
    noise : Brownian
    n_cells : int
        Cells that will be asked for, from the origin on.
    """

    def __init__(self, noise: Brownian, n_cells: int):
        self.noise, self.n_cells = noise, n_cells
        batch = len(noise.path)
        self.w, self.area = noise.origin.new_zeros(2, 0, batch, noise.dim).unbind(0)
        self.levels = self.asked = 0
        # On another device a look at how many paths ask for a level would have to wait for it.
        self.per_node = batch * noise.dim
        self.room = waits_for_nothing(noise.path.device) and self.per_node * n_cells <= _MOST_KEPT

    def over(self, rows: Tensor, noise: Brownian, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Increment and area (n, dim) over one interval (n,) inside one cell of each of the paths ``rows``.

        ``noise`` is that of the rows alone.
        """
        if not self.room:
            return noise.over(begin, end)

        def ancestors(cell: Tensor, level: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            self._draw_for(level)
            known = level.clamp_max(self.levels - 1)
            # The levels above hold n, 2 n, 4 n, ... nodes; paths that have arrived stand where the last cell ends.
            node = (
                ((1 << known) - 1) * self.n_cells
                + (cell.clamp_max(self.n_cells - 1) << known)
                + (index >> (level - known))
            )
            place = node * self.w.shape[1] + rows
            w, area = (part.view(-1, self.noise.dim).index_select(0, place) for part in (self.w, self.area))
            return w, area, known

        return noise.over(begin, end, ancestors)

    def _draw_for(self, level: Tensor) -> None:
        """Draw one more level while enough paths look for it, there is room, and so much was asked for already."""
        self.asked += 1
        while self.levels == 0 or int((level >= self.levels).sum()) > _SHARE * len(level):
            size = self.n_cells << self.levels
            if self.levels and (size > 4 * (self.n_cells + self.asked) or size * self.per_node > _MOST_KEPT):
                return
            w, area = self.noise.cells(0, self.n_cells << self.levels, self.levels, area=True)
            assert area is not None  # asked for
            self.w = torch.cat([self.w, w.transpose(0, 1)])
            self.area = torch.cat([self.area, area.transpose(0, 1)])
            self.levels += 1
