"""Step alignment: the end of each step, anywhere without noise, on the dyadic parts of the noise's cells with it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from skneuralde.noise import DEPTH, floor_power_of_two
from skneuralde.solvers.core.first_step import SPACING, smallest_step

#: Times within this share of themselves from a coarse dyadic part of a cell are moved onto it.
_SNAP, _COARSE = 1e-13, 2.0**10


class StepAlignment(ABC):
    """Turns the lengths that a controller proposes into the steps that are tried."""

    @abstractmethod
    def target(self, rows: Tensor, elapsed: Tensor, proposal: Tensor, end: Tensor, seen: Tensor) -> Tensor:
        """Elapsed time at which the next step ends, no later than proposed; (n, 1) as all arguments.

        Steps up to ``seen`` have been tried before.
        """

    @abstractmethod
    def smallest(self, start: Tensor, end: Tensor) -> Tensor:
        """Length below which a step from the start is too small, (n, 1)."""

    def smallest_after(self, elapsed: Tensor, smallest: Tensor) -> Tensor:
        """The same for a step that begins later, (n, 1)."""
        return torch.maximum(smallest, SPACING * elapsed)


class FreeSteps(StepAlignment):
    """Steps of any length up to the end."""

    def target(self, rows: Tensor, elapsed: Tensor, proposal: Tensor, end: Tensor, seen: Tensor) -> Tensor:
        return torch.where(proposal >= end - elapsed, end, elapsed + proposal)

    def smallest(self, start: Tensor, end: Tensor) -> Tensor:
        return smallest_step(start, end)


class StopTimes(FreeSteps):
    """Steps of any length that end on the times ``stops``, (batch, n) or (1, n), non-decreasing."""

    def __init__(self, stops: Tensor):
        self.stops = _with_infinity(stops)

    def target(self, rows: Tensor, elapsed: Tensor, proposal: Tensor, end: Tensor, seen: Tensor) -> Tensor:
        end = torch.minimum(_next_stop(self.stops, rows, elapsed), end)
        return super().target(rows, elapsed, proposal, end, seen)


class GridAlignment(StepAlignment):
    """Steps to the next multiple of dt, or to a stop before it; elapsed times and stops are counted in units of dt."""

    def __init__(self, stops: Tensor, dt: float):
        self.stops, self.dt = _with_infinity(stops), dt

    def target(self, rows: Tensor, elapsed: Tensor, proposal: Tensor, end: Tensor, seen: Tensor) -> Tensor:
        return torch.minimum(torch.minimum(elapsed.floor() + 1.0, _next_stop(self.stops, rows, elapsed)), end)

    def smallest(self, start: Tensor, end: Tensor) -> Tensor:
        return smallest_step(start / self.dt, end)


class DyadicAlignment(StepAlignment):
    """Steps over the largest dyadic part of a cell that begins at a path's time and is not longer than proposed.

    Steps also end on stops. A rejected step is divided, so that every Brownian value that was drawn is also stepped on;
    otherwise an adaptive method need not converge (J. Foster, "On the convergence of adaptive approximations for
    stochastic differential equations", arXiv:2311.14201, 2023). A path that no part of about the proposed length begins
    at, as after a stop, goes on to the next multiple of that length, if nothing beyond it has been drawn; from one stop
    to the next it goes at once, if that is not farther than proposed. Times are counted in cells of the noise, which
    starts where paths start; ``furthest`` is the last one of any path. ``has_limits`` says whether steps may be limited
    by other times than stops, too, and ``longest``, a power of two, is the longest step in cells.
    """

    def __init__(self, stops: Tensor, *, furthest: float, has_limits: bool = False, longest: float = 1.0):
        self.stops = _with_infinity(stops)
        # Stops on coarse dyadic times are reached by whole parts, whose noise is cheaper than that of pieces.
        self.on_coarse = ((stops * _COARSE).floor() == stops * _COARSE).all(1, keepdim=True)
        #: Whether every step is a dyadic part.
        self.whole_parts = not has_limits and bool(self.on_coarse.all())
        # At this depth every dyadic time up to the last stop is an exact floating-point number.
        self.depth = max(0, min(DEPTH, 51 - math.frexp(furthest)[1]))
        self.longest = max(longest, 2.0**-self.depth)
        self.rows: Tensor | None = None

    def target(self, rows: Tensor, elapsed: Tensor, proposal: Tensor, end: Tensor, seen: Tensor) -> Tensor:
        self._select(rows)
        stop = self._next_stop(elapsed)
        finest = 2.0**-self.depth
        scaled = elapsed * 2.0**self.depth
        whole = scaled.long()
        whole |= int(self.longest * 2.0**self.depth)  # no part is longer than the longest
        aligned = (whole & -whole).double() * finest
        if self.whole_parts:
            length = torch.minimum(floor_power_of_two(torch.minimum(proposal, stop - elapsed)), aligned)
            return elapsed + length.clamp_min_(finest)
        rest, nothing_drawn, is_dyadic = stop - elapsed, seen <= elapsed, scaled == scaled.floor()
        length = torch.where(self.in_parts, torch.minimum(proposal, rest), proposal)
        length = floor_power_of_two(length).clamp_(finest, self.longest)
        is_free = ~is_dyadic | (self.may_be_free & nothing_drawn & (2.0 * aligned < length))
        length = torch.minimum(length, aligned.masked_fill_(is_free, 1.0))
        at_once = nothing_drawn & (~is_dyadic | (elapsed == 0.0)) & (rest <= proposal.clamp_max(self.longest))
        at_once &= self.may_be_free & (stop <= elapsed.floor() + 1.0)
        return torch.minimum(elapsed.div(length).floor_().add_(1.0).mul_(length).masked_fill_(at_once, torch.inf), stop)

    def smallest(self, start: Tensor, end: Tensor) -> Tensor:
        return torch.full_like(end, 2.0**-self.depth)

    def smallest_after(self, elapsed: Tensor, smallest: Tensor) -> Tensor:
        return smallest

    def _next_stop(self, elapsed: Tensor) -> Tensor:
        if len(self.here) == 1:
            return self.here[0][torch.searchsorted(self.here[0], elapsed, right=True)]
        return self.here.gather(1, torch.searchsorted(self.here, elapsed, right=True))

    def _select(self, rows: Tensor) -> None:
        """Keep the stops of the paths under way until these change."""
        if rows is not self.rows:
            self.rows = rows
            shared = len(self.stops) == 1
            self.here = self.stops if shared else self.stops[rows]
            self.in_parts = self.on_coarse if shared else self.on_coarse[rows]
            self.may_be_free = ~self.in_parts


def snap(elapsed: Tensor) -> Tensor:
    """Times in cells, moved onto a coarse dyadic part of a cell from which they differ by rounding alone."""
    nearest = (elapsed * _COARSE).round() / _COARSE
    close = (elapsed - nearest).abs() <= _SNAP * elapsed.abs()
    return torch.where(close, nearest, elapsed)


def _with_infinity(stops: Tensor) -> Tensor:
    return torch.cat([stops, torch.full_like(stops[:, :1], torch.inf)], 1)


def _next_stop(stops: Tensor, rows: Tensor, elapsed: Tensor) -> Tensor:
    """The first stop after each path's time, (n, 1); infinite where there is none."""
    here = stops.expand(len(rows), -1) if len(stops) == 1 else stops[rows]
    return here.gather(1, torch.searchsorted(here.contiguous(), elapsed, right=True))
