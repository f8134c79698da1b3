"""Where hazards cross their thresholds, and paths jump.

The hazard of a channel is compared with a standard exponential number. A step that would go beyond is made once more,
up to where it is estimated to get there.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.noise import Clocks
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.jumps.hazards import Hazards
from skneuralde.solvers.stepping.loop import StepAttempt

#: A step that is this many times as long as the shortest one is not divided any more.
_INDIVISIBLE = 4.0


class HazardCrossings:
    """Finds where hazards reach their thresholds.

    Parameters
    ----------
    hazards : Hazards
    clocks : Clocks
    """

    #: So often the place is estimated, then the step is halved.
    patience = 6

    def __init__(self, hazards: Hazards, clocks: Clocks):
        self.hazards, self.clocks = hazards, clocks
        self.tries = torch.zeros(len(clocks), 1, dtype=torch.int64, device=clocks.device)

    def settle(self, rhs: RightHandSide, attempt: StepAttempt) -> tuple[StepAttempt, Tensor]:
        """The attempt without the steps that go too far, and which channels jump at the ends of the others, (n, k)."""
        front, hazards = attempt.front, self.hazards
        gap = self._threshold(front.rows, front.u) - hazards.hazard(attempt.step.u1)
        reached = attempt.accepted & (gap <= hazards.accuracy)
        far = attempt.accepted & (gap < -hazards.accuracy).any(1, keepdim=True)
        far &= attempt.length > _INDIVISIBLE * front.shortest
        cut = torch.where(attempt.accepted, torch.inf, front.cut)
        rows = far[:, 0].nonzero()[:, 0]
        path = front.rows
        tries = torch.where(far, self.tries[path] + 1, torch.where(attempt.accepted, 0, self.tries[path]))
        self.tries[path] = tries
        if len(rows):
            share = self._share(rhs, attempt, rows, gap[rows])
            share = torch.where(tries[rows] > self.patience, 0.5, share)
            length = torch.maximum(share * attempt.length[rows], front.shortest[rows])
            cut = cut.index_copy(0, rows, front.elapsed[rows] + length)
        accepted = attempt.accepted & ~far
        target = torch.where(accepted, attempt.target, front.elapsed)
        return replace(attempt, accepted=accepted, reached=target, cut=cut), reached & ~far

    def check(self, rhs: RightHandSide, attempt: StepAttempt, jumped: Tensor) -> StepAttempt:
        """Look at the rates where steps end, and ahead from where a hazard was nearly reached.

        Raises
        ------
        ValueError
            If a rate is negative or not finite.
        """
        front, hazards = attempt.front, self.hazards
        rows = (attempt.accepted & attempt.step.u1.isfinite().all(1, keepdim=True))[:, 0].nonzero()[:, 0]
        if len(rows) == 0:
            return attempt
        part, u = rhs.select(rows), attempt.step.u1[rows]
        now = part.at(torch.addcmul(front.start, front.pace, attempt.target)[rows], u.dtype)
        rate = torch.stack([part.rate(k, now, u) for k in hazards.channels], 1).double()
        was_cut = front.cut[rows].isfinite() & ~jumped[rows].any(1, keepdim=True)
        rest = self._threshold(front.rows[rows], u) - hazards.hazard(u)
        rest = (rest / (rate * front.pace[rows].abs())).nan_to_num(nan=torch.inf).amin(1, keepdim=True)
        ahead = torch.where(was_cut, attempt.target[rows] + torch.maximum(rest, front.shortest[rows]), torch.inf)
        assert attempt.cut is not None
        return replace(attempt, cut=attempt.cut.index_copy(0, rows, ahead))

    def _threshold(self, path: Tensor, u: Tensor) -> Tensor:
        """What each hazard waits for, (n, n_channels); nothing that leaps does."""
        leaping = torch.tensor(self.hazards.leaping, device=u.device)
        return self.hazards.threshold(self.clocks, path, u).masked_fill(leaping, torch.inf)

    def _share(self, rhs: RightHandSide, attempt: StepAttempt, rows: Tensor, gap: Tensor) -> Tensor:
        """The share of steps after which the first hazard reaches its threshold, (n, 1); a parabola tells it."""
        front, hazards = attempt.front, self.hazards
        part, u = rhs.select(rows), front.u[rows]
        now = part.at(torch.addcmul(front.start, front.pace, front.elapsed)[rows], u.dtype)
        length = front.pace[rows].abs() * attempt.length[rows]
        slope = length * torch.stack([part.rate(k, now, u) for k in hazards.channels], 1).double()
        gain = (hazards.hazard(attempt.step.u1[rows]) - hazards.hazard(u)).double()
        needed = gain + gap
        bend = gain - slope
        # bend x^2 + slope x = needed, in the form without cancellation; a straight line where there is no such x.
        root = 2.0 * needed / (slope + (slope.square() + 4.0 * bend * needed).sqrt())
        share = torch.where((root > 0.0) & (root < 1.0), root, needed / gain)
        return torch.where(gap < -hazards.accuracy, share, torch.inf).amin(1, keepdim=True).clamp(0.0, 1.0)
