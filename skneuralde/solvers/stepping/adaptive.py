"""Adaptive methods: each path finds its own steps, which are made once more where a gradient is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from skneuralde.solvers.core.controllers import AveragedErrorController, Controller, PIController, Tolerance, first_step
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Task, Trajectory
from skneuralde.solvers.mesh.increments import IncrementSource
from skneuralde.solvers.stepping.fixed import FixedStepper
from skneuralde.solvers.stepping.loop import PathState
from skneuralde.solvers.stepping.loop_driver import LoopDriver
from skneuralde.solvers.stepping.step_alignment import DyadicAlignment, StepAlignment, StopTimes, snap

#: The first step without noise where the state does not move at first, in units of time.
_FIRST = 1e-6


class AdaptiveStepper(FixedStepper):
    """A method whose steps come with an estimate of their error.

    Attributes
    ----------
    error_order : float
        The power of the step's length with which the estimate shrinks.
    first_same_as_last : bool
        Whether a step's ``state`` is the drift where it ends.
    smooth : callable
        Makes the controller, from ``error_order``, of the steps in equations without noise.
    """

    adaptive = True
    error_order: float
    first_same_as_last: bool = False
    smooth: Callable[[float], Controller] = PIController

    def first_carry(self, rhs: RightHandSide, t: Tensor, u: Tensor, f: Tensor) -> Tensor | None:
        return f if self.first_same_as_last else None

    def solve(self, task: Task) -> Trajectory:
        return super().solve(task) if task.rtol is None else _Adaptive(self, task, task.rtol).solve()


class _Adaptive(LoopDriver):
    """Steps by their errors; times are counted in cells of the noise where there is noise."""

    method: AdaptiveStepper
    tolerance: Tolerance

    def __init__(self, method: AdaptiveStepper, task: Task, rtol: float):
        # A state that stays at zero keeps any tolerance, also a relative one.
        atol = task.atol.clamp_min(torch.finfo(task.atol.dtype).tiny)
        tolerance = Tolerance(rtol, atol)
        if task.hazards is not None:
            tolerance = Tolerance(rtol, task.hazards.tolerated(atol), task.hazards.width)
        order = method.error_order
        controller: Controller = method.smooth(order) if task.noise is None else AveragedErrorController(order)
        if task.noise is not None and not bool((task.noise.origin[:, None] == task.start).all()):
            raise ValueError(f"solver {method.name!r} needs noise whose origin is where the paths start")
        super().__init__(method, task, controller, tolerance)

    def counted(self, elapsed: Tensor) -> Tensor:
        return elapsed if self.task.noise is None else snap(elapsed / self.task.noise.cell)

    def strides_to(self, stops: Tensor, rows: Tensor | None) -> StepAlignment:
        noise = self.task.noise
        if noise is None:
            return StopTimes(stops)
        return DyadicAlignment(
            noise if rows is None else noise.select(rows),
            stops,
            furthest=self.furthest,
            table=rows is None,
            area=self.method.levy_area is not None,
            dtype=self.task.u0.dtype,
            idle=self.idle,
            anywhere=self.task.hazards is not None,
        )

    def source(self, rows: Tensor | None) -> IncrementSource:
        noise = self.task.noise
        assert noise is not None
        return IncrementSource.of_cells(noise if rows is None else noise.select(rows), self.method, self.task.u0.dtype)

    @torch.no_grad()
    def begin(self, u0: Tensor, f0: Tensor, g0: Tensor | None, end: Tensor) -> PathState:
        if self.task.dt is None:
            now = self.rhs.at(self.start, u0.dtype)
            h = first_step(
                lambda u: self.rhs.drift(now, u),
                u0,
                f0,
                self.tolerance,
                self.method.error_order,
                self.controller.first_error,
                _FIRST if self.task.noise is None else self.strides.unit,
            )
        else:
            h = torch.full_like(end, self.task.dt)
        shortest = self.strides.smallest(self.start, end)
        h = torch.maximum(h / self.strides.unit, shortest)
        carry = self.method.first_carry(self.rhs, self.start, u0, f0)
        floor = None
        if g0 is not None:
            # A state that noise drives through zero has no relative error: at least as far as it goes in one cell.
            floor = math.sqrt(self.strides.unit) * (g0.abs() if g0.ndim == 2 else g0.square().sum(-1).sqrt())
        pace = self.direction * self.strides.unit
        memory = torch.full_like(end, self.controller.first_memory)
        return PathState.begin(u0, carry, floor, self.start, pace, torch.zeros_like(end), end, h, memory, shortest)
