"""The noise of the steps of a mesh."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.noise import DEPTH, Brownian, Increments
from skneuralde.solvers.base import Solver
from skneuralde.solvers.drawn import Drawn
from skneuralde.solvers.march import Mesh, MeshNoise

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
            return self._finished(self.noise.select(path).three_point(begin[:, None], length[:, None])[:, 0], None)
        return self._finished(*self._between(path, begin, end))

    def along(self, points: Tensor, mesh: Mesh, drawn: Drawn | None = None) -> MeshNoise:
        """Noise of a mesh, from its points (batch, n_points) padded with infinity, or (1, n_points) for all paths.

        What was drawn before is taken from there.
        """
        size = min(_MOST_STEPS, max(1, _BLOCK // max(1, len(self.noise.path) * self.noise.dim)))

        def noise(first: int, last: int) -> Iterator[Increments]:
            for begin in range(first, last, size):
                end = min(begin + size, last)
                part = points[:, begin : end + 1]
                block = self._draw(part, mesh.order) if drawn is None else drawn.get(part, mesh.order, self._draw)
                yield from _one_by_one(block, mesh.active[begin:end])

        return noise

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
                return self._finished(w, None)
            area = cells.area.flatten(0, 1).index_select(0, index).view(shape)
        path, step = (real & ~whole).expand(batch, -1).nonzero(as_tuple=True)
        if len(path):
            row = path if len(points) > 1 else torch.zeros_like(path)
            cut = begin[row, step], end[row, step]
            place = step, path if order is None else _rank(order)[path]
            if self.level is None:
                w[place], area[place] = self._between(path, *cut)
            else:
                w[place], area[place] = self._inside(path, w[place], area[place], *cut)
        return self._finished(w, area)

    def _by_step(self, order: Tensor | None, w: Tensor, area: Tensor | None) -> Increments:
        """From noise (batch, n_steps, m) to (n_steps, batch, m) in the mesh's order."""

        def by_step(x: Tensor) -> Tensor:
            return (x if order is None else x[order]).transpose(0, 1).contiguous()

        return self._finished(by_step(w), None if area is None else by_step(area))

    def part(self, path: Tensor, begin: Tensor, end: Tensor) -> Increments:
        """Noise of one part of a unit per row, ``(n,)`` each, counted from the start of its path."""
        if self.level is None or self.three_point:
            return self.over(path, begin, end)
        unit, noise = begin.floor(), self.noise.select(path)
        w, area = noise.part(self.unit * unit, torch.full_like(unit, self.unit))
        return self._finished(*noise.inside(w, area, self.level, self.unit * begin, self.unit * end))

    def _between(self, path: Tensor, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        offset = self.offset.expand(len(self.noise.path))[path]
        return self.noise.select(path).between(offset + self.unit * begin, offset + self.unit * end)

    def _inside(self, path: Tensor, w: Tensor, area: Tensor, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Noise of parts of units, from that of the units."""
        assert self.level is not None
        return self.noise.select(path).inside(w, area, self.level, self.unit * begin, self.unit * end)

    def _finished(self, w: Tensor, area: Tensor | None) -> Increments:
        """In the dtype of the state, without what was not asked for."""
        return Increments(w.to(self.dtype), area.to(self.dtype) if self.area and area is not None else None)


def known(increments: Increments, mesh: Mesh) -> MeshNoise:
    """Noise of a mesh that is all known, (n_steps, batch, m) in the mesh's order."""

    def noise(first: int, last: int) -> Iterator[Increments]:
        area = None if increments.area is None else increments.area[first:last]
        return _one_by_one(Increments(increments.w[first:last], area), mesh.active[first:last])

    return noise


def _one_by_one(block: Increments, active: list[int]) -> Iterator[Increments]:
    """The noise of each of some steps, for the paths that make it."""
    areas = [None] * len(active) if block.area is None else block.area
    for n, w, area in zip(active, block.w, areas, strict=True):
        yield Increments(w[:n], None if area is None else area[:n])


def _rank(order: Tensor) -> Tensor:
    """The place of each path in an order."""
    return torch.empty_like(order).index_copy(0, order, torch.arange(len(order), device=order.device))
