"""Poisson processes: times, thinning numbers and marks of jumps, as pure functions of their keys."""

from __future__ import annotations

import math
from copy import copy

import torch
from torch import Tensor

from skneuralde.noise.keys import absorb, row_keys, to_normal, to_uniform

#: Words that separate the keys of Poisson processes from those of Brownian motion, and the kinds of their numbers.
_POISSON = 0x434C_4F43_4B53
_GAP, _CHOICE, _MARK, _SHARE = 1, 2, 3, 4


class PoissonProcesses:
    """Independent Poisson processes of rate 1, one per row and channel, functions of (seed, path, series, channel).

    The time of arrival i is the sum of the first i + 1 gaps, which are standard exponential. Every arrival has a
    uniform number for thinning, and normal numbers for its mark. Nothing depends on a row's position in the batch or on
    earlier requests, and no number is shared with Brownian motion of the same seed. Rows with equal keys, ``path`` and
    ``series`` (int64, ``(batch,)``), have the same processes.
    """

    def __init__(self, seed: int, path: Tensor, series: Tensor, n_channels: int):
        key = absorb(row_keys(seed, path, series), _POISSON)
        self._key = absorb(key[:, None], torch.arange(n_channels, device=path.device))

    def __len__(self) -> int:
        return len(self._key)

    @property
    def device(self) -> torch.device:
        """Device on which the numbers are drawn."""
        return self._key.device

    def select(self, rows: Tensor) -> PoissonProcesses:
        """Return the processes of these rows, which may repeat."""
        chosen = copy(self)
        chosen._key = self._key[rows]
        return chosen

    def arrivals(self, channel: int, horizon: Tensor) -> Tensor:
        """Arrivals of a process up to the horizon (batch, 1) of each row: (batch, n), in order, padded by infinity."""
        longest = float(horizon.max()) if len(horizon) else 0.0
        count = math.ceil(longest + 5.0 * math.sqrt(longest)) + 4
        times = self._after(channel, count)
        while bool((times[:, -1:] <= horizon).any()):
            count *= 2
            times = self._after(channel, count)
        most = int((times <= horizon).sum(1).max()) if len(times) else 0
        times = times[:, :most]
        return torch.where(times <= horizon, times, torch.inf)

    def gaps(self, channel: int, rows: Tensor, number: Tensor) -> Tensor:
        """Standard exponential gaps before arrivals ``number``; ``rows`` is broadcast against ``number``."""
        return -to_uniform(absorb(absorb(self._key[rows, channel], _GAP), number)).log_()

    def choices(self, channel: int, rows: Tensor, number: Tensor) -> Tensor:
        """Uniform numbers of arrivals, (n,) from rows (n,) and numbers (n,)."""
        return to_uniform(absorb(absorb(self._key[rows, channel], _CHOICE), number))

    def normals(self, channel: int, rows: Tensor, number: Tensor, dim: int) -> Tensor:
        """Standard normal numbers of arrivals, (n, dim) from rows (n,) and numbers (n,)."""
        key = absorb(absorb(self._key[rows, channel], _MARK), number)
        return to_normal(absorb(key[:, None], torch.arange(dim, device=key.device)))

    def shares(self) -> Tensor:
        """One uniform number per row, (batch, 1), independent of its processes."""
        return to_uniform(absorb(absorb(self._key[:, :1], _SHARE), 0))

    def _after(self, channel: int, count: int) -> Tensor:
        """Times of the first arrivals, (batch, count)."""
        number = torch.arange(count, device=self._key.device)
        rows = torch.arange(len(self), device=self._key.device)[:, None]
        # A running sum, so that the count does not change the rounding.
        return self.gaps(channel, rows, number.expand(len(self), -1)).cumsum(1)
