"""Noise of the steps that the step loop tries."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property, partial

import torch
from torch import Tensor

from skneuralde.noise import Brownian, Deviation, DeviationTable, Increments, IncrementTable
from skneuralde.solvers.mesh.increments import IncrementSource


class StepNoise(ABC):
    """Increments of the steps of the paths under way.

    No noise moves the last ``n_hazards`` components of states; 0 for noise that has no component per state.
    """

    def __init__(self, n_hazards: int = 0):
        self.n_hazards = n_hazards

    def increments(self, rows: Tensor, elapsed: Tensor, target: Tensor) -> Increments:
        """Increments of paths ``rows (n,)`` from ``elapsed (n, 1)`` to ``target (n, 1)``."""
        noise = self._draw(rows, elapsed[:, 0], target[:, 0])
        if not self.n_hazards:
            return noise
        nothing = noise.w.new_zeros(len(noise.w), self.n_hazards)
        return noise.map(lambda x: torch.cat([x, nothing], 1))

    @abstractmethod
    def _draw(self, rows: Tensor, begin: Tensor, end: Tensor) -> Increments:
        """Increments of the states between times ``(n,)``."""


class GridNoise(StepNoise):
    """Noise of steps along a grid of fixed steps."""

    def __init__(self, source: IncrementSource, n_hazards: int = 0):
        super().__init__(n_hazards)
        self.source = source

    def _draw(self, rows: Tensor, begin: Tensor, end: Tensor) -> Increments:
        return self.source.over(rows, begin, end)


class DyadicNoise(StepNoise):
    """Noise of steps over dyadic parts of the noise's cells, or pieces of them.

    Times are counted in cells of the noise, from its start; ``furthest`` is the last one of any path. With
    ``tabulate`` the noise of all paths is drawn together, which pays if all of them make the whole way. With
    ``whole_parts`` every step is a dyadic part; others mostly begin or end on ``stops``, (n_paths, n) or (1, n), whose
    last column is infinite. ``area`` says whether the method needs space-time Levy areas, and
    ``dtype`` is that of the state.
    """

    def __init__(
        self,
        noise: Brownian,
        *,
        furthest: float,
        tabulate: bool,
        whole_parts: bool,
        stops: Tensor,
        area: bool,
        dtype: torch.dtype,
        n_hazards: int = 0,
    ):
        super().__init__(n_hazards)
        self.source, self.whole_parts, self.area, self.dtype = noise, whole_parts, area, dtype
        self.table = IncrementTable(noise, math.ceil(furthest), 4 * stops.shape[1]) if tabulate else None
        self.stops = stops if tabulate else None
        self.rows: Tensor | None = None

    def _draw(self, rows: Tensor, begin: Tensor, end: Tensor) -> Increments:
        if rows is not self.rows:
            self.rows, self.noises = rows, self.source.select(rows)
            self.part = self.noises.part if self.table is None else partial(self.table.part, rows, self.noises)
        if self.whole_parts:
            w, area = self.part(begin, end - begin)
        else:
            w, area = self.noises.over(begin, end, self.part, None if self.stops is None else self._deviations)
        return Increments(w.to(self.dtype), area.to(self.dtype) if self.area else None)

    @cached_property
    def _at_stops(self) -> DeviationTable:
        assert self.stops is not None
        return DeviationTable(self.source, self.stops)

    def _deviations(self, some: Tensor | slice, *place: Tensor) -> tuple[Deviation, Deviation]:
        """Deviations at both ends of steps of ``some`` of the paths under way."""
        assert self.rows is not None
        return self._at_stops.at_ends(self.rows[some], *place)
