"""Base class of the orthogonal Runge-Kutta-Chebyshev methods: tables, numbers of stages, and the recurrence."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide, TimePoint
from skneuralde.solvers.methods.stabilized.base import MOST_STAGES, Stabilized
from skneuralde.solvers.methods.stabilized.stability_polynomials import Recurrence, recurrence

#: From this number of stages on, the stability interval is proportional to the square of the number of stages.
_EXACT = 100
#: Distance of the slope at the end of a step from the mean slope, over that of other slopes, which is not unusual.
_TYPICAL = 3.0
#: Number of stages up to which the equation is not so stiff that slopes say nothing.
_FEW = 10


class ROCK(Stabilized):
    """A stabilized method: the stages of a three-term recurrence, and a few final stages that give the order.

    Attributes
    ----------
    table : sequence of tuple of float
        Number of stages, p and q of each pair of zeros, and d, as in
        `skneuralde.solvers.methods.stabilized.rock_tables`.
    share : float
        The stability interval of many stages is at least this times the square of their number.
    """

    table: Sequence[tuple[float, ...]]
    share: float

    @torch.no_grad()
    def change_at_end(self, slopes: Sequence[Tensor], end: Tensor, change: Tensor, last: float, s: int) -> Tensor:
        """The contribution to the error of a slope that changes suddenly after the ``last`` node.

        Only the slope at the end, that of the next step, sees such a change. Smooth solutions are left out: there, the
        ``slopes`` at other stages are about as far from the mean slope. Slopes of stiff components are large for no
        reason, with s stages by s^2, so that many stages reduce the contribution. All are times the length of the step,
        as is the ``change`` over it.
        """
        typical = torch.stack([slope - change for slope in slopes]).abs().amax(0)
        beyond = ((end - change).abs() - _TYPICAL * typical).clamp_min(0.0)
        return (1.0 - last) / max(1.0, (s / _FEW) ** 2) * beyond

    def stages(self, z: float) -> int:
        choices, lengths = self._choices
        return choices[bisect.bisect_left(lengths, z)]

    @cached_property
    def _choices(self) -> tuple[list[int], list[float]]:
        """The numbers of stages in use, and the length of the stability interval of each but the last.

        Up to 50 all numbers are used, then a geometric sequence, which keeps the number of schemes small. Lengths are
        reduced slightly to allow for rounding.
        """
        choices = list(range(int(self.table[0][0]), 51))
        while choices[-1] < MOST_STAGES:
            choices.append(min(int(1.02 * choices[-1]) + 1, MOST_STAGES))
        lengths = [0.998 * interpolated(self.table, s).length if s < _EXACT else self.share * s**2 for s in choices]
        return [*choices, MOST_STAGES + 1], lengths


def interpolated(table: Sequence[tuple[float, ...]], s: int) -> Recurrence:
    """The recurrence of a method of s stages, whose zeros are interpolated or extrapolated linearly in ``1 / s^2``."""
    i = min(max(bisect.bisect_left([row[0] for row in table], s), 1), len(table) - 1)
    (low, *first), (high, *second) = table[i - 1], table[i]
    part = (s**-2 - low**-2) / (high**-2 - low**-2)
    *zeros, d = ((1.0 - part) * a + part * b for a, b in zip(first, second, strict=True))
    return recurrence(s, list(zip(zeros[::2], zeros[1::2], strict=True)), d)


def by_recurrence(
    rhs: RightHandSide,
    time_points: Iterable[TimePoint],
    h: Tensor,
    u: Tensor,
    f: Tensor,
    stages: Recurrence,
    kept: int = 0,
) -> tuple[Tensor, Tensor]:
    """The last stage of a recurrence, and the slope at its stage number ``kept``; each stage has a time point."""
    mu, nu, _ = stages
    slope = f
    before, now = u, torch.addcmul(u, mu[0] * h, f)
    for j, (own, other, time_point) in enumerate(zip(mu[1:], nu[1:], time_points, strict=True), 1):
        there = rhs.drift(time_point, now)
        before, now = now, torch.addcmul(torch.lerp(before, now, other), own * h, there)
        slope = there if j == kept else slope
    return now, slope
