"""Jumps along a mesh that is known in advance: what happens at the ends of its steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.solvers.core.batch_order import rank
from skneuralde.solvers.core.jump_record import JumpRecord
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step, Stepper
from skneuralde.solvers.jumps.schedule import JumpSchedule


class JumpGroup(NamedTuple):
    """Paths that may jump on one channel at the end of a step.

    Attributes
    ----------
    channel : int
    rows : int64 Tensor of shape (n,)
        Which rows of the step.
    path, number : int64 Tensor of shape (n,)
        Their positions in the batch, and the numbers of the jumps on their clocks.
    """

    channel: int
    rows: Tensor
    path: Tensor
    number: Tensor

    def settle(
        self,
        clockwork: JumpSchedule,
        marcher: Stepper,
        rhs: RightHandSide,
        t: Tensor,
        step: Step,
        accepted: Tensor | None = None,
    ) -> tuple[Step, Tensor]:
        """The step, which ends at the times ``t (batch, 1)``, after the jumps; and which candidates are jumps, (n,).

        That is found out where it is not given, from states that know of other channels settled at the same time.
        """
        channel, rows, path, number = self
        part, t, u = rhs.select(rows), t.index_select(0, rows), step.u1.index_select(0, rows)
        now = part.at(t, u.dtype)
        if accepted is None:
            accepted = clockwork.decide(channel, part, now, u.detach(), path, number)
        if not bool(accepted.all()):
            chosen = accepted.nonzero()[:, 0]
            part, now = part.select(chosen), now.select(chosen)
            rows, path, number, t, u = (x[chosen] for x in (rows, path, number, t, u))
        if len(rows) == 0:
            return step, accepted
        u, state = clockwork.apply(channel, part, now, u, path, number), step.state
        if state is not None:
            fresh = marcher.resume(part, t, u)
            assert fresh is not None  # who keeps something can also find it anew
            state = state.index_copy(0, rows, fresh)
        return step._replace(u1=step.u1.index_copy(0, rows, u), state=state), accepted


class MeshJumps:
    """What happens at mesh points, step by step.

    Candidates are decided on the first time that a path comes by, and that decision is kept: whoever makes the steps
    again, for a gradient, meets the same jumps.

    Parameters
    ----------
    clockwork : JumpSchedule
    path, step, channel, number : int64 Tensor of shape (n,)
        Which path may jump after which of its steps.
    elapsed : float64 Tensor of shape (n,)
        When, since the start.
    order : int64 Tensor of shape (batch,)
        The mesh's order of paths.
    certain : bool
        Whether all of them are jumps.
    turn : int64 Tensor of shape (n,), optional
        Which of them come after which at the same end of a step of the same path; else channels do, in order.
    """

    def __init__(
        self,
        clockwork: JumpSchedule,
        path: Tensor,
        step: Tensor,
        channel: Tensor,
        number: Tensor,
        elapsed: Tensor,
        order: Tensor,
        *,
        certain: bool,
        turn: Tensor | None = None,
    ):
        n_turns = 1 if turn is None or len(turn) == 0 else int(turn.max()) + 1
        n_channels = int(channel.max()) + 1 if len(channel) else 1
        group = (step if turn is None else step * n_turns + turn) * n_channels + channel
        place = group.argsort(stable=True)
        path, number = path[place], number[place]
        self.clockwork, self.log = clockwork, JumpRecord(path, elapsed[place], channel[place], number)
        self.accepted = torch.full_like(path, certain, dtype=torch.bool)
        self.is_decided = certain
        groups, sizes = (x.tolist() for x in group[place].unique_consecutive(return_counts=True))
        columns = zip(groups, *(column.split(sizes) for column in (rank(order)[path], path, number)), strict=True)
        self.places: dict[int, list[tuple[JumpGroup, slice]]] = {}
        end = 0
        for which, *some in columns:
            begin, end = end, end + len(some[0])
            landing = JumpGroup(which % n_channels, *some), slice(begin, end)
            self.places.setdefault(which // (n_turns * n_channels), []).append(landing)

    def after(self, k: int, marcher: Stepper, rhs: RightHandSide, t: Tensor, step: Step) -> Step:
        """Step ``k`` of the paths of an equation, which ends at the times ``t``, with the jumps that follow it."""
        for landing, entries in self.places.get(k, ()):
            known = self.accepted[entries] if self.is_decided else None
            step, accepted = landing.settle(self.clockwork, marcher, rhs, t, step, known)
            if known is None:
                self.accepted[entries] = accepted
        return step

    def jumps(self) -> JumpRecord:
        """The jumps that have happened."""
        return self.log.where(self.accepted)
