"""Fixed steps whose jumps are met on the way: those of rates that are integrated along the path."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.batch_order import by_count
from skneuralde.solvers.core.controllers import FAR_OFF, Controller, smallest_step
from skneuralde.solvers.core.stepper import Task
from skneuralde.solvers.mesh.grid_schedule import StepSchedule
from skneuralde.solvers.mesh.grid_snapping import snapped
from skneuralde.solvers.mesh.grid_steps import GridSteps
from skneuralde.solvers.mesh.increments import IncrementSource
from skneuralde.solvers.mesh.mesh import Mesh, Stepper
from skneuralde.solvers.stepping.loop import PathState
from skneuralde.solvers.stepping.loop_driver import LoopDriver
from skneuralde.solvers.stepping.step_alignment import StepAlignment


class GridDriver(LoopDriver):
    """Steps that end on the boundaries of cells of length dt, and before where a path jumps; counted in cells."""

    def __init__(self, method: Stepper, task: Task):
        assert task.dt is not None
        self.dt = task.dt
        super().__init__(method, task, ConstantStep(), FiniteStates())

    @property
    def looks_inside(self) -> bool:
        return False

    def counted(self, elapsed: Tensor) -> Tensor:
        return snapped(elapsed / self.dt)

    def strides_to(self, stops: Tensor, rows: Tensor | None) -> StepAlignment:
        source = None if self.task.noise is None else self.source(rows)
        return GridAlignment(stops, self.dt, source, self.idle)

    def source(self, rows: Tensor | None) -> IncrementSource:
        noise, start = self.task.noise, self.start
        assert noise is not None
        if rows is not None:
            noise, start = noise.select(rows), start[rows]
        return IncrementSource.of_steps(noise, start, self.dt, self.method, self.task.u0.dtype)

    def mesh(self, points: Tensor, front: PathState, count: Tensor, rows: Tensor | None) -> Mesh:
        order, active = by_count(count)
        source = None if self.task.noise is None else self.source(rows)
        route, dtype = StepSchedule.through(points, count), self.task.u0.dtype
        steps = GridSteps(route, order, active, front.start, front.pace, dtype, source, None)
        return Mesh(steps.along, active, order)

    def begin(self, u0: Tensor, f0: Tensor, g0: Tensor | None, end: Tensor) -> PathState:
        carry = self.method.first_carry(self.rhs, self.start, u0, f0)
        shortest, whole = self.strides.smallest(self.start, end), torch.ones_like(end)
        pace = self.direction * self.dt
        return PathState.begin(u0, carry, None, self.start, pace, torch.zeros_like(end), end, whole, whole, shortest)


class GridAlignment(StepAlignment):
    """Steps to the next whole number, or to a stop before it.

    Parameters
    ----------
    stops : float64 Tensor of shape (batch, n) or (1, n)
        Non-decreasing, in cells.
    dt : float
        Length of a cell.
    source : IncrementSource or None
        Of the noise.
    idle : int
        Components of the state that no noise moves, behind the others.
    """

    def __init__(self, stops: Tensor, dt: float, source: IncrementSource | None, idle: int):
        self.stops = torch.cat([stops, torch.full_like(stops[:, :1], torch.inf)], 1)
        self.unit, self.source, self.idle = dt, source, idle

    def target(self, rows: Tensor, elapsed: Tensor, proposal: Tensor, end: Tensor) -> Tensor:
        here = self.stops.expand(len(rows), -1) if len(self.stops) == 1 else self.stops[rows]
        stop = here.gather(1, torch.searchsorted(here.contiguous(), elapsed, right=True))
        return torch.minimum(torch.minimum(elapsed.floor() + 1.0, stop), end)

    def noise(self, rows: Tensor, elapsed: Tensor, target: Tensor) -> Increments | None:
        if self.source is None:
            return None
        noise = self.source.over(rows, elapsed[:, 0], target[:, 0])
        if not self.idle:
            return noise
        nothing = noise.w.new_zeros(len(noise.w), self.idle)
        area = None if noise.area is None else torch.cat([noise.area, nothing], 1)
        return Increments(torch.cat([noise.w, nothing], 1), area)

    def smallest(self, start: Tensor, end: Tensor) -> Tensor:
        return smallest_step(start / self.unit, end)


@dataclass(frozen=True)
class ConstantStep(Controller):
    """Proposes the same step all the time; none after a step that led nowhere."""

    first_memory, first_error = 1.0, 1.0

    def update(self, length: Tensor, proposal: Tensor, ratio: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(ratio <= 1.0, proposal, 0.0), memory


class FiniteStates:
    """Any error is good enough where the state is finite."""

    def ratio(self, error: Tensor | None, u0: Tensor, u1: Tensor, floor: Tensor | None = None) -> Tensor:
        """1 where a step is good enough, (batch, 1), else the largest ratio."""
        return torch.where(u1.isfinite().all(1, keepdim=True), 1.0, FAR_OFF).double()
