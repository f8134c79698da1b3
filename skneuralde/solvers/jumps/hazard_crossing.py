"""Crossings of hazards with their thresholds, which are standard exponential numbers.

A step that would pass a crossing is rejected, and tried again up to the estimated crossing. A step that ends at an
invalid rate is shortened as well, until it is known where the rate becomes invalid.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.noise import PoissonProcesses
from skneuralde.solvers.core.loop_state import RUNNING, StepAttempt
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.jumps.hazards import Hazards
from skneuralde.solvers.jumps.rate_check import RateCheck

#: A step of up to this many smallest steps is not divided any further.
_INDIVISIBLE = 4.0

#: Accuracy of the time at which a rate becomes invalid, as a share of the time since the start.
_INVALID_SINCE = 1e-6


class HazardCrossings:
    """Locates the times at which hazards reach their thresholds."""

    #: Number of estimates of one crossing, after which the step is halved.
    patience = 6

    def __init__(self, hazards: Hazards, poisson: PoissonProcesses, rates: RateCheck):
        self.hazards, self.poisson, self.rates = hazards, poisson, rates
        self.tries = torch.zeros(len(poisson), 1, dtype=torch.int64, device=poisson.device)

    def locate(self, rhs: RightHandSide, attempt: StepAttempt) -> tuple[StepAttempt, Tensor]:
        """Reject steps that pass a crossing; also returns the channels that jump at the ends of the others, (n, k).

        A hazard has reached its threshold if it differs from it by a small share of what was integrated, so that short
        waiting times are as accurate as long ones, and a hazard of zero has reached none.
        """
        paths, hazards = attempt.paths, self.hazards
        hazard = hazards.hazard(attempt.step.u1).double()
        gap = self._threshold(paths.rows, paths.u) - hazard
        tolerance = hazards.accuracy * hazard.clamp(0.0, 1.0)
        reached = (gap <= tolerance) & (hazard > 0.0)
        can_divide = attempt.length > _INDIVISIBLE * paths.min_step
        far = attempt.accepted & can_divide & (reached & (gap < -tolerance)).any(1, keepdim=True)
        attempt = replace(attempt, limit=torch.where(attempt.accepted, torch.inf, paths.limit))
        self._count(attempt, far)
        rows = far[:, 0].nonzero()[:, 0]
        if len(rows):
            share = self._share(rhs, attempt, rows, gap[rows])
            attempt = _shortened(attempt, rows, torch.where(self.tries[paths.rows[rows]] > self.patience, 0.5, share))
        attempt = self._follow_rates(rhs, attempt, gap, reached, can_divide)
        return attempt, reached & attempt.accepted

    def check(self, rhs: RightHandSide, attempt: StepAttempt) -> StepAttempt:
        """The attempt after a check of the rates behind jumps: paths fail where these are invalid."""
        if attempt.jumped is None:
            return attempt
        rows = (attempt.jumped & attempt.accepted & attempt.step.u1.isfinite().all(1, keepdim=True))[:, 0].nonzero()[
            :, 0
        ]
        if len(rows) == 0:
            return attempt
        _, invalid = self._rates(rhs, attempt, rows, attempt.step.u1[rows])
        return attempt.failing(rows[invalid.any(1)])

    def _follow_rates(
        self, rhs: RightHandSide, attempt: StepAttempt, gap: Tensor, reached: Tensor, can_divide: Tensor
    ) -> StepAttempt:
        """What follows from the rates at the ends of steps: shorter steps, failures, and limits close to a crossing."""
        paths, u = attempt.paths, attempt.step.u1
        is_finite = u.isfinite().all(1, keepdim=True)
        # A step that is not finite is judged at the state before it: its rate alone may be the reason.
        rows = (attempt.accepted | ((paths.status == RUNNING) & ~is_finite))[:, 0].nonzero()[:, 0]
        if len(rows) == 0:
            return attempt
        rate, invalid = self._rates(rhs, attempt, rows, torch.where(is_finite, u, paths.u)[rows])
        gap, reached = gap[rows], reached[rows]
        began = self.hazards.hazard(paths.u)[rows] < gap + self.hazards.hazard(u)[rows]
        is_wrong = invalid.any(1)
        # The rate was positive before its end, and so was the crossing.
        is_over = (reached & (gap <= 0.0) & began & (rate == 0.0)).any(1) & attempt.accepted[rows, 0]
        was_limited = paths.limit[rows].isfinite() & ~reached.any(1, keepdim=True)
        rest = torch.where(rate > 0.0, gap / (rate * paths.unit[rows].abs()), torch.inf).amin(1, keepdim=True)
        ahead = torch.where(was_limited, attempt.target[rows] + torch.maximum(rest, paths.min_step[rows]), torch.inf)
        assert attempt.limit is not None
        ahead = torch.where(attempt.accepted[rows], ahead, attempt.limit[rows])
        attempt = replace(attempt, limit=attempt.limit.index_copy(0, rows, ahead))
        if not bool((is_wrong | is_over).any()):
            return attempt
        can_divide = can_divide[rows, 0]
        is_located = ~can_divide | (attempt.length <= _INVALID_SINCE * attempt.target)[rows, 0]
        attempt = attempt.failing(rows[is_wrong & is_located])
        again = rows[torch.where(is_wrong, ~is_located, is_over & can_divide)]
        return _shortened(attempt, again, torch.full_like(attempt.length[again], 0.5))

    def _rates(self, rhs: RightHandSide, attempt: StepAttempt, rows: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Rates of all channels at the ends of some steps, with states ``u`` there, and which are invalid, (n, k)."""
        paths, part, channels = attempt.paths, rhs.select(rows), self.hazards.channels
        now = part.at(paths.time(attempt.target)[rows], u.dtype)
        rates = torch.stack([part.rate(k, now, u) for k in channels], 1)
        return self.rates.check(channels, paths.rows[rows], now.t, rhs.state(u), rates)

    def _count(self, attempt: StepAttempt, far: Tensor) -> None:
        """Count the estimates of the crossings that are looked for."""
        path = attempt.paths.rows
        tries = self.tries[path]
        self.tries[path] = torch.where(far, tries + 1, torch.where(attempt.accepted, 0, tries))

    def _threshold(self, path: Tensor, u: Tensor) -> Tensor:
        """Thresholds, (n, n_channels); infinite for channels that leap."""
        leaping = torch.tensor(self.hazards.leaping, device=u.device)
        return self.hazards.threshold(self.poisson, path, u).masked_fill(leaping, torch.inf)

    def _share(self, rhs: RightHandSide, attempt: StepAttempt, rows: Tensor, gap: Tensor) -> Tensor:
        """Share of each step after which its first hazard crosses, (n, 1), by a parabola."""
        paths, hazards = attempt.paths, self.hazards
        part, u = rhs.select(rows), paths.u[rows]
        now = part.at(paths.time(paths.elapsed)[rows], u.dtype)
        length = paths.unit[rows].abs() * attempt.length[rows]
        slope = length * torch.stack([part.rate(k, now, u) for k in hazards.channels], 1).double().clamp_min(0.0)
        gain = (hazards.hazard(attempt.step.u1[rows]) - hazards.hazard(u)).double()
        needed = gain + gap
        bend = gain - slope
        # bend x^2 + slope x = needed, in the form without cancellation; a straight line where there is no such x.
        root = 2.0 * needed / (slope + (slope.square() + 4.0 * bend * needed).sqrt())
        share = torch.where((root > 0.0) & (root < 1.0), root, needed / gain)
        return torch.where(gap < 0.0, share, torch.inf).amin(1, keepdim=True).clamp(0.0, 1.0)


def _shortened(attempt: StepAttempt, rows: Tensor, share: Tensor) -> StepAttempt:
    """The attempt with some steps rejected, the next of which end after a share (n, 1) of them at the latest.

    An error that made the step fail, too, does not shorten it any further.
    """
    paths = attempt.paths
    assert attempt.limit is not None
    length = torch.maximum(share * attempt.length[rows], paths.min_step[rows])
    return replace(
        attempt,
        accepted=attempt.accepted.index_fill(0, rows, False),
        reached=attempt.reached.index_copy(0, rows, paths.elapsed[rows]),
        ratio=attempt.ratio.index_copy(0, rows, attempt.ratio[rows].clamp_max(1.0)),
        limit=attempt.limit.index_copy(0, rows, paths.elapsed[rows] + length),
    )
