"""Driver of methods that hand stiff paths over to another method."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skneuralde.solvers.core.loop_state import STOPPED
from skneuralde.solvers.core.results import Trajectory
from skneuralde.solvers.core.stepper import Stepper
from skneuralde.solvers.core.switch import Switch
from skneuralde.solvers.core.tolerance import Tolerance
from skneuralde.solvers.stepping.leg import Leg, assembled
from skneuralde.solvers.stepping.loop_driver import LoopDriver
from skneuralde.solvers.stepping.stiffness import (
    ExplosionTest,
    OnsetMonitor,
    ReleaseMonitor,
    StiffnessMonitor,
)
from skneuralde.solvers.stepping.task import Resumption, Task


class _Part(NamedTuple):
    """Paths that go on, or begin again, by one of the methods."""

    task: Task
    rows: Tensor | None  #: int64 (n,), positions in the whole batch; None for all paths
    budget: Tensor  #: int64 (n, 1), steps that they may try


#: A part to be solved, and the function that solves it and returns those that follow.
_Follower = tuple[Callable[..., "list[_Follower]"], tuple[Any, ...]]


class SwitchDriver:
    """Solves one task in legs: all paths by the explicit method, stiff ones on by the other, and back.

    Each leg is a task of its own, with the paths that were stopped in the leg before, from where they are. Paths that
    explode by the explicit method are made once more, from the start of the leg, by the other one: an explicit step may
    be accepted although it has left the states from which the solution is stable. If the equation is not stiff where
    they exploded, the first attempt stands.

    The steps of a leg are known when it is made again for a gradient, so that a replay never chooses a method.
    ``driver`` makes the driver of one leg.
    """

    def __init__(self, switch: Switch, task: Task, driver: Callable[[Stepper, Task], LoopDriver]):
        self.switch, self.task, self.driver = switch, task, driver
        self.legs: list[Leg] = []

    def solve(self) -> Trajectory:
        """Solve, with values at the save times."""
        budget = torch.full((len(self.task.u0), 1), self.task.max_steps, device=self.task.u0.device)
        following: deque[_Follower] = deque([(self._explicit, (_Part(self.task, None, budget),))])
        while following:
            solve, arguments = following.popleft()
            following.extend(solve(*arguments))
        return assembled(self.task, self.legs, methods=(self.switch.explicit.name, self.switch.stiff.name))

    def _explicit(self, part: _Part) -> list[_Follower]:
        switch, driver = self.switch, self._driver(self.switch.explicit, part.task)
        onset = OnsetMonitor(_tolerance(driver), switch.limit, part.budget, switch.most, driver.rhs)
        leg, place = self._run(driver, part, onset), len(self.legs)
        self.legs.append(leg)
        following: list[_Follower] = []
        stopped = (_stopped(leg) & ~onset.exploded)[:, 0].nonzero()[:, 0]
        if len(stopped):
            following.append((self._stiff, (_rest(driver, leg, part, stopped),)))
        exploded = onset.exploded[:, 0].nonzero()[:, 0]
        if len(exploded):
            following.append((self._again, (driver, part, place, exploded)))
        return following

    def _stiff(self, part: _Part) -> list[_Follower]:
        driver = self._driver(self.switch.stiff, part.task)
        leg = self._run(driver, part, ReleaseMonitor(_tolerance(driver), self.switch.release, part.budget))
        self.legs.append(leg)
        return self._go_on(driver, leg, part, _stopped(leg))

    def _again(self, first: LoopDriver, part: _Part, place: int, exploded: Tensor) -> list[_Follower]:
        """Paths ``exploded (n,)`` of the leg at a place in the list of legs, made again by the other method."""
        before = self.legs[place]
        again = _rest(first, before, part, exploded, begins_again=True)
        driver = self._driver(self.switch.stiff, again.task)
        tries = (before.paths.steps + before.paths.rejections)[exploded]
        test = ExplosionTest(driver.rhs, before.paths.elapsed[exploded], tries, self.switch.release)
        leg = self._run(driver, again, ReleaseMonitor(_tolerance(driver), self.switch.release, again.budget, test))
        is_stiff = test.is_stiff
        self.legs[place] = before.without(exploded[is_stiff[:, 0]])
        self.legs.append(leg.without((~is_stiff)[:, 0].nonzero()[:, 0]))
        goes_on = torch.zeros_like(_stopped(before)).index_copy(0, exploded, ~is_stiff) & _stopped(before)
        return [*self._go_on(driver, leg, again, _stopped(leg) & is_stiff), *self._go_on(first, before, part, goes_on)]

    def _go_on(self, driver: LoopDriver, leg: Leg, part: _Part, chosen: Tensor) -> list[_Follower]:
        """The explicit method for the paths ``chosen``, bool (n, 1), of a leg."""
        rows = chosen[:, 0].nonzero()[:, 0]
        return [(self._explicit, (_rest(driver, leg, part, rows),))] if len(rows) else []

    def _driver(self, method: Stepper, task: Task) -> LoopDriver:
        resumption, batch = task.resumption, len(task.u0)
        t = task.start.expand(batch, 1)
        if resumption is not None:
            t = t + task.direction * resumption.elapsed
        n_hazards = 0 if task.hazards is None else task.hazards.width
        method = method.prepare(task.rhs, t, task.u0, rtol=task.rtol, n_hazards=n_hazards)
        return self.driver(method, task)

    def _run(self, driver: LoopDriver, part: _Part, monitor: StiffnessMonitor) -> Leg:
        leg, schedule = driver.run(part.rows, monitor), part.task.jump_schedule
        if part.rows is not None and schedule is not None and self.task.jump_schedule is not None:
            self.task.jump_schedule.rates.adopt(schedule.rates, part.rows)
        return leg


def _tolerance(driver: LoopDriver) -> Tolerance:
    assert isinstance(driver.tolerance, Tolerance)
    return driver.tolerance


def _stopped(leg: Leg) -> Tensor:
    """Whether a monitor has stopped a path of a leg, bool (n, 1)."""
    return leg.paths.status == STOPPED


def _rest(driver: LoopDriver, leg: Leg, part: _Part, chosen: Tensor, *, begins_again: bool = False) -> _Part:
    """Stopped paths ``chosen (n,)`` of a leg, from where they are, or any paths from the start of the leg."""
    task, budget = driver.task, (part.budget - leg.paths.steps - leg.paths.rejections)[chosen]
    rows = chosen if part.rows is None else part.rows[chosen]
    if begins_again:
        paths, u = driver.paths.select(chosen), task.u0[chosen]
    else:
        place = _stopped(leg)[:, 0].cumsum(0) - 1
        paths, u = leg.paths.select(chosen), leg.ends[place[chosen]]
    resumption = Resumption(paths.elapsed, paths.proposal, paths.u[:, task.u0.shape[1] :])
    return _Part(task.resumed(chosen, u, resumption), rows, budget)
