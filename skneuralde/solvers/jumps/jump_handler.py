"""The jumps that paths meet in the step loop."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.solvers.core.jump_record import JumpRecord
from skneuralde.solvers.core.loop_state import StepAttempt
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Stepper
from skneuralde.solvers.jumps.apply import JumpGroup, MeshJumps
from skneuralde.solvers.jumps.hazard_crossing import HazardCrossings
from skneuralde.solvers.jumps.hazards import Hazards
from skneuralde.solvers.jumps.schedule import JumpSchedule

#: The most jumps of a channel, about, at the end of one step.
_MOST_LEAPT = 10_000


class JumpHandler:
    """Applies the jumps at the ends of the steps of the loop, and records them.

    Steps end on the candidate times ``points (batch, n)``, in the unit of the loop, padded with infinity. For rates
    without a bound, ``hazards`` is the structure of the augmented states.
    """

    def __init__(self, stepper: Stepper, schedule: JumpSchedule, points: Tensor, hazards: Hazards | None):
        self.stepper, self.schedule, self.hazards = stepper, schedule, hazards
        self.crossings = None if hazards is None else HazardCrossings(hazards, schedule.poisson, schedule.rates)
        self.points = points
        self.rows: Tensor | None = None
        self.met = [JumpRecord.empty(points.device)]
        self.steps = [torch.zeros(0, dtype=torch.int64, device=points.device)]
        self.turns = [self.steps[0]]

    def handle(self, rhs: RightHandSide, attempt: StepAttempt) -> StepAttempt:
        """The attempt after the jumps at its end."""
        if self.crossings is None:
            slot, arrived = self._candidates(attempt)
            return self._jump(rhs, attempt, slot, arrived)
        attempt, crossed = self.crossings.locate(rhs, attempt)
        slot, arrived = self._candidates(attempt)
        more, others = self._crossed(attempt, crossed, self.crossings.hazards)
        arrived = JumpRecord(*map(torch.cat, zip(arrived, others, strict=True)))
        attempt = self._jump(rhs, attempt, torch.cat([slot, more]), arrived)
        if any(self.crossings.hazards.leaping):
            attempt = self._leap(rhs, attempt, self.crossings.hazards)
        return self.crossings.check(rhs, attempt)

    def record(self) -> JumpRecord:
        """The jumps so far."""
        return JumpRecord(*(torch.cat(column) for column in zip(*self.met, strict=True)))

    def on_mesh(self, permutation: Tensor) -> MeshJumps:
        """The same jumps along the mesh of the accepted steps, whose order of paths is ``permutation (batch,)``."""
        path, elapsed, channel, number = self.record()
        step, turn = torch.cat(self.steps), torch.cat(self.turns)
        return MeshJumps(self.schedule, path, step, channel, number, elapsed, permutation, certain=True, turn=turn)

    def _candidates(self, attempt: StepAttempt) -> tuple[Tensor, JumpRecord]:
        """Candidates at the ends of accepted steps: their rows, (n,), and their entries in the record."""
        paths = attempt.paths
        if paths.rows is not self.rows:
            self.rows, self.here = paths.rows, self.points[paths.rows]
        first = torch.searchsorted(self.here, attempt.target)
        count = torch.searchsorted(self.here, attempt.target, right=True) - first
        count = torch.where(attempt.accepted, count, 0)[:, 0]
        slot = torch.repeat_interleave(count)
        place = first[slot, 0] + torch.arange(len(slot), device=slot.device) - (count.cumsum(0) - count)[slot]
        path, candidates = paths.rows[slot], self.schedule.candidates
        columns = candidates.elapsed, candidates.channel, candidates.number
        return slot, JumpRecord(path, *(column[path, place] for column in columns))

    def _crossed(self, attempt: StepAttempt, crossed: Tensor, hazards: Hazards) -> tuple[Tensor, JumpRecord]:
        """Jumps of the hazards that have reached their thresholds, ``(n, n_channels)``, likewise."""
        paths = attempt.paths
        slot, which = crossed.nonzero(as_tuple=True)
        number = hazards.number(attempt.step.u1)[slot, which]
        channel = torch.tensor(hazards.channels, device=slot.device)[which]
        return slot, JumpRecord(paths.rows[slot], (paths.unit.abs() * attempt.target)[slot, 0], channel, number)

    def _leap(self, rhs: RightHandSide, attempt: StepAttempt, hazards: Hazards) -> StepAttempt:
        """The attempt after all jumps of channels that leap, one after the other; ValueError if there are too many.

        Channels with an end of their range compete for what is there, so that jumps happen in the order in which the
        hazards, growing evenly over the step, reach their thresholds.
        """
        paths, poisson, turn = attempt.paths, self.schedule.poisson, 0
        leaps = attempt.accepted & torch.tensor(hazards.leaping, device=paths.u.device)
        end = hazards.hazard(attempt.step.u1)
        self._check_leaps(torch.where(leaps, end, 0.0), hazards)
        growth = end - hazards.hazard(paths.u)
        compete = any(self.schedule.rates.jumps[k].lower is not None for k in hazards.channels)
        while True:
            u, turn = attempt.step.u1, turn + 1
            threshold = hazards.threshold(poisson, paths.rows, u)
            ahead = hazards.hazard(u) - threshold
            due = leaps & (ahead >= 0.0)
            if compete:
                remaining = torch.where(due, ahead / growth, -torch.inf)
                due &= remaining == remaining.amax(1, keepdim=True)
            slot, arrived = self._crossed(attempt, due, hazards)
            if len(slot) == 0:
                return attempt
            attempt = replace(attempt, step=attempt.step._replace(u1=hazards.passed(u, threshold, due)))
            attempt = self._jump(rhs, attempt, slot, arrived, turn)

    def _check_leaps(self, ahead: Tensor, hazards: Hazards) -> None:
        if ahead.numel() and float(ahead.max()) > _MOST_LEAPT:
            channel = hazards.channels[int(ahead.amax(0).argmax())]
            raise ValueError(
                f"jumps[{channel}] happens more than {_MOST_LEAPT} times in one step: give a smaller dt, or describe "
                "so many jumps by a drift and a diffusion"
            )

    def _jump(
        self, rhs: RightHandSide, attempt: StepAttempt, slot: Tensor, arrived: JumpRecord, turn: int = 0
    ) -> StepAttempt:
        """The attempt after the candidates of its rows ``slot (n,)``, as far as they are jumps."""
        if len(slot) == 0:
            return attempt
        paths, step = attempt.paths, attempt.step
        t = paths.time(attempt.target)
        for channel in arrived.channel.unique().tolist():
            mine = (arrived.channel == channel).nonzero()[:, 0]
            rows, candidates = slot[mine], arrived.where(mine)
            group = JumpGroup(channel, rows, paths.rows[rows], candidates.number)
            step, (accepted, invalid) = group.apply(self.schedule, self.stepper, rhs, t, step)
            attempt = attempt.failing(rows[invalid])
            self.met.append(candidates.where(accepted))
            self.steps.append(paths.steps[rows[accepted], 0])
            self.turns.append(torch.full_like(self.steps[-1], turn))
        return attempt.interrupted(slot, step)
