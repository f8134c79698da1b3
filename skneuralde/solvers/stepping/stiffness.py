"""Stiffness along the steps of a loop: monitors that stop paths for another method, and the cause of failures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.solvers.core.loop_state import RUNNING, STOPPED, PathState, StepAttempt
from skneuralde.solvers.core.results import Status
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stiffness import decay_rate
from skneuralde.solvers.core.tolerance import Tolerance

#: Stiffness made a path fail if its last step was at least this many times of decay long, and this many were left.
_STEP, _REST = 0.5, 100.0


def failed_by_stiffness(rhs: RightHandSide, paths: PathState) -> Tensor:
    """Whether a path has failed because stability kept its steps short, bool (batch,)."""
    is_stiff = torch.zeros_like(paths.rows, dtype=torch.bool)
    failed = (paths.status[:, 0] > Status.SUCCESS).nonzero()[:, 0]
    if len(failed):
        part = paths.select(failed)
        last = torch.where(part.proposal.isfinite(), part.proposal, part.smallest)
        rate = part.unit.abs() * decay_rate(rhs.select(failed), part.time(part.elapsed), part.u)
        limited = (rate * last >= _STEP) & (rate * (part.end - part.elapsed) >= _REST)
        is_stiff[failed] = limited[:, 0]
    return is_stiff


class StiffnessMonitor(ABC):
    """Stops a path when enough samples of its stiffness agree, one after the other, or when it has tried enough steps.

    All paths of a loop begin together, so that a sample every few turns is one every few steps of each path.

    Parameters
    ----------
    tolerance : Tolerance
    limit : float
        Stiffness from which on, or up to which, a sample counts.
    budget : int64 Tensor of shape (batch, 1)
        Steps that each path may try.

    Attributes
    ----------
    every, needed : int
        Turns from one sample to the next, and the number of samples that must agree.
    proposal : float64 Tensor of shape (batch, 1)
        Next step of the paths that were stopped; these may stay in the loop for a while, where their proposals change.
    """

    every: int
    needed: int

    def __init__(self, tolerance: Tolerance, limit: float, budget: Tensor):
        self.tolerance, self.limit, self.budget = tolerance, limit, budget
        self.least, self.turns = int(budget.min()), 0
        self.samples = torch.zeros_like(budget)
        self.proposal = torch.zeros_like(budget, dtype=torch.float64)

    def watch(self, attempt: StepAttempt, paths: PathState) -> PathState:
        """The paths after a step, some of them stopped."""
        self.turns += 1
        rows, status = paths.rows, paths.status
        if self.turns >= self.least:
            spent = (status == RUNNING) & (self.turns >= self.budget[rows])
            status = status.masked_fill(spent, int(Status.MAX_STEPS))
        stiffness = attempt.step.stiffness
        if self.turns % self.every == 0 and stiffness is not None:
            agrees = self.agrees(attempt, paths, stiffness(self.tolerance.size(attempt.paths.u)))
            samples = torch.where(agrees, self.samples[rows] + 1, 0)
            self.samples[rows] = samples
            stops = (status == RUNNING) & (samples >= self.needed)
            self.proposal[rows] = torch.where(stops, paths.proposal, self.proposal[rows])
            status = status.masked_fill(stops, STOPPED)
        if status is paths.status:
            return paths
        return replace(paths, status=status, is_first_try=paths.is_first_try & (status == RUNNING))

    @abstractmethod
    def agrees(self, attempt: StepAttempt, paths: PathState, stiffness: Tensor) -> Tensor:
        """Whether a sample counts, bool (n, 1)."""

    def finish(self, rhs: RightHandSide, paths: PathState) -> PathState:
        """All paths after the last turn, with the steps that the stopped ones should try next."""
        return replace(paths, proposal=torch.where(paths.status == STOPPED, self.proposal, paths.proposal))


class OnsetMonitor(StiffnessMonitor):
    """Stops paths whose steps are limited by stability, rejected ones included.

    Paths fail if more than ``most`` such steps are left for the other method.
    """

    every, needed = 4, 3

    def __init__(self, tolerance: Tolerance, limit: float, budget: Tensor, most: float):
        super().__init__(tolerance, limit, budget)
        self.most = most

    def agrees(self, attempt: StepAttempt, paths: PathState, stiffness: Tensor) -> Tensor:
        return stiffness > self.limit

    def finish(self, rhs: RightHandSide, paths: PathState) -> PathState:
        # The equation may be so stiff that even the smallest steps fail.
        stuck = (paths.status > Status.MAX_STEPS)[:, 0] & failed_by_stiffness(rhs, paths)
        self.proposal[stuck] = paths.min_step[stuck]
        paths = super().finish(rhs, replace(paths, status=paths.status.masked_fill(stuck[:, None], STOPPED)))
        hopeless = (paths.status == STOPPED) & (paths.end - paths.elapsed > self.most * paths.proposal)
        return replace(paths, status=paths.status.masked_fill(hopeless, int(Status.STEP_TOO_SMALL)))


class ReleaseMonitor(StiffnessMonitor):
    """Stops paths for which steps of the proposed length would be stable without a stiff method, too."""

    every, needed = 1, 4

    def agrees(self, attempt: StepAttempt, paths: PathState, stiffness: Tensor) -> Tensor:
        growth = (paths.proposal / attempt.length).clamp_min(1.0)
        return attempt.accepted & (stiffness * growth < self.limit)
