"""Jumps that a search meets on its way."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.solvers.base import Step, Stepper
from skneuralde.solvers.clockwork import Clockwork, Events
from skneuralde.solvers.equation import Equation
from skneuralde.solvers.jump_log import JumpLog
from skneuralde.solvers.landings import Landings, landed
from skneuralde.solvers.loop import Attempt


class Arrivals:
    """Decides and makes the jumps at the ends of the steps of a search, and remembers them.

    Parameters
    ----------
    stepper : Stepper
    clockwork : Clockwork
    points : float64 Tensor of shape (batch, n)
        Its candidates, in the unit of the search; steps end on them.
    """

    def __init__(self, stepper: Stepper, clockwork: Clockwork, points: Tensor):
        self.stepper, self.clockwork = stepper, clockwork
        self.points = torch.cat([points, torch.full_like(points[:, :1], torch.inf)], 1) if points.shape[1] else None
        self.rows: Tensor | None = None
        self.met = [JumpLog.empty(points.device)]
        self.steps = [torch.zeros(0, dtype=torch.int64, device=points.device)]

    def settle(self, equation: Equation, attempt: Attempt) -> Attempt:
        """The attempt after the jumps at its end."""
        if self.points is None:
            return attempt
        front = attempt.front
        if front.rows is not self.rows:
            self.rows, self.here = front.rows, self.points[front.rows]
        first = torch.searchsorted(self.here, attempt.target)
        count = torch.searchsorted(self.here, attempt.target, right=True) - first
        count = torch.where(attempt.accepted, count, 0)[:, 0]
        rows = torch.repeat_interleave(count)
        if len(rows) == 0:
            return attempt
        place = first[rows, 0] + torch.arange(len(rows), device=rows.device) - (count.cumsum(0) - count)[rows]
        step = self._jump(equation, attempt, rows, place)
        return replace(attempt, step=step, stopped=(count > 0)[:, None])

    def _jump(self, equation: Equation, attempt: Attempt, rows: Tensor, place: Tensor) -> Step:
        """The step after the candidates ``place (n,)`` of its ``rows (n,)``."""
        front, candidates, u = attempt.front, self.clockwork.candidates, attempt.step.u1
        t = torch.addcmul(front.start, front.pace, attempt.target)
        here, slot = rows.unique(return_inverse=True)
        entry = front.rows[rows], place
        events = Events(slot, candidates.channel[entry], candidates.number[entry])
        part = equation.select(here)
        now = part.at(t[here], u.dtype)
        path = front.rows[here]
        accepted = self.clockwork.decide(part, now, u[here], path, events)
        self.met.append(JumpLog(entry[0], candidates.elapsed[entry], events.channel, events.number).where(accepted))
        self.steps.append(front.steps[rows[accepted], 0])
        after = self.clockwork.apply(part, now, u[here], path, events.where(accepted))
        return landed(self.stepper, part, attempt.step, here, t[here], after)

    def log(self) -> JumpLog:
        """The jumps so far."""
        return JumpLog(*(torch.cat(column) for column in zip(*self.met, strict=True)))

    def landings(self, order: Tensor) -> Landings:
        """The same jumps after the accepted steps, for whose paths ``order (batch,)`` is the mesh's."""
        path, elapsed, channel, number = self.log()
        step = torch.cat(self.steps)
        return Landings(self.clockwork, path, step, channel, number, elapsed, order, certain=True)
