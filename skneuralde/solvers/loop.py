"""The search for steps that are good enough: the only loop whose number of turns is not known in advance."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from skneuralde.solvers.base import Status, Step, Stepper, check_interval
from skneuralde.solvers.control import Controller, Tolerance, smallest_step
from skneuralde.solvers.equation import Equation

#: The status of a path that is still under way.
RUNNING = -1
#: Finished paths are dropped when no more than this share is still under way.
_DROP_BELOW = 0.75


@dataclass(frozen=True)
class Front:
    """Where each path is; every tensor has one row per path.

    Attributes
    ----------
    rows : int64 Tensor of shape (n,)
        Positions in the batch.
    start, direction, end : float64 Tensor of shape (n, 1)
        First time, 1 or -1, and the elapsed time at which to stop.
    elapsed, proposal, memory : float64 Tensor of shape (n, 1)
        Time since the start, length of the step to try next, what the controller remembers.
    u : Tensor of shape (n, dim)
    carry : Tensor or None
        What the method can reuse.
    fresh : bool Tensor of shape (n, 1)
        Whether the proposal is the first one from this point.
    status, steps, rejections : int64 Tensor of shape (n, 1)
    smallest : float64 Tensor of shape (n, 1)
        The smallest step tried.
    """

    rows: Tensor
    start: Tensor
    direction: Tensor
    end: Tensor
    elapsed: Tensor
    proposal: Tensor
    memory: Tensor
    u: Tensor
    carry: Tensor | None
    fresh: Tensor
    status: Tensor
    steps: Tensor
    rejections: Tensor
    smallest: Tensor

    @classmethod
    def begin(cls, u0: Tensor, carry: Tensor | None, start: Tensor, direction: Tensor, end: Tensor, h: Tensor) -> Front:
        """All paths of a batch at their starts; those with no way to go have arrived."""
        zeros, none = torch.zeros_like(end), torch.zeros_like(end, dtype=torch.int64)
        return cls(
            rows=torch.arange(len(u0), device=u0.device),
            start=start,
            direction=direction,
            end=end,
            elapsed=zeros,
            proposal=torch.maximum(h, smallest_step(start, end)),
            memory=torch.full_like(end, Controller.least_memory),
            u=u0,
            carry=carry,
            fresh=torch.ones_like(end, dtype=torch.bool),
            status=torch.where(end > 0, RUNNING, int(Status.SUCCESS)),
            steps=none,
            rejections=none,
            smallest=torch.full_like(end, torch.inf),
        )

    def select(self, keep: Tensor) -> Front:
        """Some of the paths."""
        kept = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[keep] for name, value in kept.items() if value is not None})

    def update(self, part: Front) -> Front:
        """Bring in the news of some paths."""
        changes = {
            field.name: getattr(self, field.name).index_copy(0, part.rows, getattr(part, field.name))
            for field in fields(self)
            if getattr(self, field.name) is not None
        }
        return replace(self, **changes)


@dataclass(frozen=True)
class Attempt:
    """One step tried by all paths of a front.

    ``length`` is 0 for paths that have stopped, ``ratio`` is the error over what is allowed, ``accepted`` whether that
    was good enough, ``reached`` the elapsed time after it; (n, 1) each.
    """

    front: Front
    length: Tensor
    step: Step
    ratio: Tensor
    accepted: Tensor
    reached: Tensor


class Watcher:
    """What wants to know of the steps of a search."""

    def proposed(self, front: Front) -> None:
        """The next steps are about to be tried."""

    def attempted(self, attempt: Attempt) -> None:
        """They were tried."""


def search(
    stepper: Stepper,
    controller: Controller,
    equation: Equation,
    front: Front,
    tolerance: Tolerance,
    *,
    max_steps: int,
    watchers: list[Watcher],
    overshoot: bool = False,
) -> Front:
    """Advance every path to its end, each with its own steps.

    With ``overshoot`` the end does not shorten the last step: a path stops where its next step would pass the end.

    Returns
    -------
    Front
        The whole batch, with its final statuses.
    """
    done, part = front, equation
    interval = check_interval(front.u.device)
    for turn in range(max_steps):
        if overshoot:
            passes = front.fresh & (front.elapsed + front.proposal >= front.end) & (front.status == RUNNING)
            front = replace(front, status=torch.where(passes, int(Status.SUCCESS), front.status))
        for watcher in watchers:
            watcher.proposed(front)
        if turn % interval == 0:
            running = front.status[:, 0] == RUNNING
            n_running = int(running.sum())
            if n_running <= _DROP_BELOW * len(running):
                done = done.update(front)
                if n_running == 0:
                    return done
                front = front.select(running)
                part = equation.select(front.rows)
        attempt = _try(stepper, part, front, tolerance)
        for watcher in watchers:
            watcher.attempted(attempt)
        front = _advance(controller, attempt)
    front = replace(front, status=torch.where(front.status == RUNNING, int(Status.MAX_STEPS), front.status))
    return done.update(front)


def _try(stepper: Stepper, equation: Equation, front: Front, tolerance: Tolerance) -> Attempt:
    """Make one step with every path, as long as proposed and no longer than to the end."""
    running = front.status == RUNNING
    length = torch.where(running, torch.minimum(front.proposal, front.end - front.elapsed), 0.0)
    t = front.start + front.direction * front.elapsed
    step = stepper.step(equation, t, (front.direction * length).to(front.u.dtype), front.u, None, front.carry)
    assert step.error is not None
    ratio = tolerance.ratio(step.error, front.u, step.u1)
    accepted = running & (ratio <= 1.0)
    onwards = torch.where(front.proposal >= front.end - front.elapsed, front.end, front.elapsed + length)
    return Attempt(front, length, step, ratio, accepted, torch.where(accepted, onwards, front.elapsed))


def _advance(controller: Controller, attempt: Attempt) -> Front:
    """Move on where the step was good enough, propose the next one everywhere."""
    front, accepted, ratio, step = attempt.front, attempt.accepted, attempt.ratio, attempt.step
    running = front.status == RUNNING
    rejected = running & ~accepted
    proposal = attempt.length * controller.factor(ratio, front.memory)
    stuck = rejected & (proposal < smallest_step(front.start, front.end))
    reason = torch.where(ratio.isfinite(), int(Status.STEP_TOO_SMALL), int(Status.NON_FINITE))
    status = torch.where(accepted & (attempt.reached >= front.end), int(Status.SUCCESS), front.status)
    return Front(
        rows=front.rows,
        start=front.start,
        direction=front.direction,
        end=front.end,
        elapsed=attempt.reached,
        proposal=proposal,
        memory=torch.where(accepted, controller.remember(ratio), front.memory),
        u=torch.where(accepted, step.u1, front.u),
        carry=None if step.state is None or front.carry is None else torch.where(accepted, step.state, front.carry),
        fresh=accepted,
        status=torch.where(stuck, reason, status),
        steps=front.steps + accepted,
        rejections=front.rejections + rejected,
        smallest=torch.where(running, torch.minimum(front.smallest, attempt.length), front.smallest),
    )
