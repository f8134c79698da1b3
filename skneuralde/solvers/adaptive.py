"""Adaptive methods: each path finds its own steps, which are made once more where a gradient is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from skneuralde.solvers.base import Task, Trajectory
from skneuralde.solvers.control import Averaging, Controller, ProportionalIntegral, Tolerance, first_step
from skneuralde.solvers.drawing import Source
from skneuralde.solvers.equation import Equation
from skneuralde.solvers.fixed import FixedStepper
from skneuralde.solvers.loop import Front
from skneuralde.solvers.searching import Searching
from skneuralde.solvers.strides import Dyadic, Stops, Strides, snap

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
    smooth: Callable[[float], Controller] = ProportionalIntegral

    def first_carry(self, equation: Equation, t: Tensor, u: Tensor, f: Tensor) -> Tensor | None:
        return f if self.first_same_as_last else None

    def solve(self, task: Task) -> Trajectory:
        return super().solve(task) if task.rtol is None else _Adaptive(self, task, task.rtol).solve()


class _Adaptive(Searching):
    """Steps by their errors; times are counted in cells of the noise where there is noise."""

    method: AdaptiveStepper
    tolerance: Tolerance

    def __init__(self, method: AdaptiveStepper, task: Task, rtol: float):
        # A state that stays at zero keeps any tolerance, also a relative one.
        atol = task.atol.clamp_min(torch.finfo(task.atol.dtype).tiny)
        tolerance = Tolerance(rtol, atol)
        if task.hazards is not None:
            tolerance = Tolerance(rtol, task.hazards.tolerated(atol, rtol), task.hazards.width)
        order = method.error_order
        controller: Controller = method.smooth(order) if task.noise is None else Averaging(order)
        if task.noise is not None and not bool((task.noise.origin[:, None] == task.start).all()):
            raise ValueError(f"solver {method.name!r} needs noise whose origin is where the paths start")
        super().__init__(method, task, controller, tolerance)

    def counted(self, elapsed: Tensor) -> Tensor:
        return elapsed if self.task.noise is None else snap(elapsed / self.task.noise.cell)

    def strides_to(self, stops: Tensor, rows: Tensor | None) -> Strides:
        noise = self.task.noise
        if noise is None:
            return Stops(stops)
        return Dyadic(
            noise if rows is None else noise.select(rows),
            stops,
            furthest=self.furthest,
            table=rows is None,
            area=self.method.levy_area is not None,
            dtype=self.task.u0.dtype,
            idle=self.idle,
            anywhere=self.task.hazards is not None,
        )

    def source(self, rows: Tensor | None) -> Source:
        noise = self.task.noise
        assert noise is not None
        return Source.of_cells(noise if rows is None else noise.select(rows), self.method, self.task.u0.dtype)

    @torch.no_grad()
    def begin(self, u0: Tensor, f0: Tensor, g0: Tensor | None, end: Tensor) -> Front:
        if self.task.dt is None:
            now = self.equation.at(self.start, u0.dtype)
            h = first_step(
                lambda u: self.equation.drift(now, u),
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
        carry = self.method.first_carry(self.equation, self.start, u0, f0)
        floor = None
        if g0 is not None:
            # A state that noise drives through zero has no relative error: at least as far as it goes in one cell.
            floor = math.sqrt(self.strides.unit) * (g0.abs() if g0.ndim == 2 else g0.square().sum(-1).sqrt())
        pace = self.direction * self.strides.unit
        memory = torch.full_like(end, self.controller.first_memory)
        return Front.begin(u0, carry, floor, self.start, pace, torch.zeros_like(end), end, h, memory, shortest)
