"""Driver of methods that hand stiff paths over to another method."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skneuralde.solvers.core.loop_state import STOPPED
from skneuralde.solvers.core.results import Trajectory
from skneuralde.solvers.core.stepper import Stepper
from skneuralde.solvers.core.switch import Switch
from skneuralde.solvers.core.tolerance import Tolerance
from skneuralde.solvers.stepping.leg import Leg, assembled
from skneuralde.solvers.stepping.loop_driver import LoopDriver
from skneuralde.solvers.stepping.stiffness import OnsetMonitor, ReleaseMonitor, StiffnessMonitor
from skneuralde.solvers.stepping.task import Resumption, Task


class SwitchDriver:
    """Solves one task in legs: all paths by the explicit method, stiff ones on by the other, and back.

    Each leg is a task of its own, with the paths that were stopped in the leg before, from where they are. Its steps
    are known when it is made again for a gradient, so that a replay never chooses a method. ``driver`` makes the driver
    of one leg.
    """

    def __init__(self, switch: Switch, task: Task, driver: Callable[[Stepper, Task], LoopDriver]):
        self.switch, self.task, self.driver = switch, task, driver

    def solve(self) -> Trajectory:
        """Solve, with values at the save times."""
        switch, task, rows = self.switch, self.task, None
        budget = torch.full((len(task.u0), 1), task.max_steps, device=task.u0.device)
        legs: list[Leg] = []
        while rows is None or len(rows):
            is_explicit = len(legs) % 2 == 0
            driver = self._driver(switch.explicit if is_explicit else switch.stiff, task)
            assert isinstance(driver.tolerance, Tolerance)
            monitor: StiffnessMonitor
            if is_explicit:
                monitor = OnsetMonitor(driver.tolerance, switch.limit, budget, switch.most)
            else:
                monitor = ReleaseMonitor(driver.tolerance, switch.release, budget)
            leg = driver.run(rows, monitor)
            legs.append(leg)
            if rows is not None and task.jump_schedule is not None and self.task.jump_schedule is not None:
                self.task.jump_schedule.rates.adopt(task.jump_schedule.rates, rows)
            stopped = (leg.paths.status[:, 0] == STOPPED).nonzero()[:, 0]
            rows = stopped if rows is None else rows[stopped]
            budget = (budget - leg.paths.steps - leg.paths.rejections)[stopped]
            task = _rest(task, leg, stopped)
        return assembled(self.task, legs, methods=(switch.explicit.name, switch.stiff.name))

    def _driver(self, method: Stepper, task: Task) -> LoopDriver:
        resumption, batch = task.resumption, len(task.u0)
        t = task.start.expand(batch, 1)
        if resumption is not None:
            t = t + task.direction * resumption.elapsed
        n_hazards = 0 if task.hazards is None else task.hazards.width
        method = method.prepare(task.rhs, t, task.u0, rtol=task.rtol, n_hazards=n_hazards)
        return self.driver(method, task)


def _rest(task: Task, leg: Leg, stopped: Tensor) -> Task:
    """The rest of the paths that were stopped."""
    paths, dim = leg.paths, task.u0.shape[1]
    resumption = Resumption(paths.elapsed[stopped], paths.proposal[stopped], paths.u[stopped, dim:])
    return task.resumed(stopped, leg.ends, resumption)
