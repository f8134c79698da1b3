"""Table of what noise adds at the times on which adaptive steps end, drawn for many times at once."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.noise.brownian import Brownian
from skneuralde.noise.dyadic import power_of_two
from skneuralde.noise.intervals import Deviation

#: Most numbers that are kept, and the levels for which they are.
_MAX_KEPT, _LEVELS = 2**22, 16


class DeviationTable:
    """Deviations of paths from the mean paths of their nodes at known times, which are looked up instead of drawn.

    A window of the times is kept; it moves on with the paths. The values are those of the noise itself.

    Parameters
    ----------
    noise : Brownian
    times : float64 Tensor of shape (n_paths, n) or (1, n)
        In cells from the start, increasing, infinite where a path has fewer.
    """

    def __init__(self, noise: Brownian, times: Tensor):
        self.noise, self.times, self.n_paths = noise, times, len(noise.path)
        per_time = max(1, self.n_paths) * _LEVELS * 2 * noise.dim
        self.width = max(1, min(times.shape[1], _MAX_KEPT // per_time))
        self._move(0)

    def at_ends(
        self, rows: Tensor, cell: Tensor, level: Tensor, begin: Tensor, end: Tensor
    ) -> tuple[Deviation, Deviation]:
        """Deviations of the paths ``rows`` at both ends of intervals in cells."""
        n = len(rows)
        time = torch.stack([begin, end]).add_(cell).flatten()
        value, integral = self.at(rows.repeat(2), level.repeat(2), time)
        return (value[:n], integral[:n]), (value[n:], integral[n:])

    def at(self, rows: Tensor, level: Tensor, time: Tensor) -> Deviation:
        """Return the same as `Brownian.deviation` for the paths ``rows``."""
        scaled = time * power_of_two(level)
        inside = scaled != scaled.floor()  # at the ends of a node deviations are zero
        place, known = self._find(rows, time)
        known &= inside & (level < _LEVELS)
        if self.width < self.times.shape[1]:
            place, known = self._in_window(place, known)
        found = self.kept[place * self.n_paths + rows, level.clamp_max(_LEVELS - 1)]
        value, integral = found.masked_fill_(~known[:, None, None], 0.0).unbind(1)
        others = (inside & ~known).nonzero()[:, 0]
        if len(others):
            value[others], integral[others] = self.noise.select(rows[others]).deviation(level[others], time[others])
        return value, integral

    def _in_window(self, place: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Places in the window, and which are known there; it moves if most of the times are beyond it."""
        if 2 * int((known & (place >= self.first + self.width)).sum()) > len(place):
            self._move(int(place[known].min()))
        place = place - self.first
        return place.clamp(0, self.width - 1), known & (place >= 0) & (place < self.width)

    def _find(self, rows: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Place of each time among those of its path, and whether it is one of them."""
        last = self.times.shape[1] - 1
        if len(self.times) == 1:
            place = torch.searchsorted(self.times[0], time).clamp_max_(last)
            return place, self.times[0][place] == time
        here = self.times[rows]
        place = torch.searchsorted(here, time[:, None]).clamp_max_(last)
        return place[:, 0], here.gather(1, place)[:, 0] == time

    def _move(self, first: int) -> None:
        self.first = first
        times = self.times[:, first : first + self.width].expand(self.n_paths, -1)
        times = torch.where(times.isfinite(), times, 0.0).T.flatten()
        path = torch.arange(self.n_paths, device=times.device).repeat(len(times) // max(1, self.n_paths))
        self.kept = self.noise.select(path).deviations_of_levels(times, _LEVELS - 1)
