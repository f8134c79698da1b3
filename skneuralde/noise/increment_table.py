"""Table of increments for adaptive steps: the upper tree levels, drawn once for all paths and cells."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.noise.brownian import Brownian
from skneuralde.noise.dyadic import reads_are_free
from skneuralde.noise.increments import Increments

#: Most increments that are kept.
_MAX_KEPT = 2**21
#: Cost of halving kept increments for some paths, in increments drawn.
_OVERHEAD = 2**12


class IncrementTable:
    """Increments and areas of dyadic parts of the first cells, which are looked up instead of drawn one by one.

    Parts deeper than the levels that are kept are halved from them. Once the halvings have cost as much as drawing the
    next level for all paths, that level is drawn and kept. The values are those of the noise itself. ``n_cells`` is the
    number of cells, from the start, that steps can reach, in about ``n_steps`` steps: the levels of such steps are
    kept from the beginning.
    """

    def __init__(self, noise: Brownian, n_cells: int, n_steps: int = 1):
        self.noise, self.n_cells = noise, n_cells
        self.n_paths = len(noise.path)
        # On other devices, counting the paths that need a level would wait for the device.
        self.enabled = reads_are_free(noise.path.device) and 2 * self._size(0) <= _MAX_KEPT
        self.levels = self.work = 0
        # Levels hold n, 2 n, 4 n, ... parts. With n unused rows before them, part i of level l is at 2^l n + i.
        self.kept = noise.start.new_zeros(n_cells * self.n_paths if self.enabled else 0, 2, noise.dim)
        if self.enabled:
            deepest = max(0, (max(1, n_steps) - 1).bit_length() - (n_cells - 1).bit_length())
            while 4 * self._size(deepest) > _MAX_KEPT and deepest > 0:
                deepest -= 1
            self._keep(*noise.levels(0, n_cells << deepest, deepest, area=True))

    def part(self, rows: Tensor, noise: Brownian, begin: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same as `Brownian.part` for the paths ``rows``, whose noise is ``noise``.

        Parts beyond the last cell, where only finished paths are, have arbitrary values.
        """
        if not self.enabled:
            return noise.part(begin, length)
        finest = 2.0 ** (1 - self.levels)
        deeper = (length < finest).nonzero()[:, 0]
        if len(deeper) and self._pays(len(deeper)):
            self._draw_level()
            return self.part(rows, noise, begin, length)
        index = (begin + self.n_cells) / (length.clamp_min(finest) if len(deeper) else length)
        index = (index.long() * self.n_paths + rows).clamp_max_(len(self.kept) - 1)
        w, area = self.kept[index].unbind(1)
        if len(deeper):
            deeper_parts = w[deeper], area[deeper], self.levels - 1, begin[deeper], length[deeper]
            w[deeper], area[deeper] = noise.select(deeper).descend(*deeper_parts)
        return w, area

    def _pays(self, n_rows: int) -> bool:
        """Whether to draw the next level now, a part of which ``n_rows`` paths need."""
        self.work += _OVERHEAD + n_rows * self.noise.dim
        size = self._size(self.levels)
        return self.work >= size and len(self.kept) * self.noise.dim + size <= _MAX_KEPT

    def _size(self, level: int) -> int:
        """Number of increments of a level."""
        return (self.n_cells << level) * self.n_paths * self.noise.dim

    def _draw_level(self) -> None:
        self._keep(self.noise.cells(0, self.n_cells << self.levels, self.levels, area=True))

    def _keep(self, *levels: Increments) -> None:
        """Keep the next levels."""
        for w, area in levels:
            assert area is not None  # because of area=True
            self.kept = torch.cat([self.kept, torch.stack([w, area], 2).transpose(0, 1).flatten(0, 1)])
        self.levels += len(levels)
        self.work = 0
