"""The step loop, the only loop whose number of turns is not known in advance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skneuralde.solvers.core.controllers import Controller
from skneuralde.solvers.core.loop_state import (
    RUNNING,
    AcceptanceTest,
    PathState,
    StepAttempt,
    StepEndHandler,
    StepMonitor,
    StepObserver,
)
from skneuralde.solvers.core.results import Status
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import StepInput, Stepper
from skneuralde.solvers.core.tolerance import MAX_ERROR_RATIO, size_of_noise, size_so_far
from skneuralde.solvers.stepping.step_alignment import StepAlignment
from skneuralde.solvers.stepping.step_noise import StepNoise

#: Finished paths are dropped when no more than this share is still under way.
_DROP_BELOW = 0.75


@dataclass(frozen=True)
class StepLoop:
    """Advances every path to its end, each with its own steps."""

    stepper: Stepper
    controller: Controller  #: proposes the length of the next step
    error_order: float  #: power of the length with which the error estimate shrinks
    alignment: StepAlignment  #: decides where a proposed step ends
    noise: StepNoise | None
    tolerance: AcceptanceTest
    max_steps: int  #: bound on the steps of one path, rejected ones included
    observers: list[StepObserver]
    step_ends: tuple[StepEndHandler, ...] = ()  #: act in turn at the ends of steps: jumps, then restarts
    monitor: StepMonitor | None = None  #: stops paths before their end
    max_step: float | None = None  #: bound on the length of steps, in units of time

    @torch.no_grad()
    def run(self, rhs: RightHandSide, paths: PathState, *, overshoot: bool = False) -> PathState:
        """Make the steps, and return the whole batch with its final statuses.

        With ``overshoot`` the end does not shorten the last step: a path stops where its next step would pass the end.
        """
        done, part = paths, rhs
        interval = check_interval(paths.u.device)
        beyond = torch.full_like(paths.end, torch.inf)
        for turn in range(self.max_steps):
            if turn % interval == 0:
                running = paths.status[:, 0] == RUNNING
                n_running = int(running.sum())
                if n_running <= _DROP_BELOW * len(running):
                    done = done.update(paths)
                    if n_running == 0:
                        return done
                    paths, beyond = paths.select(running), beyond[running]
                    part = rhs.select(paths.rows)
            end = beyond if overshoot else paths.end
            proposal = paths.proposal
            if self.max_step is not None:
                proposal = torch.minimum(proposal, torch.maximum(self.max_step / paths.unit.abs(), paths.min_step))
            target = self.alignment.target(paths.rows, paths.elapsed, proposal, end, paths.seen)
            target = torch.minimum(target, paths.limit)
            if overshoot:
                passes = paths.is_first_try & (target >= paths.end) & (paths.status == RUNNING)
                paths = replace(paths, status=paths.status.masked_fill(passes, int(Status.SUCCESS)))
            for observer in self.observers:
                observer.proposed(paths, target)
            attempt = self._try(part, paths, target)
            for handler in self.step_ends:
                attempt = handler.handle(part, attempt)
            for observer in self.observers:
                observer.attempted(attempt)
            paths = self._advance(attempt)
            if self.monitor is not None:
                paths = self.monitor.watch(attempt, paths)
        paths = replace(paths, status=paths.status.masked_fill(paths.status == RUNNING, int(Status.MAX_STEPS)))
        return done.update(paths)

    def _try(self, rhs: RightHandSide, paths: PathState, target: Tensor) -> StepAttempt:
        """Make one step of every path; the result is ignored for paths that have stopped."""
        noise = None if self.noise is None else self.noise.increments(paths.rows, paths.elapsed, target)
        length = target - paths.elapsed
        h = (paths.unit * length).to(paths.u.dtype)
        step = self.stepper.step(StepInput(rhs, paths.time(paths.elapsed), h, paths.u, noise, paths.solver_state))
        size = paths.size
        if size is not None and step.diffusion is not None:
            size = torch.maximum(size, size_of_noise(step.diffusion, paths.unit * target))
        ratio = self.tolerance.ratio(step.error, paths.u, step.u1, size)
        accepted = (paths.status == RUNNING) & (ratio <= 1.0)
        return StepAttempt(paths, target, length, step, ratio, accepted, torch.where(accepted, target, paths.elapsed))

    def _advance(self, attempt: StepAttempt) -> PathState:
        """Move on where the step was accepted, and propose the next one everywhere."""
        paths, accepted, ratio, step = attempt.paths, attempt.accepted, attempt.ratio, attempt.step
        rejected = (paths.status == RUNNING) & ~accepted
        proposal, controller_state = self.controller.update(
            attempt.length, paths.proposal, ratio, paths.controller_state, self.error_order
        )
        if attempt.jumped is not None:
            # The jump made the step short, and the steps before it tell less of those after it.
            proposal = torch.where(attempt.jumped, torch.maximum(proposal, paths.proposal), proposal)
            controller_state = torch.where(
                attempt.jumped, self.controller.after_jump(controller_state), controller_state
            )
        min_step = self.alignment.smallest_after(paths.elapsed, paths.min_step)
        # The smallest step is tried before a path is given up.
        stuck = rejected & (proposal < min_step) & (attempt.length < 2.0 * min_step)
        status = paths.status.masked_fill(accepted & (attempt.target >= paths.end), int(Status.SUCCESS))
        status.masked_fill_(stuck, int(Status.STEP_TOO_SMALL))
        status.masked_fill_(stuck & (ratio >= MAX_ERROR_RATIO), int(Status.NON_FINITE))
        if attempt.failed is not None:
            status.masked_fill_(attempt.failed, int(Status.INVALID_RATE))
        # Accepted steps that shrink must not come to a standstill: a step of the smallest length is tried.
        proposal = torch.maximum(proposal, min_step)
        proposal.masked_fill_(stuck, torch.inf)  # the noise of long steps is the cheapest
        size = paths.size
        if size is not None:
            size = torch.where(accepted, size_so_far(size, step.u1, paths.elapsed / attempt.target), size)
        solver_state = step.solver_state
        if solver_state is not None:
            if paths.solver_state is None:
                raise TypeError(f"solver {self.stepper.name!r} keeps a solver state, so it must implement start_state")
            rows = accepted.view(-1, *[1] * (solver_state.ndim - 1))
            solver_state = torch.where(rows, solver_state, paths.solver_state)
        return PathState(
            rows=paths.rows,
            start=paths.start,
            unit=paths.unit,
            end=paths.end,
            min_step=paths.min_step,
            elapsed=attempt.reached,
            seen=torch.maximum(paths.seen, attempt.target),
            proposal=proposal,
            controller_state=controller_state,
            u=torch.where(accepted, step.u1, paths.u),
            solver_state=solver_state,
            size=size,
            is_first_try=accepted,
            limit=paths.limit if attempt.limit is None else attempt.limit,
            status=status,
            steps=paths.steps + accepted,
            rejections=paths.rejections + rejected,
            smallest=torch.where(accepted | rejected, torch.minimum(paths.smallest, attempt.length), paths.smallest),
        )


def check_interval(device: torch.device) -> int:
    """Steps between two checks that wait for the device; on the CPU a check costs nothing."""
    return 1 if device.type == "cpu" else 8
