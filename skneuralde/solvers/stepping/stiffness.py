"""Stiffness along the steps of a loop: monitors that stop paths for another method, and the cause of failures."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.solvers.core.loop_state import RUNNING, STOPPED, PathState, StepAttempt
from skneuralde.solvers.core.results import Status
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stiffness import eigenvalues, extreme_rates, has_eigenvalues
from skneuralde.solvers.core.tolerance import Tolerance

#: Stiffness made a path fail if its last step was at least this many times of decay long, and this many were left.
_STEP, _REST = 0.5, 100.0
#: Length and decay of the steps of an unresolved component; turns between looks at the eigenvalues, per 20 states, and
#: the number of turns that must agree from then on.
_UNRESOLVED, _DECAYED, _LOOK, _LOOKS = 2.0, 0.25, 40, 4
#: Before a pole the fastest growth rate times the distance is at least about 1; else it is below this.
_GROWTH = 0.1
#: Steps that are shorter than this share of the longest one may have been shortened by growth; factor of the next test.
_SHRUNK, _AGAIN = 1e-6, 1e3


def failed_by_stiffness(rhs: RightHandSide, paths: PathState) -> Tensor:
    """Whether a path has failed because stability kept its steps short, bool (batch,)."""
    is_stiff = torch.zeros_like(paths.rows, dtype=torch.bool)
    failed = (paths.status[:, 0] > Status.SUCCESS).nonzero()[:, 0]
    if len(failed):
        part = paths.select(failed)
        last = torch.where(part.proposal.isfinite(), part.proposal, part.smallest)
        decay, _ = _extreme_rates(rhs, part)
        limited = (decay * last >= _STEP) & (decay * (part.end - part.elapsed) >= _REST)
        is_stiff[failed] = limited[:, 0]
    return is_stiff


def failed_by_growth(rhs: RightHandSide, paths: PathState) -> Tensor:
    """Whether a path has failed where the solution grows so fast that it could not reach its end, bool (batch,)."""
    grows = torch.zeros_like(paths.rows, dtype=torch.bool)
    unusable = (paths.status == Status.STEP_TOO_SMALL) | (paths.status == Status.NON_FINITE)
    failed = (unusable & (paths.steps > 0))[:, 0].nonzero()[:, 0]
    if len(failed):
        part = paths.select(failed)
        _, growth = _extreme_rates(rhs, part)
        grows[failed] = (growth * (part.end - part.elapsed) >= _REST)[:, 0]
    return grows


def _extreme_rates(rhs: RightHandSide, paths: PathState) -> tuple[Tensor, Tensor]:
    """Rates of the fastest decay and growth of some paths of a right-hand side, in the unit of the loop."""
    decay, growth = extreme_rates(rhs.select(paths.rows), paths.time(paths.elapsed), paths.u)
    return paths.unit.abs() * decay, paths.unit.abs() * growth


def limited_by_stability(rhs: RightHandSide, paths: PathState, length: Tensor) -> Tensor:
    """Whether steps of this length are about as long as stability allows, bool (n, 1), by the eigenvalues.

    Then a component turns or decays so fast that such steps do not resolve it, and it has long decayed at the end.
    """
    unit = paths.unit.abs()
    rates = (
        eigenvalues(rhs.select(paths.rows), paths.time(paths.elapsed), paths.u, _UNRESOLVED / (unit * length)) * unit
    )
    decay = -rates.real
    unresolved = (rates.abs() * length >= _UNRESOLVED) & (decay * length >= _DECAYED)
    return (unresolved & (decay * (paths.end - paths.elapsed) >= _REST)).any(1, keepdim=True)


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
        self.least, self.turns, self.any_agreed = int(budget.min()), 0, False
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
            any_agrees = bool(agrees.any())
            if any_agrees or self.any_agreed:
                samples = torch.where(agrees, self.samples[rows] + 1, 0)
                self.samples[rows] = samples
                stops = (status == RUNNING) & (samples >= self.needed)
                self.proposal[rows] = torch.where(stops, paths.proposal, self.proposal[rows])
                status = status.masked_fill(stops, STOPPED)
            self.any_agreed = any_agrees
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

    Paths fail if more than ``most`` such steps are left for the other method. A path also stops, once, where growth
    has shortened its steps by a large factor.

    Attributes
    ----------
    exploded : bool Tensor of shape (batch, 1)
        Paths that stopped or failed because of growth.
    """

    every, needed = 4, 3

    def __init__(self, tolerance: Tolerance, limit: float, budget: Tensor, most: float, rhs: RightHandSide):
        super().__init__(tolerance, limit, budget)
        self.most, self.rhs = most, rhs
        self.longest = torch.zeros_like(self.proposal)
        self.exploded = torch.zeros_like(budget, dtype=torch.bool)
        self.looks, self.any_suspect = torch.zeros_like(budget), False

    def watch(self, attempt: StepAttempt, paths: PathState) -> PathState:
        paths = self._look(attempt, super().watch(attempt, paths))
        if self.turns % self.every:
            return paths
        longest = torch.maximum(self.longest[paths.rows], attempt.length)
        self.longest[paths.rows] = longest
        short = attempt.length < _SHRUNK * longest
        if not bool(short.any()):
            return paths
        shrunk = (short & (paths.status == RUNNING))[:, 0].nonzero()[:, 0]
        if len(shrunk) == 0:
            return paths
        part, length = paths.select(shrunk), attempt.length[shrunk]
        _, growth = _extreme_rates(self.rhs, part)
        grows = (growth * length >= _GROWTH) & (growth * (part.end - part.elapsed) >= _REST)
        # The next test is after another decrease.
        self.longest[part.rows] = _AGAIN * length
        self.exploded[part.rows] = grows
        self.proposal[part.rows] = torch.where(grows, part.proposal, self.proposal[part.rows])
        status = part.status.masked_fill(grows, STOPPED)
        return replace(paths, status=paths.status.index_copy(0, shrunk, status))

    def _look(self, attempt: StepAttempt, paths: PathState) -> PathState:
        """Stop the paths that are stiff by their eigenvalues.

        Stages tell little of components that turn as they decay, above all where tolerances differ between components.
        """
        period = _LOOK * math.ceil(paths.u.shape[1] / 20)
        begins = self.turns % period == period // 2
        if not (begins or self.any_suspect) or not has_eigenvalues(self.rhs, paths.u):
            return paths
        agrees = (paths.status == RUNNING) & limited_by_stability(self.rhs, paths, attempt.length)
        looks = torch.where(agrees & (begins | (self.looks[paths.rows] > 0)), self.looks[paths.rows] + 1, 0)
        self.looks[paths.rows], self.any_suspect = looks, bool((looks > 0).any())
        stops = looks >= _LOOKS
        self.proposal[paths.rows] = torch.where(stops, paths.proposal, self.proposal[paths.rows])
        status = paths.status.masked_fill(stops, STOPPED)
        return replace(paths, status=status, is_first_try=paths.is_first_try & (status == RUNNING))

    def agrees(self, attempt: StepAttempt, paths: PathState, stiffness: Tensor) -> Tensor:
        return stiffness > self.limit

    def finish(self, rhs: RightHandSide, paths: PathState) -> PathState:
        # The equation may be so stiff that even the smallest steps fail.
        stuck = (paths.status > Status.MAX_STEPS)[:, 0] & failed_by_stiffness(rhs, paths)
        self.proposal[stuck] = paths.smallest[stuck]
        paths = super().finish(rhs, replace(paths, status=paths.status.masked_fill(stuck[:, None], STOPPED)))
        self.exploded |= failed_by_growth(rhs, paths)[:, None]
        hopeless = (paths.status == STOPPED) & ~self.exploded & (paths.end - paths.elapsed > self.most * paths.proposal)
        return replace(paths, status=paths.status.masked_fill(hopeless, int(Status.STEP_TOO_SMALL)))


class ExplosionTest:
    """Tells paths that exploded because an explicit step was too long from those whose solution has a pole.

    Such a step may lead to states from which the exact solution grows without limit, too. The paths are made again by a
    stiff method. One that is stiff and does not grow where it passes the time of the explosion, ``elapsed (batch, 1)``
    after the start, goes on; one that does not, or needs more than ``tries (batch, 1)`` steps to get there, stops.

    Attributes
    ----------
    is_stiff : bool Tensor of shape (batch, 1)
        Paths that have passed the test.
    """

    def __init__(self, rhs: RightHandSide, elapsed: Tensor, tries: Tensor, limit: float):
        self.rhs, self.elapsed, self.tries, self.limit = rhs, elapsed, tries, limit
        self.is_stiff = torch.zeros_like(elapsed, dtype=torch.bool)

    def watch(self, attempt: StepAttempt, paths: PathState, turns: int) -> PathState:
        """The paths after a step, some of them stopped."""
        passes = attempt.accepted & (attempt.target > self.elapsed[paths.rows]) & ~self.is_stiff[paths.rows]
        rows = passes[:, 0].nonzero()[:, 0]
        self._test(attempt.paths.select(rows), attempt.length[rows])
        ends = (passes | (turns >= self.tries[paths.rows])) & ~self.is_stiff[paths.rows]
        return replace(paths, status=paths.status.masked_fill(ends, STOPPED))

    def finish(self, paths: PathState) -> None:
        """Test the paths that ended before that time, since side steps go on from there."""
        ended = (paths.status == Status.SUCCESS) & ~self.is_stiff
        rows = ended[:, 0].nonzero()[:, 0]
        self._test(paths.select(rows), paths.proposal[rows])

    def _test(self, before: PathState, length: Tensor) -> None:
        """Test paths before a step of this length, which passes that time."""
        if len(before.rows):
            decay, growth = _extreme_rates(self.rhs, before)
            ahead = self.elapsed[before.rows] - before.elapsed
            self.is_stiff[before.rows] = (decay * length >= self.limit) & (growth * ahead < _GROWTH)


class ReleaseMonitor(StiffnessMonitor):
    """Stops paths for which steps of the proposed length would be stable without a stiff method, too.

    With a ``test`` these are paths that exploded by the explicit method; those that fail the test are stopped as well.
    """

    every, needed = 1, 4

    def __init__(self, tolerance: Tolerance, limit: float, budget: Tensor, test: ExplosionTest | None = None):
        super().__init__(tolerance, limit, budget)
        self.test = test

    def watch(self, attempt: StepAttempt, paths: PathState) -> PathState:
        paths = super().watch(attempt, paths)
        return paths if self.test is None else self.test.watch(attempt, paths, self.turns)

    def agrees(self, attempt: StepAttempt, paths: PathState, stiffness: Tensor) -> Tensor:
        growth = (paths.proposal / attempt.length).clamp_min(1.0)
        is_free = attempt.accepted & (stiffness * growth < self.limit)
        return is_free if self.test is None else is_free & self.test.is_stiff[paths.rows]

    def finish(self, rhs: RightHandSide, paths: PathState) -> PathState:
        if self.test is not None:
            self.test.finish(paths)
        return super().finish(rhs, paths)
