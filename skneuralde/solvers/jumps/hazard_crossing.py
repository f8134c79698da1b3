"""Crossings of hazards with their thresholds, which are standard exponential numbers.

A step that would pass a crossing is rejected, and tried again up to the estimated crossing.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.noise import PoissonProcesses
from skneuralde.solvers.core.loop_state import StepAttempt
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.jumps.hazards import Hazards

#: A step of up to this many smallest steps is not divided any further.
_INDIVISIBLE = 4.0


class HazardCrossings:
    """Locates the times at which hazards reach their thresholds."""

    #: Number of estimates of one crossing, after which the step is halved.
    patience = 6

    def __init__(self, hazards: Hazards, poisson: PoissonProcesses):
        self.hazards, self.poisson = hazards, poisson
        self.tries = torch.zeros(len(poisson), 1, dtype=torch.int64, device=poisson.device)

    def locate(self, rhs: RightHandSide, attempt: StepAttempt) -> tuple[StepAttempt, Tensor]:
        """Reject steps that pass a crossing; also returns the channels that jump at the ends of the others, (n, k)."""
        paths, hazards = attempt.paths, self.hazards
        gap = self._threshold(paths.rows, paths.u) - hazards.hazard(attempt.step.u1)
        reached = attempt.accepted & (gap <= hazards.accuracy)
        far = attempt.accepted & (gap < -hazards.accuracy).any(1, keepdim=True)
        far &= attempt.length > _INDIVISIBLE * paths.min_step
        limit = torch.where(attempt.accepted, torch.inf, paths.limit)
        rows = far[:, 0].nonzero()[:, 0]
        path = paths.rows
        tries = torch.where(far, self.tries[path] + 1, torch.where(attempt.accepted, 0, self.tries[path]))
        self.tries[path] = tries
        if len(rows):
            share = self._share(rhs, attempt, rows, gap[rows])
            share = torch.where(tries[rows] > self.patience, 0.5, share)
            length = torch.maximum(share * attempt.length[rows], paths.min_step[rows])
            limit = limit.index_copy(0, rows, paths.elapsed[rows] + length)
        accepted = attempt.accepted & ~far
        target = torch.where(accepted, attempt.target, paths.elapsed)
        return replace(attempt, accepted=accepted, reached=target, limit=limit), reached & ~far

    def check(self, rhs: RightHandSide, attempt: StepAttempt, jumped: Tensor) -> StepAttempt:
        """Check the rates at the ends of steps, and limit the next step of paths that are close to a crossing.

        A rate that is negative or not finite raises ValueError.
        """
        paths, hazards = attempt.paths, self.hazards
        rows = (attempt.accepted & attempt.step.u1.isfinite().all(1, keepdim=True))[:, 0].nonzero()[:, 0]
        if len(rows) == 0:
            return attempt
        part, u = rhs.select(rows), attempt.step.u1[rows]
        now = part.at(paths.time(attempt.target)[rows], u.dtype)
        rate = torch.stack([part.rate(k, now, u) for k in hazards.channels], 1).double()
        was_limited = paths.limit[rows].isfinite() & ~jumped[rows].any(1, keepdim=True)
        rest = self._threshold(paths.rows[rows], u) - hazards.hazard(u)
        rest = (rest / (rate * paths.unit[rows].abs())).nan_to_num(nan=torch.inf).amin(1, keepdim=True)
        ahead = torch.where(was_limited, attempt.target[rows] + torch.maximum(rest, paths.min_step[rows]), torch.inf)
        assert attempt.limit is not None
        return replace(attempt, limit=attempt.limit.index_copy(0, rows, ahead))

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
        slope = length * torch.stack([part.rate(k, now, u) for k in hazards.channels], 1).double()
        gain = (hazards.hazard(attempt.step.u1[rows]) - hazards.hazard(u)).double()
        needed = gain + gap
        bend = gain - slope
        # bend x^2 + slope x = needed, in the form without cancellation; a straight line where there is no such x.
        root = 2.0 * needed / (slope + (slope.square() + 4.0 * bend * needed).sqrt())
        share = torch.where((root > 0.0) & (root < 1.0), root, needed / gain)
        return torch.where(gap < -hazards.accuracy, share, torch.inf).amin(1, keepdim=True).clamp(0.0, 1.0)
