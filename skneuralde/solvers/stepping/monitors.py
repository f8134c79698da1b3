"""Monitors of stiffness, which stop the paths that another method should go on with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.solvers.core.loop_state import RUNNING, STOPPED, PathState, StepAttempt
from skneuralde.solvers.core.results import Status
from skneuralde.solvers.core.tolerance import Tolerance


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
        Next step of the paths that were stopped.
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
        status = paths.status
        if self.turns >= self.least:
            spent = (status == RUNNING) & (self.turns >= self.budget[paths.rows])
            status = status.masked_fill(spent, int(Status.MAX_STEPS))
        stiffness = attempt.step.stiffness
        if self.turns % self.every == 0 and stiffness is not None:
            before, size = attempt.paths, self.tolerance.size(attempt.paths.u)
            agrees = self.agrees(attempt, paths, stiffness(size))
            samples = torch.where(agrees, self.samples[before.rows] + 1, 0)
            self.samples[before.rows] = samples
            stops = (status == RUNNING) & (samples >= self.needed)
            rows = stops[:, 0].nonzero()[:, 0]
            if len(rows):
                self.proposal[paths.rows[rows]] = paths.proposal[rows]
                status = status.masked_fill(stops, STOPPED)
        if status is paths.status:
            return paths
        return replace(paths, status=status, is_first_try=paths.is_first_try & (status == RUNNING))

    @abstractmethod
    def agrees(self, attempt: StepAttempt, paths: PathState, stiffness: Tensor) -> Tensor:
        """Whether a sample counts, bool (n, 1)."""


class OnsetMonitor(StiffnessMonitor):
    """Stops paths whose steps are limited by stability, rejected ones included."""

    every, needed = 3, 4

    def agrees(self, attempt: StepAttempt, paths: PathState, stiffness: Tensor) -> Tensor:
        return stiffness > self.limit


class ReleaseMonitor(StiffnessMonitor):
    """Stops paths for which steps of the proposed length would be stable without a stiff method, too."""

    every, needed = 1, 4

    def agrees(self, attempt: StepAttempt, paths: PathState, stiffness: Tensor) -> Tensor:
        growth = (paths.proposal / attempt.length).clamp_min(1.0)
        return attempt.accepted & (stiffness * growth < self.limit)
