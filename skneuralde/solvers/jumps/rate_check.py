"""Checks of the rates of jumps along the paths."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from skneuralde.problems import Jump
from skneuralde.solvers.core.right_hand_side import RightHandSide


class RateCheck:
    """Tells the rates that make sense from those that do not, along the paths of a batch.

    A rate is valid from zero up to its bound. A rate between ``-(atol + rtol * largest)`` and zero is a rounding error
    and counts as zero, where ``largest`` is the largest absolute rate of the channel on that path so far. The latest
    invalid rate of each path is kept, for the message of a path that fails by it.
    """

    def __init__(self, jumps: Sequence[Jump], batch: int, *, atol: float, rtol: float, device: torch.device):
        self.jumps, self.atol, self.rtol = jumps, atol, rtol
        bounds = [math.inf if jump.bound is None else jump.bound * (1.0 + 1e-6) for jump in jumps]
        self.bounds = torch.tensor(bounds, dtype=torch.float64, device=device)
        self.largest = torch.zeros(batch, len(jumps), dtype=torch.float64, device=device)
        #: Channel of the latest invalid rate of each path, -1 for none; its time, value and state.
        self.channel = torch.full((batch,), -1, device=device)
        self.time, self.value = torch.zeros(2, batch, dtype=torch.float64, device=device)
        self.state: Tensor | None = None

    def select(self, rows: Tensor) -> RateCheck:
        """Those of some paths; a path may be selected several times."""
        part = copy.copy(self)
        for name in ("largest", "channel", "time", "value"):
            setattr(part, name, getattr(self, name)[rows])
        part.state = None if self.state is None else self.state[rows]
        return part

    @torch.no_grad()
    def start(self, rhs: RightHandSide, t: Tensor, u: Tensor) -> None:
        """Check the rates of all channels at the start ``t (batch, 1)`` of all paths."""
        now, path = rhs.at(t, u.dtype), torch.arange(len(u), device=u.device)
        for channel in range(len(self.jumps)):
            self.check([channel], path, now.t, u, rhs.rate(channel, now, u)[:, None])

    @property
    def failed(self) -> Tensor:
        """The paths with an invalid rate, (batch,)."""
        return self.channel >= 0

    def check(
        self, channels: Sequence[int], path: Tensor, t: Tensor, u: Tensor, rates: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The rates (n, k) of some channels as they count, in float64, and which of them are invalid.

        They are those of paths ``path (n,)`` at times ``t (n, 1)`` and states ``u (n, dim)``.
        """
        columns = torch.tensor(channels, device=path.device)
        rates = rates.detach().double()
        largest = self.largest[path[:, None], columns]
        size = torch.maximum(rates.abs(), largest)
        invalid = ~((rates >= -(self.atol + self.rtol * size)) & (rates <= self.bounds[columns]) & rates.isfinite())
        if bool(invalid.any()):
            rows, which = invalid.nonzero(as_tuple=True)
            size = torch.where(invalid, largest, size)
            self._keep(path[rows], columns[which], t[rows, 0], rates[rows, which], u[rows])
        self.largest[path[:, None], columns] = size
        return rates.clamp_min(0.0), invalid

    def adopt(self, part: RateCheck, path: Tensor) -> None:
        """Keep the invalid rates of a `select` of the paths ``path (n,)``, too."""
        rows = part.failed.nonzero()[:, 0]
        if len(rows) and part.state is not None:
            self._keep(path[rows], part.channel[rows], part.time[rows], part.value[rows], part.state[rows])

    def _keep(self, path: Tensor, channel: Tensor, time: Tensor, value: Tensor, state: Tensor) -> None:
        if self.state is None:
            self.state = state.new_zeros(len(self.channel), state.shape[1])
        self.channel[path], self.time[path], self.value[path] = channel, time.double(), value
        self.state[path] = state.detach()

    def describe(self, path: int) -> str:
        """The invalid rate of a path, in words."""
        assert self.state is not None
        channel, value = int(self.channel[path]), float(self.value[path])
        what = self.jumps[channel].describe_rate(value, name=f"jumps[{channel}]")
        where = f"at t = {float(self.time[path]):g} and u = {self.state[path].tolist()}"
        if value < 0.0 and any(jump.leap and jump.lower is None for jump in self.jumps):
            return (
                f"{what} {where}; if a leap took the state out of its range, give lower= to its Jump, or a smaller dt"
            )
        return f"{what} {where}"
