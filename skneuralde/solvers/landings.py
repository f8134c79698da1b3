"""Jumps along a mesh that is known in advance: what happens at the ends of its steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.solvers.base import Step, Stepper
from skneuralde.solvers.clockwork import Clockwork, Events
from skneuralde.solvers.equation import Equation
from skneuralde.solvers.jump_log import JumpLog


class _Landing(NamedTuple):
    """What happens after one step: rows in the mesh's order, positions in the batch, and the events at each."""

    rows: Tensor
    path: Tensor
    events: Events
    entry: Tensor


class Landings:
    """What happens at mesh points, step by step.

    Candidates are decided on the first time that a path comes by, and that decision is kept: whoever makes the steps
    again, for a gradient, meets the same jumps.

    Parameters
    ----------
    clockwork : Clockwork
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
        clockwork: Clockwork,
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
        group = step if turn is None else step * n_turns + turn
        place = group.argsort(stable=True)
        path, group, channel, number = path[place], group[place], channel[place], number[place]
        self.clockwork, self.log = clockwork, JumpLog(path, elapsed[place], channel, number)
        self.accepted = torch.full_like(path, certain, dtype=torch.bool)
        self.is_decided = certain
        rank = torch.empty_like(order).index_copy(0, order, torch.arange(len(order), device=order.device))
        entries = torch.arange(len(path), device=path.device).split(torch.bincount(group).tolist())
        self.places: dict[int, list[_Landing]] = {}
        for k, entry in enumerate(entries):
            if len(entry):
                jumping, slot = path[entry].unique(return_inverse=True)
                landing = _Landing(rank[jumping], jumping, Events(slot, channel[entry], number[entry]), entry)
                self.places.setdefault(k // n_turns, []).append(landing)

    def after(
        self, k: int, marcher: Stepper, equation: Equation, t: Tensor, step: Step, u: Tensor, carry: Tensor | None
    ) -> Step:
        """Step ``k`` of the paths of an equation, which ends at the times ``t``, with the jumps that follow it.

        What it started from, the states ``u`` and ``carry``, does not matter here.
        """
        for rows, path, events, entry in self.places.get(k, ()):
            part, u = equation.select(rows), step.u1[rows]
            now = part.at(t[rows], u.dtype)
            if not self.is_decided:
                self.accepted[entry] = self.clockwork.decide(part, now, u.detach(), path, events)
            u = self.clockwork.apply(part, now, u, path, events.where(self.accepted[entry]))
            step = landed(marcher, part, step, rows, t[rows], u)
        return step

    def jumps(self) -> JumpLog:
        """The jumps that have happened."""
        return self.log.where(self.accepted)


def landed(marcher: Stepper, part: Equation, step: Step, rows: Tensor, t: Tensor, u: Tensor) -> Step:
    """A step after which some rows are in states ``u`` at times ``t``, and go on from there."""
    state = step.state
    if state is not None:
        fresh = marcher.resume(part, t, u)
        assert fresh is not None  # who keeps something can also find it anew
        state = state.index_copy(0, rows, fresh)
    return step._replace(u1=step.u1.index_copy(0, rows, u), state=state)
