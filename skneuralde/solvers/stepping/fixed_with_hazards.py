"""Driver of fixed steps with hazards, whose jumps are located on the way."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.solvers.core.batch_order import by_count
from skneuralde.solvers.core.controllers import Controller
from skneuralde.solvers.core.loop_state import PathState
from skneuralde.solvers.core.stepper import Stepper
from skneuralde.solvers.core.tolerance import MAX_ERROR_RATIO
from skneuralde.solvers.mesh.grid_schedule import StepSchedule, snapped
from skneuralde.solvers.mesh.grid_steps import GridSteps
from skneuralde.solvers.mesh.increments import IncrementSource
from skneuralde.solvers.mesh.mesh import Mesh
from skneuralde.solvers.stepping.loop_driver import LoopDriver
from skneuralde.solvers.stepping.step_alignment import GridAlignment, StepAlignment
from skneuralde.solvers.stepping.step_noise import GridNoise, StepNoise
from skneuralde.solvers.stepping.task import Task


class GridDriver(LoopDriver):
    """Steps that end on the boundaries of cells of length dt, or before where a path jumps; counted in cells."""

    def __init__(self, stepper: Stepper, task: Task):
        assert task.dt is not None
        self.dt = task.dt
        super().__init__(stepper, task, ConstantStep(), 1.0, FiniteStates())

    @property
    def has_dense_output(self) -> bool:
        return False

    def counted(self, elapsed: Tensor, rows: Tensor | None = None) -> Tensor:
        return snapped(elapsed / self.dt)

    def align(self, stops: Tensor, rows: Tensor | None) -> tuple[StepAlignment, StepNoise | None]:
        noise = None if self.task.noise is None else GridNoise(self.source(rows), self.n_hazards)
        return GridAlignment(stops, self.dt), noise

    def source(self, rows: Tensor | None) -> IncrementSource:
        noise, start = self.task.noise, self.start
        assert noise is not None
        if rows is not None:
            noise, start = noise.select(rows), start[rows]
        return IncrementSource.of_steps(noise, start, self.dt, self.stepper, self.task.u0.dtype)

    def mesh(self, points: Tensor, paths: PathState, count: Tensor, rows: Tensor | None) -> Mesh:
        permutation, active = by_count(count)
        source = None if self.task.noise is None else self.source(rows)
        schedule, dtype = StepSchedule.through(points, count), self.task.u0.dtype
        steps = GridSteps(schedule, permutation, active, paths.start, paths.unit, dtype, source, None)
        return Mesh(steps.along, active, permutation)

    def begin(self, u0: Tensor, f0: Tensor, g0: Tensor | None, end: Tensor) -> PathState:
        return PathState.begin(
            u0,
            start=self.start,
            unit=self.direction * self.dt,
            end=end,
            min_step=self.alignment.smallest(self.start, end),
            elapsed=torch.zeros_like(end),
            proposal=torch.ones_like(end),
            controller_state=torch.ones_like(end),
            solver_state=self.stepper.start_state(self.rhs, self.start, u0, f0),
        )


@dataclass(frozen=True)
class ConstantStep(Controller):
    """Proposes the same step every time, and none after a step that failed."""

    first_state, first_error = 1.0, 1.0

    def update(
        self, length: Tensor, proposal: Tensor, ratio: Tensor, controller_state: Tensor, order: float
    ) -> tuple[Tensor, Tensor]:
        return torch.where(ratio <= 1.0, proposal, 0.0), controller_state


class FiniteStates:
    """Accepts every step whose new state is finite."""

    def ratio(self, error: Tensor | None, u0: Tensor, u1: Tensor, floor: Tensor | None = None) -> Tensor:
        """1 for a finite state, (batch, 1), else the largest ratio."""
        return torch.where(u1.isfinite().all(1, keepdim=True), 1.0, MAX_ERROR_RATIO).double()
