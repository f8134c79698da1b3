"""Driver of adaptive methods: each path chooses its own steps by the estimates of their errors."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

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
#: The longest step, in cells of the noise, if the noise changes in time: it may be zero for a while.
_LONGEST = 1.0 / 16.0


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
        super().__init__(stepper, task, controller, stepper.error_order, Tolerance(task.rtol, atol, n_hazards))

    def counted(self, elapsed: Tensor, rows: Tensor | None = None) -> Tensor:
        return elapsed if self.task.noise is None else snap(elapsed / self._unit(rows))

    def _unit(self, rows: Tensor | None = None) -> Tensor | float:
        """Unit of elapsed times: the length of the noise's cells, of all paths or of ``rows``; (n, 1) if it varies."""
        cell = 1.0 if self.task.noise is None else self.task.noise.cell
        if isinstance(cell, Tensor):
            return (cell if rows is None else cell[rows])[:, None]
        return cell

    @cached_property
    def _longest(self) -> float:
        """The longest step with noise, in cells."""
        is_steady = self.task.rhs.has_steady_noise(self.start, self.task.u0)
        return self.stepper.longest_step if is_steady else min(self.stepper.longest_step, _LONGEST)

    def align(self, stops: Tensor, rows: Tensor | None) -> tuple[StepAlignment, StepNoise | None]:
        noise = self.task.noise
        if noise is None:
            return StopTimes(stops), None
        has_limits = self.task.hazards is not None
        alignment = DyadicAlignment(stops, furthest=self.furthest, has_limits=has_limits, longest=self._longest)
        return alignment, DyadicNoise(
            noise if rows is None else noise.select(rows),
            furthest=self.furthest,
            tabulate=rows is None,
            whole_parts=alignment.whole_parts,
            stops=alignment.stops,
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
        unit = self._unit()
        if self.task.resumption is not None:
            h = self.task.resumption.proposal
        elif self.task.dt is None:
            now = self.rhs.at(self.start, u0.dtype)
            h = first_step(
                lambda u: self.rhs.drift(now, u),
                u0,
                f0,
                self.tolerance,
                self.error_order,
                self.controller.first_error,
                torch.as_tensor(_FIRST if self.task.noise is None else unit, dtype=torch.float64, device=u0.device),
            )
        else:
            h = torch.full_like(end, self.task.dt)
        min_step = self.alignment.smallest(self.start, end)
        return PathState.begin(
            u0,
            start=self.start,
            unit=self.direction * unit,
            end=end,
            min_step=min_step,
            elapsed=self.begun,
            proposal=torch.maximum(h / unit, min_step),
            controller_state=torch.full_like(end, self.controller.first_state),
            solver_state=self.stepper.start_state(self.rhs, self.start + self.direction * self.begun, u0, f0),
            # A state that noise drives through zero has no relative error.
            size=None if g0 is None else u0.abs(),
        )
