"""Jumps that a search meets on its way."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.solvers.core.jump_record import JumpRecord
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Stepper
from skneuralde.solvers.jumps.apply import JumpGroup, MeshJumps
from skneuralde.solvers.jumps.hazard_crossing import HazardCrossings
from skneuralde.solvers.jumps.hazards import Hazards
from skneuralde.solvers.jumps.schedule import JumpSchedule
from skneuralde.solvers.stepping.loop import StepAttempt

#: About so many jumps of a channel happen at the end of one step at most.
_MOST_LEAPT = 10_000


class JumpHandler:
    """Decides and makes the jumps at the ends of the steps of a search, and remembers them.

    Parameters
    ----------
    stepper : Stepper
    clockwork : JumpSchedule
    points : float64 Tensor of shape (batch, n)
        Its candidates, in the unit of the search, with infinity behind; steps end on them.
    hazards : Hazards or None
        What paths carry for rates without a bound.
    """

    def __init__(self, stepper: Stepper, clockwork: JumpSchedule, points: Tensor, hazards: Hazards | None):
        self.stepper, self.clockwork, self.hazards = stepper, clockwork, hazards
        self.crossings = None if hazards is None else HazardCrossings(hazards, clockwork.clocks)
        self.points = points
        self.rows: Tensor | None = None
        self.met = [JumpRecord.empty(points.device)]
        self.steps = [torch.zeros(0, dtype=torch.int64, device=points.device)]
        self.rounds = [self.steps[0]]

    def settle(self, rhs: RightHandSide, attempt: StepAttempt) -> StepAttempt:
        """The attempt after the jumps at its end."""
        if self.crossings is None:
            slot, arrived = self._candidates(attempt)
            return self._jump(rhs, attempt, slot, arrived)
        attempt, crossed = self.crossings.settle(rhs, attempt)
        slot, arrived = self._candidates(attempt)
        more, others = self._crossed(attempt, crossed, self.crossings.hazards)
        arrived = JumpRecord(*map(torch.cat, zip(arrived, others, strict=True)))
        attempt = self._jump(rhs, attempt, torch.cat([slot, more]), arrived)
        if any(self.crossings.hazards.leaping):
            attempt = self._leap(rhs, attempt, self.crossings.hazards)
        return self.crossings.check(rhs, attempt, crossed)

    def log(self) -> JumpRecord:
        """The jumps so far."""
        return JumpRecord(*(torch.cat(column) for column in zip(*self.met, strict=True)))

    def landings(self, order: Tensor) -> MeshJumps:
        """The same jumps after the accepted steps, for whose paths ``order (batch,)`` is the mesh's."""
        path, elapsed, channel, number = self.log()
        step, turn = torch.cat(self.steps), torch.cat(self.rounds)
        return MeshJumps(self.clockwork, path, step, channel, number, elapsed, order, certain=True, turn=turn)

    def _candidates(self, attempt: StepAttempt) -> tuple[Tensor, JumpRecord]:
        """Candidates at the ends of accepted steps: their rows, (n,), and what they would be."""
        front = attempt.front
        if front.rows is not self.rows:
            self.rows, self.here = front.rows, self.points[front.rows]
        first = torch.searchsorted(self.here, attempt.target)
        count = torch.searchsorted(self.here, attempt.target, right=True) - first
        count = torch.where(attempt.accepted, count, 0)[:, 0]
        slot = torch.repeat_interleave(count)
        place = first[slot, 0] + torch.arange(len(slot), device=slot.device) - (count.cumsum(0) - count)[slot]
        path, candidates = front.rows[slot], self.clockwork.candidates
        columns = candidates.elapsed, candidates.channel, candidates.number
        return slot, JumpRecord(path, *(column[path, place] for column in columns))

    def _crossed(self, attempt: StepAttempt, crossed: Tensor, hazards: Hazards) -> tuple[Tensor, JumpRecord]:
        """The same of hazards that have reached their thresholds, ``(n, n_channels)``."""
        front = attempt.front
        slot, which = crossed.nonzero(as_tuple=True)
        number = hazards.number(attempt.step.u1)[slot, which]
        channel = torch.tensor(hazards.channels, device=slot.device)[which]
        return slot, JumpRecord(front.rows[slot], (front.pace.abs() * attempt.target)[slot, 0], channel, number)

    def _leap(self, rhs: RightHandSide, attempt: StepAttempt, hazards: Hazards) -> StepAttempt:
        """The attempt after all jumps that leaping hazards have passed, of each channel one after the other.

        Raises
        ------
        ValueError
            If they are so many that to make each of them is no use.
        """
        front, clocks, turn = attempt.front, self.clockwork.clocks, 0
        leaping = torch.tensor(hazards.leaping, device=front.u.device)
        while True:
            u, turn = attempt.step.u1, turn + 1
            threshold = hazards.threshold(clocks, front.rows, u)
            ahead = (hazards.hazard(u) - threshold).masked_fill(~(attempt.accepted & leaping), -torch.inf)
            slot, arrived = self._crossed(attempt, ahead >= 0.0, hazards)
            if len(slot) == 0:
                return attempt
            if float(ahead.max()) > _MOST_LEAPT:
                channel = hazards.channels[int(ahead.amax(0).argmax())]
                raise ValueError(
                    f"jumps[{channel}] happens more than {_MOST_LEAPT} times in one step: give a smaller dt, or "
                    "describe so many jumps by a drift and a diffusion"
                )
            u = hazards.passed(u, threshold, ahead >= 0.0)
            attempt = replace(attempt, step=attempt.step._replace(u1=u))
            attempt = self._jump(rhs, attempt, slot, arrived, turn)

    def _jump(
        self, rhs: RightHandSide, attempt: StepAttempt, slot: Tensor, arrived: JumpRecord, turn: int = 0
    ) -> StepAttempt:
        """The attempt after those of its rows ``slot (n,)`` have arrived there; in this turn, if there are more."""
        if len(slot) == 0:
            return attempt
        front, step = attempt.front, attempt.step
        t = torch.addcmul(front.start, front.pace, attempt.target)
        for channel in arrived.channel.unique().tolist():
            mine = (arrived.channel == channel).nonzero()[:, 0]
            rows, log = slot[mine], arrived.where(mine)
            landing = JumpGroup(channel, rows, front.rows[rows], log.number)
            step, accepted = landing.settle(self.clockwork, self.stepper, rhs, t, step)
            self.met.append(log.where(accepted))
            self.steps.append(front.steps[rows[accepted], 0])
            self.rounds.append(torch.full_like(self.steps[-1], turn))
        stopped = torch.zeros_like(attempt.accepted).index_fill(0, slot, True)
        return replace(attempt, step=step, stopped=stopped)
