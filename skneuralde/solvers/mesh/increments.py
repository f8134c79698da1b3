"""Noise of the steps of a mesh."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from skneuralde.noise import DEPTH, Brownian, Increments
from skneuralde.solvers.core.stepper import Solver
from skneuralde.solvers.mesh.grid_schedule import PartialCells
from skneuralde.solvers.mesh.mesh import MeshNoise

#: Normal numbers, and steps, that are drawn at once.
_BLOCK, _MOST_STEPS = 2**20, 512


@dataclass(frozen=True)
class IncrementSource:
    """Draws the increments and areas that a method needs."""

    noise: Brownian
    offset: Tensor  #: float64 (batch,), start of each path, in cells of the noise from its start
    unit: Tensor  #: float64 (batch,), unit in which steps are counted, in cells of each path's noise
    level: Tensor | None  #: int64 (batch,), halvings of a cell that give the unit; None without such, or if a path does
    #: not start with its noise
    area: bool  #: whether the method needs Levy areas
    three_point: bool  #: whether it needs three-point increments
    dtype: torch.dtype

    @classmethod
    def of_steps(cls, noise: Brownian, start: Tensor, dt: float, solver: Solver, dtype: torch.dtype) -> IncrementSource:
        """For fixed steps of length ``dt`` from ``start (batch, 1)`` or ``(1, 1)``."""
        cells, row = [noise.cell], None
        if isinstance(noise.cell, Tensor):
            distinct, row = noise.cell.unique(return_inverse=True)
            cells = distinct.tolist()
        halvings = [-round(math.log2(dt / cell)) for cell in cells]
        fits = all(abs(math.ldexp(dt / cell, n) - 1.0) < 1e-9 for cell, n in zip(cells, halvings, strict=True))

        def of_rows(values: list[Any], dtype: torch.dtype) -> Tensor:
            column = torch.tensor(values, dtype=dtype, device=noise.start.device)
            return column.expand_as(noise.start) if row is None else column[row]

        units = [math.ldexp(1.0, -n) if fits else dt / cell for cell, n in zip(cells, halvings, strict=True)]
        offset = (start[:, 0] - noise.start) / noise.cell
        known = fits and min(halvings) >= 0 and max(halvings) <= DEPTH and not bool(offset.any())
        level = of_rows(halvings, torch.int64) if known else None
        return cls._for(solver, noise, offset, of_rows(units, torch.float64), level, dtype)

    @classmethod
    def of_cells(cls, noise: Brownian, solver: Solver, dtype: torch.dtype) -> IncrementSource:
        """For steps of all lengths from the start of the noise, counted in its cells."""
        return cls._for(solver, noise, torch.zeros_like(noise.start), torch.ones_like(noise.start), None, dtype)

    @classmethod
    def _for(
        cls, solver: Solver, noise: Brownian, offset: Tensor, unit: Tensor, level: Tensor | None, dtype: torch.dtype
    ) -> IncrementSource:
        return cls(noise, offset, unit, level, solver.levy_area is not None, solver.increments == "three-point", dtype)

    def over(self, path: Tensor, begin: Tensor, end: Tensor) -> Increments:
        """Noise of one interval per row, ``(n,)`` each, in units from the start of its path."""
        if self.three_point:
            length = self.unit[path] * (end - begin)
            return self.finished(self.noise.select(path).three_point(begin[:, None], length[:, None])[:, 0], None)
        return self.finished(*self._between(path, begin, end))

    def select(self, rows: Tensor) -> IncrementSource:
        """The noise of some paths."""
        level = None if self.level is None else self.level[rows]
        return replace(self, noise=self.noise.select(rows), offset=self.offset[rows], unit=self.unit[rows], level=level)

    @property
    def block(self) -> int:
        """Number of steps of all paths to draw at once."""
        return min(_MOST_STEPS, max(1, _BLOCK // max(1, len(self.noise.path) * self.noise.dim)))

    def along(self, points: Tensor, permutation: Tensor, active: list[int]) -> MeshNoise:
        """Noise of a mesh with an order of paths, from the points (batch, n_points), padded with infinity."""

        def noise(first: int, last: int) -> Iterator[Increments]:
            for begin in range(first, last, self.block):
                end = min(begin + self.block, last)
                yield from _one_by_one(
                    self._between_points(points[permutation, begin : end + 1], permutation), active[begin:end]
                )

        return noise

    def shared(self, points: Tensor) -> MeshNoise:
        """Noise of a mesh that all paths share, from its points (n_points,), at most a unit apart."""

        def noise(first: int, last: int) -> Iterator[Increments]:
            batch = len(self.noise.path)
            for begin in range(first, last, self.block):
                end = min(begin + self.block, last)
                block = self._of_all(points[begin:end], points[begin + 1 : end + 1])
                yield from _one_by_one(block, [batch] * (end - begin))

        return noise

    def cells(self, first: int, last: int, until: float, *, split: bool) -> Increments:
        """Noise of the units ``first`` to ``last - 1``, (last - first, batch, m); with areas if some are ``split``.

        No path goes beyond ``until``. The last unit ends there, as it may be longer than all times.
        """
        begin = torch.arange(first, last, dtype=torch.float64, device=self.offset.device)
        if self.three_point:
            cells = Increments(self.noise.three_point(begin[None], self.unit[:, None].expand(-1, len(begin))))
        elif self.level is not None:
            cells = self._cells(self.level, first, last, area=self.area or split)
        else:
            batch = len(self.noise.path)
            path, begin = torch.arange(batch, device=begin.device).repeat_interleave(len(begin)), begin.repeat(batch)
            end = (begin + 1.0).clamp_max(until)
            cells = Increments(*self._between(path, begin, end)).map(lambda x: x.unflatten(0, (batch, -1)))
        return cells.map(lambda x: x.transpose(0, 1))

    def parts(self, parts: PartialCells, known: Increments) -> Increments:
        """Noise of parts of units, ``(n, m)``, given that of their units."""
        path, _, begin, end = parts
        if self.level is None or self.three_point:
            return self.over(path, begin, end)
        assert known.area is not None
        return self.finished(*self._inside(path, known.w, known.area, begin, end))

    def _between_points(self, points: Tensor, path: Tensor) -> Increments:
        """Noise (n_steps, n, m) between the points (n, n_points) of some paths; 0 beyond the last one of each."""
        begin, end = points[:, :-1], points[:, 1:]
        row, step = end.isfinite().nonzero(as_tuple=True)
        place = step * len(points) + row

        def by_step(x: Tensor) -> Tensor:
            return x.new_zeros(end.numel(), x.shape[1]).index_copy_(0, place, x).view(end.shape[1], len(points), -1)

        return self.over(path[row], begin[row, step], end[row, step]).map(by_step)

    def _of_all(self, begin: Tensor, end: Tensor) -> Increments:
        """Noise (n_steps, batch, m) of shared steps (n_steps,), each a unit or a part of one."""
        unit, split = begin.floor().long(), (end - begin != 1.0).nonzero()[:, 0]
        first, last = int(unit[0]), int(unit[-1])
        units = self.cells(first, last + 1, float(end[-1]), split=len(split) > 0)
        if len(split) == 0:
            return self.finished(*units.map(torch.Tensor.contiguous))
        whole, batch = units.map(lambda x: x[unit - first]), units.w.shape[1]
        # Path by path, so that each part follows the one before.
        path = torch.arange(batch, device=split.device).repeat_interleave(len(split))
        parts = PartialCells(path, *(x.repeat(batch) for x in (split, begin[split], end[split])))
        found = self.parts(parts, whole.map(lambda x: x[split].transpose(0, 1).flatten(0, 1)))
        return self.finished(*whole).put(split, found.map(lambda x: x.unflatten(0, (batch, -1)).transpose(0, 1)))

    def _between(self, path: Tensor, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        offset = self.offset.expand(len(self.noise.path))[path]
        unit = self.unit.expand(len(self.noise.path))[path]
        return self.noise.select(path).between(offset + unit * begin, offset + unit * end)

    def _cells(self, level: Tensor, first: int, last: int, *, area: bool) -> Increments:
        """Noise of units that are parts of cells, (batch, last - first, m)."""
        lowest, highest = level.aminmax() if len(level) else (level.new_zeros(()), level.new_zeros(()))
        if lowest == highest:
            return self.noise.cells(first, last, int(lowest), area=area)
        # Paths of other spans have other cells.
        rows = [(level == one).nonzero()[:, 0] for one in level.unique()]
        groups = [self.noise.select(some).cells(first, last, int(level[some[0]]), area=area) for some in rows]
        permutation = torch.cat(rows).argsort()
        joined = groups[0]
        for group in groups[1:]:
            joined = group.after(joined)
        return joined.map(lambda x: x[permutation])

    def _inside(self, path: Tensor, w: Tensor, area: Tensor, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Noise of parts of units, given that of the units."""
        assert self.level is not None
        unit = self.unit[path]
        return self.noise.select(path).inside(w, area, self.level[path], unit * begin, unit * end)

    def finished(self, w: Tensor, area: Tensor | None) -> Increments:
        """In the dtype of the state, without areas that the method does not need."""
        return Increments(w.to(self.dtype), area.to(self.dtype) if self.area and area is not None else None)


def _one_by_one(block: Increments, active: list[int]) -> Iterator[Increments]:
    """The noise of each step, for the paths that make it."""
    areas = [None] * len(active) if block.area is None else block.area
    for n, w, area in zip(active, block.w, areas, strict=True):
        yield Increments(w[:n], None if area is None else area[:n])
