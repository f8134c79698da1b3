"""Schedules of jumps: candidate times by Poisson processes, thinning, and the effect of a jump."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from skneuralde.noise import PoissonProcesses
from skneuralde.problems import Jump, Problem
from skneuralde.solvers.core.right_hand_side import RightHandSide, TimePoint
from skneuralde.solvers.jumps.rate_check import RateCheck
from skneuralde.terms import Constant, is_constant_rate

#: The number of a jump that is not an arrival of its Poisson process, see `ExtraJump`.
EXTRA = -1


class ExtraJump(NamedTuple):
    """One more jump of paths: its channel, and its time since the start, (batch, 1), infinite for paths without it.

    ``state (batch, dim)`` is the state of the same paths there without that jump, if it is known. Fixed steps whose
    noise is cached then begin there, and states at earlier save times are not computed again. ``largest (batch,
    n_channels)`` are the largest rates of the same paths, if these are known, see `RateCheck`.
    """

    channel: int
    elapsed: Tensor
    state: Tensor | None = None
    largest: Tensor | None = None


class Decision(NamedTuple):
    """Candidates that are jumps, and candidates with an invalid rate, whose paths fail; bool (n,)."""

    accepted: Tensor
    invalid: Tensor


@dataclass(frozen=True)
class JumpCandidates:
    """Times at which jumps may happen, as far as they are known before the equation is solved; (batch, n)."""

    elapsed: Tensor  #: float64, in order, padded with infinity
    channel: Tensor  #: int64
    number: Tensor  #: int64, number of the arrival on its channel

    @classmethod
    def merge(cls, end: Tensor, parts: list[tuple[Tensor, int, Tensor]]) -> JumpCandidates:
        """From the times (batch, n) and numbers (n,) of each channel, for paths that end at ``end``."""
        elapsed = torch.cat([end[:, :0], *(times for times, _, _ in parts)], 1)
        channel = [torch.full_like(number, channel) for _, channel, number in parts]
        none = torch.zeros(0, dtype=torch.int64, device=end.device)
        labels = torch.stack([torch.cat([none, *channel]), torch.cat([none, *(number for *_, number in parts)])])
        elapsed, order = elapsed.sort(dim=1, stable=True)
        most = int(elapsed.isfinite().sum(1).max()) if elapsed.numel() else 0
        channels, numbers = labels[:, order[:, :most]]
        return cls(elapsed[:, :most].contiguous(), channels, numbers)

    def __len__(self) -> int:
        return self.elapsed.shape[1]

    def select(self, rows: Tensor) -> JumpCandidates:
        """Those of some paths; a path may be selected several times."""
        return JumpCandidates(self.elapsed[rows], self.channel[rows], self.number[rows])

    def attach(self, elapsed: Tensor) -> Tensor:
        """Save times (batch, n), or (1, n) for all, moved onto candidates that differ from them by rounding alone."""
        if len(self) == 0:
            return elapsed
        if len(elapsed) == 1 and not self._close_to(elapsed[0]):
            return elapsed
        elapsed = elapsed.expand(len(self.elapsed), -1).contiguous()
        after = torch.searchsorted(self.elapsed, elapsed).clamp_max_(len(self) - 1)
        for neighbour in (after, (after - 1).clamp_min(0)):
            time = self.elapsed.gather(1, neighbour)
            elapsed = torch.where(_is_close(time, elapsed), time, elapsed)
        return elapsed

    def _close_to(self, times: Tensor) -> bool:
        """Whether any candidate differs from one of these times, which are in order, by rounding alone."""
        after = torch.searchsorted(times, self.elapsed).clamp_max_(len(times) - 1)
        neighbours = after, (after - 1).clamp_min(0)
        return any(bool(_is_close(self.elapsed, times[neighbour]).any()) for neighbour in neighbours)


def _is_close(candidate: Tensor, time: Tensor) -> Tensor:
    """Whether a candidate and a time agree up to rounding."""
    return time.isfinite() & ((candidate - time).abs() <= 8.0 * torch.finfo(torch.float64).eps * time)


def is_certain(jump: Jump) -> bool:
    """Whether the rate of a jump is constant, so that all candidates are jumps."""
    return is_constant_rate(jump.rate)


@dataclass(frozen=True)
class JumpSchedule:
    """The jumps of a batch of paths.

    A channel of constant rate jumps at the times of its Poisson process. For a channel with a bound, a process of that
    rate is thinned (P. A. W. Lewis and G. S. Shedler, "Simulation of nonhomogeneous Poisson processes by thinning",
    Naval Research Logistics Quarterly 26, 1979).
    """

    poisson: PoissonProcesses
    candidates: JumpCandidates
    rates: RateCheck  #: its paths are those of the batch

    @classmethod
    def make(
        cls,
        jumps: Sequence[Jump],
        poisson: PoissonProcesses,
        end: Tensor,
        *,
        atol: float,
        rtol: float,
        extra: ExtraJump | None = None,
    ) -> JumpSchedule:
        """The schedule of paths that end at times ``end (batch, 1)`` since their start.

        ``atol`` and ``rtol`` are the tolerances of negative rates.
        """
        rates = RateCheck(jumps, len(poisson), atol=atol, rtol=rtol, device=end.device)
        if extra is not None and extra.largest is not None:
            rates.largest.copy_(extra.largest)
        parts = []
        for k, jump in enumerate(jumps):
            rate = float(cast(Constant, jump.rate).value.detach()) if is_certain(jump) else jump.bound
            if not rate or not rate > 0.0 or jump.leap:
                continue
            times = poisson.arrivals(k, rate * end) / rate
            number = torch.arange(times.shape[1], device=times.device)
            parts.append((torch.where(times <= end, times, torch.inf), k, number))
        if extra is not None:
            parts.append((extra.elapsed, extra.channel, torch.full_like(end[0], EXTRA, dtype=torch.int64)))
        return cls(poisson, JumpCandidates.merge(end, parts), rates)

    def select(self, rows: Tensor) -> JumpSchedule:
        """Those of some paths; a path may be selected several times."""
        return JumpSchedule(self.poisson.select(rows), self.candidates.select(rows), self.rates.select(rows))

    def decide(
        self, channel: int, rhs: RightHandSide, now: TimePoint, u: Tensor, path: Tensor, number: Tensor
    ) -> Decision:
        """Whether candidates of a channel are jumps, at time points ``now`` and states ``u`` before them.

        A hazard that has reached its threshold is no jump where its rate has become zero, nor is a leap that would
        leave the range of the state. Paths whose state is not finite do not jump. ``path (n,)`` are positions in the
        batch, ``number (n,)`` the numbers of the candidates on their channels.
        """
        accepted = u.isfinite().all(-1)
        decision = Decision(accepted, torch.zeros_like(accepted))
        jump = cast(Problem, rhs.problem).jumps[channel]
        if jump.lower is not None:
            with torch.no_grad():
                after = rhs.state(self.apply(channel, rhs, now, u, path, number))
            accepted &= jump.allows(rhs.state(u), after)
        if is_certain(jump) or jump.leap:
            return decision
        mine = (accepted & (number != EXTRA)).nonzero()[:, 0]
        if len(mine):
            now, u, path = now.select(mine), u[mine], path[mine]
            with torch.no_grad():
                rate = rhs.rate(channel, now, u)
            checked = self.rates.check([channel], path, now.t, rhs.state(u), rate[:, None])
            rate, invalid = (x[:, 0] for x in checked)
            if jump.bound is None:
                happens = rate > 0.0
            else:
                happens = self.poisson.choices(channel, path, number[mine]) * jump.bound < rate
            accepted[mine], decision.invalid[mine] = happens & ~invalid, invalid
        return decision

    def apply(
        self, channel: int, rhs: RightHandSide, now: TimePoint, u: Tensor, path: Tensor, number: Tensor
    ) -> Tensor:
        """States (n, dim) after a jump of each path on a channel; arguments as in `decide`."""
        jump = cast(Problem, rhs.problem).jumps[channel]
        return rhs.affect(channel, now, u, self.marks(jump, channel, path, number, rhs.state(u)))

    def marks(self, jump: Jump, channel: int, path: Tensor, number: Tensor, like: Tensor) -> Tensor:
        """Marks of jumps on a channel, one per row of ``like (n, dim)``."""
        if not jump.affect.uses_marks:
            return torch.zeros_like(like)
        return jump.draw(self.poisson.normals(channel, path, number, like.shape[1]).to(like.dtype))
