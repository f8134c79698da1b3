"""The search for steps that are good enough: the only loop whose number of turns is not known in advance."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor

from skneuralde.solvers.core.controllers import FAR_OFF, Controller
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Status, Step, Stepper, check_interval
from skneuralde.solvers.stepping.step_alignment import StepAlignment

#: The status of a path that is still under way.
RUNNING = -1
#: Finished paths are dropped when no more than this share is still under way.
_DROP_BELOW = 0.75


@dataclass(frozen=True)
class PathState:
    """Where each path is; every tensor has one row per path.

    Attributes
    ----------
    rows : int64 Tensor of shape (n,)
        Positions in the batch.
    start, pace, end, shortest : float64 Tensor of shape (n, 1)
        First time, signed unit of the strides, elapsed time at which to stop, length below which a step is too small.
        Elapsed times and lengths are counted in the unit of the strides.
    elapsed, proposal, memory : float64 Tensor of shape (n, 1)
        Time since the start, length of the step to try next, what the controller remembers.
    u : Tensor of shape (n, dim)
    carry : Tensor or None
        What the method can reuse.
    floor : Tensor of shape (n, dim) or None
        The size that stands in for that of smaller states in the tolerance.
    fresh : bool Tensor of shape (n, 1)
        Whether the proposal is the first one from this point.
    cut : float64 Tensor of shape (n, 1)
        Where the next step must end at the latest, for the sake of a jump.
    status, steps, rejections : int64 Tensor of shape (n, 1)
    smallest : float64 Tensor of shape (n, 1)
        The smallest step tried.
    """

    rows: Tensor
    start: Tensor
    pace: Tensor
    end: Tensor
    shortest: Tensor
    elapsed: Tensor
    proposal: Tensor
    memory: Tensor
    u: Tensor
    carry: Tensor | None
    floor: Tensor | None
    fresh: Tensor
    cut: Tensor
    status: Tensor
    steps: Tensor
    rejections: Tensor
    smallest: Tensor

    @classmethod
    def begin(
        cls,
        u0: Tensor,
        carry: Tensor | None,
        floor: Tensor | None,
        start: Tensor,
        pace: Tensor,
        elapsed: Tensor,
        end: Tensor,
        h: Tensor,
        memory: Tensor,
        shortest: Tensor,
    ) -> PathState:
        """All paths of a batch where they begin; those with no way to go have arrived."""
        none = torch.zeros_like(end, dtype=torch.int64)
        return cls(
            rows=torch.arange(len(u0), device=u0.device),
            start=start,
            pace=pace,
            end=end,
            shortest=shortest,
            elapsed=elapsed,
            proposal=h,
            memory=memory,
            u=u0,
            carry=carry,
            floor=floor,
            fresh=torch.ones_like(end, dtype=torch.bool),
            cut=torch.full_like(end, torch.inf),
            status=torch.where(end > elapsed, RUNNING, int(Status.SUCCESS)),
            steps=none,
            rejections=none,
            smallest=torch.full_like(end, torch.inf),
        )

    def select(self, keep: Tensor) -> PathState:
        """Some of the paths."""
        kept = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[keep] for name, value in kept.items() if value is not None})

    def update(self, part: PathState) -> PathState:
        """Bring in the news of some paths."""
        changes = {
            field.name: getattr(self, field.name).index_copy(0, part.rows, getattr(part, field.name))
            for field in fields(self)
            if getattr(self, field.name) is not None
        }
        return replace(self, **changes)


@dataclass(frozen=True)
class StepAttempt:
    """One step tried by all paths of a front.

    ``target`` is where it ends, ``ratio`` is the error over what is allowed, ``accepted`` whether that was good enough
    and the path under way, ``reached`` the elapsed time after it; (n, 1) each. ``stopped`` says where a path stopped
    for a jump, None is nowhere, and ``cut`` where its next step must end, None is as before.
    """

    front: PathState
    target: Tensor
    length: Tensor
    step: Step
    ratio: Tensor
    accepted: Tensor
    reached: Tensor
    stopped: Tensor | None = None
    cut: Tensor | None = None


class StepEndHandler(Protocol):
    """What happens to paths at the ends of their steps."""

    def settle(self, rhs: RightHandSide, attempt: StepAttempt) -> StepAttempt:
        """The attempt as it counts, for the paths of its front."""


class AcceptanceTest(Protocol):
    """Whether steps are good enough."""

    def ratio(self, error: Tensor | None, u0: Tensor, u1: Tensor, floor: Tensor | None = None) -> Tensor:
        """Error over allowance, float64 (batch, 1); a step is good enough up to 1."""


class StepObserver:
    """What wants to know of the steps of a search."""

    def proposed(self, front: PathState, target: Tensor) -> None:
        """Steps to ``target (n, 1)`` are about to be tried."""

    def attempted(self, attempt: StepAttempt) -> None:
        """They were tried."""


def search(
    stepper: Stepper,
    controller: Controller,
    strides: StepAlignment,
    rhs: RightHandSide,
    front: PathState,
    tolerance: AcceptanceTest,
    *,
    max_steps: int,
    watchers: list[StepObserver],
    settler: StepEndHandler | None = None,
    overshoot: bool = False,
) -> PathState:
    """Advance every path to its end, each with its own steps.

    With ``overshoot`` the end does not shorten the last step: a path stops where its next step would pass the end.

    Returns
    -------
    PathState
        The whole batch, with its final statuses.
    """
    done, part = front, rhs
    interval = check_interval(front.u.device)
    beyond = torch.full_like(front.end, torch.inf)
    for turn in range(max_steps):
        if turn % interval == 0:
            running = front.status[:, 0] == RUNNING
            n_running = int(running.sum())
            if n_running <= _DROP_BELOW * len(running):
                done = done.update(front)
                if n_running == 0:
                    return done
                front, beyond = front.select(running), beyond[running]
                part = rhs.select(front.rows)
        target = strides.target(front.rows, front.elapsed, front.proposal, beyond if overshoot else front.end)
        target = torch.minimum(target, front.cut)
        if overshoot:
            passes = front.fresh & (target >= front.end) & (front.status == RUNNING)
            front = replace(front, status=front.status.masked_fill(passes, int(Status.SUCCESS)))
        for watcher in watchers:
            watcher.proposed(front, target)
        attempt = _try(stepper, strides, part, front, target, tolerance)
        if settler is not None:
            attempt = settler.settle(part, attempt)
        for watcher in watchers:
            watcher.attempted(attempt)
        front = _advance(controller, attempt)
    front = replace(front, status=front.status.masked_fill(front.status == RUNNING, int(Status.MAX_STEPS)))
    return done.update(front)


def _try(
    stepper: Stepper,
    strides: StepAlignment,
    rhs: RightHandSide,
    front: PathState,
    target: Tensor,
    tolerance: AcceptanceTest,
) -> StepAttempt:
    """Make one step with every path, which nothing comes of where one has stopped."""
    noise = strides.noise(front.rows, front.elapsed, target)
    length = target - front.elapsed
    t = torch.addcmul(front.start, front.pace, front.elapsed)
    h = (front.pace * length).to(front.u.dtype)
    step = stepper.step(rhs, t, h, front.u, noise, front.carry)
    ratio = tolerance.ratio(step.error, front.u, step.u1, front.floor)
    accepted = (front.status == RUNNING) & (ratio <= 1.0)
    return StepAttempt(front, target, length, step, ratio, accepted, torch.where(accepted, target, front.elapsed))


def _advance(controller: Controller, attempt: StepAttempt) -> PathState:
    """Move on where the step was good enough, propose the next one everywhere."""
    front, accepted, ratio, step = attempt.front, attempt.accepted, attempt.ratio, attempt.step
    rejected = (front.status == RUNNING) & ~accepted
    proposal, memory = controller.update(attempt.length, front.proposal, ratio, front.memory)
    if attempt.stopped is not None:
        # The step was as short as it was because of the jump, which also makes the past tell less of the future.
        proposal = torch.where(attempt.stopped, torch.maximum(proposal, front.proposal), proposal)
        memory = torch.where(attempt.stopped, controller.after_jump(memory), memory)
    stuck = rejected & (proposal < front.shortest)
    status = front.status.masked_fill(accepted & (attempt.target >= front.end), int(Status.SUCCESS))
    status.masked_fill_(stuck, int(Status.STEP_TOO_SMALL))
    status.masked_fill_(stuck & (ratio >= FAR_OFF), int(Status.NON_FINITE))
    # Steps that are good enough and shrink must not end up standing still: the shortest one has to prove itself.
    proposal = torch.maximum(proposal, front.shortest)
    proposal.masked_fill_(stuck, torch.inf)  # the noise of long steps is the cheapest
    return PathState(
        rows=front.rows,
        start=front.start,
        pace=front.pace,
        end=front.end,
        shortest=front.shortest,
        elapsed=attempt.reached,
        proposal=proposal,
        memory=memory,
        u=torch.where(accepted, step.u1, front.u),
        carry=None if step.state is None or front.carry is None else torch.where(accepted, step.state, front.carry),
        floor=front.floor,
        fresh=accepted,
        cut=front.cut if attempt.cut is None else attempt.cut,
        status=status,
        steps=front.steps + accepted,
        rejections=front.rejections + rejected,
        smallest=torch.where(accepted | rejected, torch.minimum(front.smallest, attempt.length), front.smallest),
    )
