"""The noise of the steps of a mesh."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skneuralde.noise import DEPTH, Brownian, Increments
from skneuralde.solvers.base import Solver
from skneuralde.solvers.march import MeshNoise
from skneuralde.solvers.orders import rank
from skneuralde.solvers.plans import Parts

#: Normal numbers, and steps, drawn at once.
_BLOCK, _MOST_STEPS = 2**20, 512


@dataclass(frozen=True)
class Source:
    """Draws what a method needs to know of the noise.

    Attributes
    ----------
    noise : Brownian
    offset : float64 Tensor of shape (batch,)
        Where each path starts, in cells of the noise from its origin.
    unit : float
        What steps are counted in, in cells of the noise.
    level : int or None
        How often cells are halved to give that unit from where the paths start; None where they do not.
    area, three_point : bool
        What the method asks for.
    dtype : torch.dtype
    """

    noise: Brownian
    offset: Tensor
    unit: float
    level: int | None
    area: bool
    three_point: bool
    dtype: torch.dtype

    @classmethod
    def of_steps(cls, noise: Brownian, start: Tensor, dt: float, solver: Solver, dtype: torch.dtype) -> Source:
        """For fixed steps of length ``dt`` from ``start (batch, 1)`` or ``(1, 1)``."""
        unit = dt / noise.cell
        halvings = -round(math.log2(unit))
        fits = abs(unit * 2.0**halvings - 1.0) < 1e-9
        offset = (start[:, 0] - noise.origin) / noise.cell
        level = halvings if fits and 0 <= halvings <= DEPTH and bool((offset == 0.0).all()) else None
        return cls._for(solver, noise, offset, 2.0**-halvings if fits else unit, level, dtype)

    @classmethod
    def of_cells(cls, noise: Brownian, solver: Solver, dtype: torch.dtype) -> Source:
        """For steps of all lengths from the origin of the noise, counted in its cells."""
        return cls._for(solver, noise, torch.zeros_like(noise.origin), 1.0, None, dtype)

    @classmethod
    def _for(
        cls, solver: Solver, noise: Brownian, offset: Tensor, unit: float, level: int | None, dtype: torch.dtype
    ) -> Source:
        return cls(noise, offset, unit, level, solver.levy_area is not None, solver.increments == "three-point", dtype)

    def over(self, path: Tensor, begin: Tensor, end: Tensor) -> Increments:
        """Noise of one interval per row, ``(n,)`` each, counted from the start of its path."""
        if self.three_point:
            length = self.unit * (end - begin)
            return self.finished(self.noise.select(path).three_point(begin[:, None], length[:, None])[:, 0], None)
        return self.finished(*self._between(path, begin, end))

    def select(self, rows: Tensor) -> Source:
        """The noise of some paths."""
        return replace(self, noise=self.noise.select(rows), offset=self.offset[rows])

    @property
    def block(self) -> int:
        """How many steps of all paths to draw at once."""
        return min(_MOST_STEPS, max(1, _BLOCK // max(1, len(self.noise.path) * self.noise.dim)))

    def along(self, points: Tensor, active: list[int], order: Tensor | None = None) -> MeshNoise:
        """Noise of a mesh, from its points (batch, n_points) padded with infinity, or (1, n_points) for all paths."""

        def noise(first: int, last: int) -> Iterator[Increments]:
            for begin in range(first, last, self.block):
                end = min(begin + self.block, last)
                yield from _one_by_one(self._draw(points[:, begin : end + 1], order), active[begin:end])

        return noise

    def cells(self, first: int, last: int, *, cut: bool) -> Increments:
        """Noise of the units ``first`` to ``last - 1``, (last - first, batch, m), with all that their parts need."""
        begin = torch.arange(first, last, dtype=torch.float64, device=self.offset.device)
        if self.three_point:
            cells = Increments(self.noise.three_point(begin[None], torch.full_like(begin, self.unit)[None]))
        elif self.level is not None:
            cells = self.noise.cells(first, last, self.level, area=self.area or cut)
        else:
            batch = len(self.noise.path)
            path, begin = torch.arange(batch, device=begin.device).repeat_interleave(len(begin)), begin.repeat(batch)
            cells = Increments(*self._between(path, begin, begin + 1.0)).map(lambda x: x.unflatten(0, (batch, -1)))
        return cells.map(lambda x: x.transpose(0, 1))

    def parts(self, parts: Parts, known: Increments) -> Increments:
        """Noise of parts of units, ``(n, m)``, from that of the unit of each."""
        path, _, begin, end = parts
        if self.level is None or self.three_point:
            return self.over(path, begin, end)
        assert known.area is not None
        return self.finished(*self._inside(path, known.w, known.area, begin, end))

    def _draw(self, points: Tensor, order: Tensor | None) -> Increments:
        """Noise (n_steps, batch, m) between mesh points, of paths in the mesh's order.

        What lies beyond the last point of a path means nothing.
        """
        begin, end = points[:, :-1], points[:, 1:]
        real = end.isfinite()
        if self.three_point:
            length = torch.where(real, self.unit * (end - begin), 0.0)
            return self._by_step(order, self.noise.three_point(begin, length), None)
        batch, dim, n_steps = len(self.noise.path), self.noise.dim, begin.shape[1]
        whole = torch.zeros_like(real)
        if self.level is None:
            w, area = begin.new_zeros(2, n_steps, batch, dim).unbind(0)
        else:
            whole = real & (begin == begin.floor()) & (end - begin == 1.0)
            first, last = int(begin[:, 0].min()), int(torch.where(real, end, 0.0).max().ceil())
            uncut = bool((whole | ~real).all())
            cells = self.noise.cells(first, max(last, first + 1), self.level, area=self.area or not uncut)
            if len(points) == 1 and bool(whole.all()):
                return self._by_step(order, *cells)
            index = (torch.where(real, begin.floor(), 0.0).long() - first).clamp_min(0).expand(batch, -1)
            row = torch.arange(batch, device=index.device)[:, None] * cells.w.shape[1]
            # By step, and in the mesh's order: a gather that whoever makes the steps reads from front to back.
            index = (index + row if order is None else (index + row)[order]).T.flatten()
            shape = n_steps, batch, dim
            w = cells.w.flatten(0, 1).index_select(0, index).view(shape)
            if cells.area is None:
                return self.finished(w, None)
            area = cells.area.flatten(0, 1).index_select(0, index).view(shape)
        path, step = (real & ~whole).expand(batch, -1).nonzero(as_tuple=True)
        if len(path):
            row = path if len(points) > 1 else torch.zeros_like(path)
            cut = begin[row, step], end[row, step]
            place = step, path if order is None else rank(order)[path]
            if self.level is None:
                w[place], area[place] = self._between(path, *cut)
            else:
                w[place], area[place] = self._inside(path, w[place], area[place], *cut)
        return self.finished(w, area)

    def _by_step(self, order: Tensor | None, w: Tensor, area: Tensor | None) -> Increments:
        """From noise (batch, n_steps, m) to (n_steps, batch, m) in the mesh's order."""

        def by_step(x: Tensor) -> Tensor:
            return (x if order is None else x[order]).transpose(0, 1).contiguous()

        return self.finished(by_step(w), None if area is None else by_step(area))

    def _between(self, path: Tensor, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        offset = self.offset.expand(len(self.noise.path))[path]
        return self.noise.select(path).between(offset + self.unit * begin, offset + self.unit * end)

    def _inside(self, path: Tensor, w: Tensor, area: Tensor, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Noise of parts of units, from that of the units."""
        assert self.level is not None
        return self.noise.select(path).inside(w, area, self.level, self.unit * begin, self.unit * end)

    def finished(self, w: Tensor, area: Tensor | None) -> Increments:
        """In the dtype of the state, without what was not asked for."""
        return Increments(w.to(self.dtype), area.to(self.dtype) if self.area and area is not None else None)


def _one_by_one(block: Increments, active: list[int]) -> Iterator[Increments]:
    """The noise of each of some steps, for the paths that make it."""
    areas = [None] * len(active) if block.area is None else block.area
    for n, w, area in zip(active, block.w, areas, strict=True):
        yield Increments(w[:n], None if area is None else area[:n])
