"""Where steps may end: anywhere without noise, on the halves of halves of its cells with it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import partial

import torch
from torch import Tensor

from skneuralde.noise import DEPTH, Brownian, Increments, IncrementTable, floor_power_of_two
from skneuralde.solvers.core.controllers import smallest_step

#: Times this close to a coarse dyadic part of a cell, in cells, lie on it.
_SNAP, _COARSE = 1e-13, 2.0**10


class StepAlignment(ABC):
    """Turns the steps that a controller proposes into those that are tried.

    Attributes
    ----------
    unit : float
        What elapsed time is counted in.
    """

    unit: float = 1.0

    @abstractmethod
    def target(self, rows: Tensor, elapsed: Tensor, proposal: Tensor, end: Tensor) -> Tensor:
        """The elapsed time at which the next step ends, (n, 1) as all arguments, no further than proposed."""

    @abstractmethod
    def noise(self, rows: Tensor, elapsed: Tensor, target: Tensor) -> Increments | None:
        """The noise in between."""

    @abstractmethod
    def smallest(self, start: Tensor, end: Tensor) -> Tensor:
        """Length below which a step is too small, (n, 1)."""


class FreeSteps(StepAlignment):
    """Steps of any length up to the end."""

    def target(self, rows: Tensor, elapsed: Tensor, proposal: Tensor, end: Tensor) -> Tensor:
        return torch.where(proposal >= end - elapsed, end, elapsed + proposal)

    def noise(self, rows: Tensor, elapsed: Tensor, target: Tensor) -> None:
        return None

    def smallest(self, start: Tensor, end: Tensor) -> Tensor:
        return smallest_step(start, end)


class StopTimes(FreeSteps):
    """Steps that end on the times wanted, for methods that say nothing of the solution inside their steps.

    Parameters
    ----------
    stops : float64 Tensor of shape (batch, n) or (1, n)
        Non-decreasing.
    """

    def __init__(self, stops: Tensor):
        self.stops = torch.cat([stops, torch.full_like(stops[:, :1], torch.inf)], 1)

    def target(self, rows: Tensor, elapsed: Tensor, proposal: Tensor, end: Tensor) -> Tensor:
        here = self.stops.expand(len(rows), -1) if len(self.stops) == 1 else self.stops[rows]
        stop = here.gather(1, torch.searchsorted(here.contiguous(), elapsed, right=True))
        return super().target(rows, elapsed, proposal, torch.minimum(stop, end))


class DyadicAlignment(StepAlignment):
    """Steps over the largest dyadic part of a cell of the noise that begins where a path is, cut short by stops.

    So a step that was rejected is divided, and what the path has looked at it also visits: without that an adaptive
    method need not converge. A path that stands inside a part, after a stop, goes on to the end of it.

    Parameters
    ----------
    noise : Brownian
        Its cells are the unit of time; the paths start at its origin.
    stops : float64 Tensor of shape (batch, n) or (1, n)
        Where steps must end, non-decreasing, in cells.
    furthest : float
        The last time that any path goes to, in cells.
    table : bool
        Whether paths come by all of the way, so that it pays to draw their noise together.
    area : bool
        Whether areas are asked for.
    dtype : torch.dtype
        Of the state.
    idle : int
        Components of the state that no noise moves, behind the others.
    anywhere : bool
        Whether steps may also end where they are cut short later.

    References
    ----------
    .. [1] J. Foster, "On the convergence of adaptive approximations for stochastic differential equations",
       arXiv:2311.14201 (2023).
    """

    def __init__(
        self,
        noise: Brownian,
        stops: Tensor,
        *,
        furthest: float,
        table: bool,
        area: bool,
        dtype: torch.dtype,
        idle: int = 0,
        anywhere: bool = False,
    ):
        self.source, self.area, self.dtype, self.idle = noise, area, dtype, idle
        beyond = torch.full_like(stops[:, :1], torch.inf)
        self.stops = torch.cat([stops, beyond], 1)
        # Stops on coarse parts are reached by parts: their noise is cheaper than that of what is cut.
        self.on_coarse = ((stops * _COARSE).floor() == stops * _COARSE).all(1, keepdim=True)
        self.never_cuts = not anywhere and bool(self.on_coarse.all())
        self.unit = noise.cell
        # So deep that every dyadic time up to the last stop is an exact floating-point number.
        self.depth = max(0, min(DEPTH, 51 - math.frexp(furthest)[1]))
        self.table = IncrementTable(noise, math.ceil(furthest)) if table else None
        self.rows: Tensor | None = None

    def target(self, rows: Tensor, elapsed: Tensor, proposal: Tensor, end: Tensor) -> Tensor:
        self._select(rows)
        stop = self._next_stop(elapsed)
        finest = 2.0**-self.depth
        scaled = elapsed * 2.0**self.depth
        whole = scaled.long()
        whole |= 1 << self.depth  # no part is longer than a cell
        aligned = (whole & -whole).double() * finest
        if self.never_cuts:
            length = torch.minimum(floor_power_of_two(torch.minimum(proposal, stop - elapsed)), aligned)
            return elapsed + length.clamp_min_(finest)
        aligned = torch.where(scaled == scaled.floor(), aligned, 1.0)
        length = torch.where(self.in_parts, torch.minimum(proposal, stop - elapsed), proposal)
        length = torch.minimum(floor_power_of_two(length), aligned).clamp_min_(finest)
        return torch.minimum(((elapsed / length).floor() + 1.0) * length, stop)

    def _next_stop(self, elapsed: Tensor) -> Tensor:
        """The first stop after each path's time, (n, 1); infinite where there is none."""
        if len(self.here) == 1:
            return self.here[0][torch.searchsorted(self.here[0], elapsed, right=True)]
        return self.here.gather(1, torch.searchsorted(self.here, elapsed, right=True))

    def noise(self, rows: Tensor, elapsed: Tensor, target: Tensor) -> Increments:
        self._select(rows)
        begin, end = elapsed[:, 0], target[:, 0]
        if self.never_cuts:
            w, area = self.part(begin, end - begin)
        else:
            w, area = self.noises.over(begin, end, self.part)
        if self.idle:
            w, area = (torch.cat([x, x.new_zeros(len(x), self.idle)], 1) for x in (w, area))
        return Increments(w.to(self.dtype), area.to(self.dtype) if self.area else None)

    def smallest(self, start: Tensor, end: Tensor) -> Tensor:
        return torch.full_like(end, 2.0**-self.depth)

    def _select(self, rows: Tensor) -> None:
        """Keep the noise and the stops of the paths that are under way until others are."""
        if rows is not self.rows:
            self.rows, self.noises = rows, self.source.select(rows)
            self.part = self.noises.part if self.table is None else partial(self.table.part, rows, self.noises)
            shared = len(self.stops) == 1
            self.here = self.stops if shared else self.stops[rows]
            self.in_parts = self.on_coarse if shared else self.on_coarse[rows]


def snap(elapsed: Tensor) -> Tensor:
    """Times in cells, moved onto a coarse part of a cell where only rounding separates them."""
    nearest = (elapsed * _COARSE).round() / _COARSE
    close = (elapsed - nearest).abs() <= _SNAP * elapsed.abs().clamp_min(1.0)
    return torch.where(close, nearest, elapsed)
