"""Application of jumps at the ends of steps, and the jumps of a mesh."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.solvers.core.batch_order import rank
from skneuralde.solvers.core.jump_record import JumpRecord
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step, Stepper
from skneuralde.solvers.jumps.schedule import Decision, JumpSchedule


class JumpGroup(NamedTuple):
    """Paths that may jump on one channel at the end of the same step; int64 tensors (n,)."""

    channel: int
    rows: Tensor  #: their rows in the step
    path: Tensor  #: their positions in the batch
    number: Tensor  #: the numbers of the arrivals on their channels

    def apply(
        self,
        schedule: JumpSchedule,
        stepper: Stepper,
        rhs: RightHandSide,
        t: Tensor,
        step: Step,
        decision: Decision | None = None,
    ) -> tuple[Step, Decision]:
        """The step, which ends at times ``t (batch, 1)``, after the jumps; and which candidates are jumps.

        It is decided here unless the ``decision`` is given. The rates see the state after the jumps of channels that
        were applied before at the same time. The state of a path whose rate is invalid becomes NaN.
        """
        channel, rows, path, number = self
        part, u = rhs.select(rows), step.u1.index_select(0, rows)
        now = part.at(t.index_select(0, rows), u.dtype)
        if decision is None:
            decision = schedule.decide(channel, part, now, u.detach(), path, number)
        if bool(decision.invalid.any()):
            step = step._replace(u1=step.u1.index_fill(0, rows[decision.invalid], torch.nan))
        if not bool(decision.accepted.all()):
            chosen = decision.accepted.nonzero()[:, 0]
            part, now = part.select(chosen), now.select(chosen)
            rows, path, number, u = (x[chosen] for x in (rows, path, number, u))
        if len(rows) == 0:
            return step, decision
        u = schedule.apply(channel, part, now, u, path, number)
        step = step._replace(u1=step.u1.index_copy(0, rows, u))
        return stepper.restarted(rhs, t, step, rows), decision


class MeshJumps:
    """Jumps at the ends of the steps of a mesh.

    Candidates are thinned when the steps are made for the first time, and the decision is kept: steps that are made
    again, for a gradient, end on the same jumps. With ``certain`` all candidates are jumps.

    Each candidate has a path, a step at whose end the path may jump, a channel, the number of the arrival, and a
    time since the start. ``permutation (batch,)`` is the mesh's order of paths. ``turn (n,)`` orders the jumps of one
    path at the end of the same step; by default they are in the order of the channels.
    """

    def __init__(
        self,
        schedule: JumpSchedule,
        path: Tensor,
        step: Tensor,
        channel: Tensor,
        number: Tensor,
        elapsed: Tensor,
        permutation: Tensor,
        *,
        certain: bool,
        turn: Tensor | None = None,
    ):
        n_turns = 1 if turn is None or len(turn) == 0 else int(turn.max()) + 1
        n_channels = int(channel.max()) + 1 if len(channel) else 1
        group = (step if turn is None else step * n_turns + turn) * n_channels + channel
        place = group.argsort(stable=True)
        path, number = path[place], number[place]
        self.schedule, self.record = schedule, JumpRecord(path, elapsed[place], channel[place], number)
        certainly = torch.full_like(path, certain, dtype=torch.bool)
        self.decision = Decision(certainly, torch.zeros_like(certainly))
        self.is_decided = certain
        groups, sizes = (x.tolist() for x in group[place].unique_consecutive(return_counts=True))
        columns = zip(groups, *(column.split(sizes) for column in (rank(permutation)[path], path, number)), strict=True)
        self.places: dict[int, list[tuple[JumpGroup, slice]]] = {}
        end = 0
        for which, *some in columns:
            begin, end = end, end + len(some[0])
            group_and_entries = JumpGroup(which % n_channels, *some), slice(begin, end)
            self.places.setdefault(which // (n_turns * n_channels), []).append(group_and_entries)

    def after(self, k: int, stepper: Stepper, rhs: RightHandSide, t: Tensor, step: Step) -> Step:
        """Step ``k``, which ends at times ``t``, after the jumps at its end."""
        for jumps, entries in self.places.get(k, ()):
            known = Decision(*(x[entries] for x in self.decision)) if self.is_decided else None
            step, decision = jumps.apply(self.schedule, stepper, rhs, t, step, known)
            if known is None:
                for column, values in zip(self.decision, decision, strict=True):
                    column[entries] = values
        return step

    def jumps(self) -> JumpRecord:
        """The jumps that have happened."""
        return self.record.where(self.decision.accepted)
