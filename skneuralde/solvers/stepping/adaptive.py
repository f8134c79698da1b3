"""Driver of adaptive methods: each path chooses its own steps by the estimates of their errors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skneuralde.solvers.core.controllers import BoundedController
from skneuralde.solvers.core.first_step import first_step
from skneuralde.solvers.core.loop_state import PathState
from skneuralde.solvers.core.stepper import Stepper
from skneuralde.solvers.core.tolerance import Tolerance
from skneuralde.solvers.mesh.increments import IncrementSource
from skneuralde.solvers.stepping.loop_driver import LoopDriver
from skneuralde.solvers.stepping.step_alignment import DyadicAlignment, StepAlignment, StopTimes, snap
from skneuralde.solvers.stepping.step_noise import DyadicNoise, StepNoise
from skneuralde.solvers.stepping.task import Task

#: The first step without noise of a path whose state does not move at first, in units of time.
_FIRST = 1e-6


class AdaptiveDriver(LoopDriver):
    """Steps by their errors; with noise times are counted in its cells."""

    tolerance: Tolerance

    def __init__(self, stepper: Stepper, task: Task):
        assert task.rtol is not None
        # The smallest positive number lets a state that stays at zero meet any tolerance, also a relative one.
        atol, n_hazards = task.atol.clamp_min(torch.finfo(task.atol.dtype).tiny), 0
        if task.hazards is not None:
            atol, n_hazards = task.hazards.tolerances(atol), task.hazards.width
        if task.noise is not None and not bool((task.noise.start[:, None] == task.start).all()):
            raise ValueError(f"solver {stepper.name!r} needs noise that starts where the paths start")
        controller = stepper.controller if task.controller is None else task.controller
        if task.max_step is not None:
            controller = BoundedController(controller, task.max_step / (1.0 if task.noise is None else task.noise.cell))
        super().__init__(stepper, task, controller, stepper.error_order, Tolerance(task.rtol, atol, n_hazards))

    def counted(self, elapsed: Tensor) -> Tensor:
        return elapsed if self.task.noise is None else snap(elapsed / self.task.noise.cell)

    def align(self, stops: Tensor, rows: Tensor | None) -> tuple[StepAlignment, StepNoise | None]:
        noise = self.task.noise
        if noise is None:
            return StopTimes(stops), None
        has_limits = self.task.hazards is not None
        alignment = DyadicAlignment(stops, noise.cell, furthest=self.furthest, has_limits=has_limits)
        return alignment, DyadicNoise(
            noise if rows is None else noise.select(rows),
            furthest=self.furthest,
            tabulate=rows is None,
            whole_parts=alignment.whole_parts,
            area=self.stepper.levy_area is not None,
            dtype=self.task.u0.dtype,
            n_hazards=self.n_hazards,
        )

    def source(self, rows: Tensor | None) -> IncrementSource:
        noise = self.task.noise
        assert noise is not None
        return IncrementSource.of_cells(noise if rows is None else noise.select(rows), self.stepper, self.task.u0.dtype)

    @torch.no_grad()
    def begin(self, u0: Tensor, f0: Tensor, g0: Tensor | None, end: Tensor) -> PathState:
        unit = self.alignment.unit
        if self.task.dt is None:
            now = self.rhs.at(self.start, u0.dtype)
            h = first_step(
                lambda u: self.rhs.drift(now, u),
                u0,
                f0,
                self.tolerance,
                self.error_order,
                self.controller.first_error,
                _FIRST if self.task.noise is None else unit,
            )
        else:
            h = torch.full_like(end, self.task.dt)
        min_step = self.alignment.smallest(self.start, end)
        floor = None
        if g0 is not None:
            # A state that noise drives through zero has no relative error; its deviation in a cell bounds its size.
            floor = math.sqrt(unit) * (g0.abs() if g0.ndim == 2 else g0.square().sum(-1).sqrt())
        return PathState.begin(
            u0,
            start=self.start,
            unit=self.direction * unit,
            end=end,
            min_step=min_step,
            elapsed=torch.zeros_like(end),
            proposal=self.controller.bounded(torch.maximum(h / unit, min_step)),
            controller_state=torch.full_like(end, self.controller.first_state),
            solver_state=self.stepper.start_state(self.rhs, self.start, u0, f0),
            floor=floor,
        )
