"""Segments: the intervals of time between the stops of a path, in which the coefficients are smooth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Stops within this many spacings of the floating-point times are one.
_SPACINGS = 16.0
#: A time so close to a stop, as a share of the shortest segment, is the stop: steps end there up to rounding.
_SHARE = 2e-9


@dataclass(frozen=True)
class Segments:
    """The first time, the stops and the last time of every path, (batch, n) or (1, n) for all, and the way it goes.

    Times lie strictly inside a segment when they are read: after the stop at its start, and before the stop at its end.
    """

    edges: Tensor  #: float64, increasing, padded on the right with infinity
    direction: Tensor  #: 1 for paths that go forwards, -1 for those that go backwards; one per row, (n, 1)
    reach: Tensor  #: distance within which a time is an edge, likewise
    last: Tensor  #: int64, number of the last edge, likewise

    @classmethod
    def make(cls, start: Tensor, last: Tensor, direction: Tensor, stops: Tensor) -> Segments:
        """From the first and last times (n, 1), and stops (n, m) or (1, m) in any order, NaN or infinite for none.

        Stops outside the path count for nothing.
        """
        lower, upper = torch.minimum(start, last), torch.maximum(start, last)
        rows = max(len(lower), len(stops))
        lower, upper, stops = (x.expand(rows, -1) for x in (lower, upper, stops))
        rounding = _SPACINGS * torch.finfo(torch.float64).eps * torch.maximum(lower.abs(), upper.abs())
        inside = (stops > lower + rounding) & (stops < upper - rounding)
        stops = torch.where(inside, stops, torch.inf).sort(1).values
        stops[:, 1:].masked_fill_(stops.diff(dim=1) <= rounding, torch.inf)
        stops = stops.sort(1).values
        most = int(stops.isfinite().sum(1).max()) if stops.numel() else 0
        edges = torch.cat([lower, stops[:, :most], upper], 1).sort(1).values
        shortest = edges.diff(dim=1).nan_to_num(nan=torch.inf).amin(1, keepdim=True)
        last = edges.isfinite().sum(1, keepdim=True) - 1
        return cls(edges, direction.expand(rows, 1), torch.maximum(_SHARE * shortest, rounding), last)

    def elapsed(self, start: Tensor) -> Tensor | None:
        """Times of the stops since the starts (n, 1), in order and padded with infinity; None without stops."""
        if self.edges.shape[1] == 2:
            return None
        number = torch.arange(self.edges.shape[1], device=start.device)
        is_stop = (number > 0) & (number < self.last)
        elapsed = torch.where(is_stop, (self.edges - start) * self.direction, torch.inf)
        return elapsed.sort(1).values[:, : len(number) - 2]

    def select(self, rows: Tensor) -> Segments:
        """Those of some paths; a path may be selected several times."""
        if len(self.edges) == 1:
            return self
        return Segments(self.edges[rows], self.direction[rows], self.reach[rows], self.last[rows])

    def around(self, t: Tensor, h: Tensor | float) -> tuple[Tensor, Tensor]:
        """The edges of the segments that steps of length ``h`` from ``t (batch, 1)`` lie in, (batch, 1) each."""
        return self._holding(t + 0.5 * h)

    def ahead(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The edges of the segments in which paths go on at times ``t (batch, 1)``; the last one at the end."""
        return self._holding(t + self.direction * self.reach)

    def behind(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The edges of the segments in which paths have come to times ``t (batch, 1)``; the first one at the start."""
        return self._holding(t - self.direction * self.reach)

    def _holding(self, t: Tensor) -> tuple[Tensor, Tensor]:
        edges, t = self.edges, t.contiguous()
        if len(edges) == 1:
            edges = edges[0]
            upper = torch.minimum(torch.searchsorted(edges, t, right=True).clamp_min_(1), self.last)
            return edges[upper - 1], edges[upper]
        upper = torch.minimum(torch.searchsorted(edges, t, right=True).clamp_min_(1), self.last)
        return edges.gather(1, upper - 1), edges.gather(1, upper)


def inside(t: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Times moved strictly between ``lower`` and ``upper``, by the smallest numbers possible."""
    return t.clamp(torch.nextafter(lower, upper), torch.nextafter(upper, lower))
