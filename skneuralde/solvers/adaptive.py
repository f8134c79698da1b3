"""Adaptive methods: each path finds its own steps, which are made once more where a gradient is wanted."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.solvers.arrivals import Arrivals
from skneuralde.solvers.base import Stats, Status, Task, Trajectory
from skneuralde.solvers.control import Averaging, Controller, ProportionalIntegral, Tolerance, first_step
from skneuralde.solvers.drawing import Source
from skneuralde.solvers.equation import Equation
from skneuralde.solvers.fixed import FixedStepper
from skneuralde.solvers.harvest import AcceptedSteps, Branches, Ends, Inside, Passed
from skneuralde.solvers.jump_log import JumpLog
from skneuralde.solvers.loop import Front, Watcher, search
from skneuralde.solvers.march import Dense, Mesh
from skneuralde.solvers.replay import replay
from skneuralde.solvers.strides import Dyadic, Free, Stops, Strides, snap
from skneuralde.solvers.wanted import OnePerRow

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
    """

    adaptive = True
    error_order: float
    first_same_as_last: bool = False

    def first_carry(self, equation: Equation, t: Tensor, u: Tensor, f: Tensor) -> Tensor | None:
        """What a first step can reuse, as `step` would find it by itself: here the drift f at the start."""
        return f if self.first_same_as_last else None

    def solve(self, task: Task) -> Trajectory:
        return super().solve(task) if task.rtol is None else _Solution(self, task, task.rtol).solve()


class _Reached(NamedTuple):
    """What a solution found: the final front, the states at wanted times by path and position, and the jumps."""

    front: Front
    status: Tensor
    path: Tensor
    save: Tensor
    states: Tensor
    jumps: JumpLog | None


class _Solution:
    """The work on one task.

    Elapsed times are counted in the unit of the strides from here on: in cells of the noise where there is noise.
    """

    def __init__(self, method: AdaptiveStepper, task: Task, rtol: float):
        self.method, self.task = method, task
        # A state that stays at zero keeps any tolerance, also a relative one.
        self.tolerance = Tolerance(rtol, task.atol.clamp_min(torch.finfo(task.atol.dtype).tiny))
        order = method.error_order
        self.controller: Controller = ProportionalIntegral(order) if task.noise is None else Averaging(order)
        batch = len(task.u0)
        self.start, self.direction = task.start.expand(batch, 1), task.direction.expand(batch, 1)
        if task.noise is not None and not bool((task.noise.origin[:, None] == self.start).all()):
            raise ValueError(f"solver {method.name!r} needs noise whose origin is where the paths start")
        self.elapsed = task.elapsed if task.noise is None else snap(task.elapsed / task.noise.cell)
        end = torch.where(self.elapsed.isfinite(), self.elapsed, 0.0).amax(1, keepdim=True).expand(batch, 1)
        self.furthest = float(end.max()) if batch else 0.0
        self.strides = self._strides(self.elapsed, None)
        now = task.equation.at(self.start, task.u0.dtype)
        f0, g0 = task.equation.coefficients(now, task.u0)
        leads_on = [task.u0, f0, g0]
        if task.clockwork is not None:
            leads_on += task.clockwork.trial(task.equation, now, task.u0)
        self.differentiate = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in leads_on)
        self.front = self._begin(task.u0.detach(), f0.detach(), None if g0 is None else g0.detach(), end)

    def _strides(self, stops: Tensor, rows: Tensor | None) -> Strides:
        noise, points = self.task.noise, self._candidates(rows)
        if noise is None and isinstance(self.method, Dense):
            return Free() if points is None else Stops(points)
        if points is not None:
            stops = torch.cat([stops.expand(len(points), -1), points], 1).sort(1).values
        if noise is None:
            return Stops(stops)
        chosen = noise if rows is None else noise.select(rows)
        return Dyadic(
            chosen,
            stops,
            furthest=self.furthest,
            table=rows is None,
            area=self.method.levy_area is not None,
            dtype=self.task.u0.dtype,
        )

    def _candidates(self, rows: Tensor | None) -> Tensor | None:
        """When paths may jump, None in an equation without jumps; ``rows`` are the paths, None for all of them once."""
        clockwork = self.task.clockwork
        if clockwork is None:
            return None
        elapsed = clockwork.candidates.elapsed if rows is None else clockwork.candidates.elapsed[rows]
        return elapsed if self.task.noise is None else snap(elapsed / self.task.noise.cell)

    def _arrivals(self, rows: Tensor | None) -> Arrivals | None:
        """The jumps that a search of these paths meets."""
        clockwork, points = self.task.clockwork, self._candidates(rows)
        if clockwork is None or points is None:
            return None
        return Arrivals(self.method, clockwork if rows is None else clockwork.select(rows), points)

    @torch.no_grad()
    def _begin(self, u0: Tensor, f0: Tensor, g0: Tensor | None, end: Tensor) -> Front:
        if self.task.dt is None:
            now = self.task.equation.at(self.start, u0.dtype)
            h = first_step(
                lambda u: self.task.equation.drift(now, u),
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
        carry = self.method.first_carry(self.task.equation, self.start, u0, f0)
        floor = None
        if g0 is not None:
            # A state that noise drives through zero has no relative error: at least as far as it goes in one cell.
            floor = math.sqrt(self.strides.unit) * (g0.abs() if g0.ndim == 2 else g0.square().sum(-1).sqrt())
        pace = self.direction * self.strides.unit
        memory = torch.full_like(end, self.controller.first_memory)
        return Front.begin(u0, carry, floor, self.start, pace, torch.zeros_like(end), end, h, memory, shortest)

    def solve(self) -> Trajectory:
        """Values at the times wanted."""
        task, counter = self.task, self.task.equation.counter
        values = torch.where((self.elapsed <= 0.0)[..., None], task.u0[:, None], torch.nan)
        front, status = self.front, self.front.status[:, 0]
        jumps = None if task.clockwork is None else JumpLog.empty(values.device)
        if bool((front.end > 0.0).any()):
            front, status, path, save, states, jumps = self._by_side_steps() if task.aside else self._inside_steps()
            values = values.index_put((path, save), states)
        smallest = self.strides.unit * front.smallest[:, 0]
        stats = Stats(front.steps[:, 0], front.rejections[:, 0], smallest, counter.drift, counter.diffusion)
        reached = torch.where(status[:, None] == Status.SUCCESS, front.end, front.elapsed)
        return Trajectory(values, status, (self.start + front.pace * reached)[:, 0], stats, jumps)

    def _inside_steps(self) -> _Reached:
        """Wanted times from the dense output, or, with noise or without such output, from steps that end on them."""
        task, arrivals = self.task, self._arrivals(None)
        if not self.differentiate:
            harvest = self._harvest()
            front = self._search(self.strides, task.equation, self.front, [harvest], arrivals)
            path, save, (states,) = harvest.result()
            return _Reached(front, front.status[:, 0], path, save, states, _log(arrivals))
        accepted, passed = AcceptedSteps(), Passed(self.elapsed, len(task.u0))
        front = self._search(self.strides, task.equation, self.front, [accepted, passed], arrivals)
        path, save, (step, theta) = passed.result()
        mesh = self._mesh(accepted, self.front, front.steps[:, 0], None, arrivals)
        inside = theta if bool((theta < 1.0).any()) else None
        wanted = OnePerRow(step + 1, path, mesh, inside)
        states = replay(self.method, task.equation, task.u0, mesh, wanted, gradient=task.gradient)
        return _Reached(front, front.status[:, 0], path, save, states, _log(arrivals))

    def _harvest(self) -> Ends | Inside:
        """What keeps the states at the wanted times during a search."""
        if self.task.noise is not None or not isinstance(self.method, Dense):
            return Ends(self.elapsed, len(self.task.u0))
        return Inside(self.elapsed, len(self.task.u0), self.method.inside)

    def _by_side_steps(self) -> _Reached:
        """Wanted times by branches from a mesh that knows nothing of them.

        A branch starts from the first mesh point whose next step passes its time, whether or not that step is then
        accepted: so neither the mesh nor the branches depend on what else is wanted, and nothing is asked of the
        equation beyond the wanted time.
        """
        task = self.task
        accepted, branches = AcceptedSteps(), Branches(self.elapsed, len(task.u0))
        watchers: list[Watcher] = [branches, accepted] if self.differentiate else [branches]
        nowhere = torch.full_like(self.elapsed[:1, :1], torch.inf)
        arrivals = self._arrivals(None)
        strides = self._strides(nowhere, None)
        main = self._search(strides, task.equation, self.front, watchers, arrivals, overshoot=True)
        path, save, (step, elapsed, u) = branches.result()
        wanted = self.elapsed.expand(len(task.u0), -1)[path, save][:, None]
        equation, origin = task.equation.select(path), self.front.select(path)
        front = Front.begin(
            u,
            None,
            origin.floor,
            origin.start,
            origin.pace,
            elapsed,
            wanted,
            wanted - elapsed,
            origin.memory,
            origin.shortest,
        )
        steps = AcceptedSteps()
        strides, side_arrivals = self._strides(wanted, path), self._arrivals(path)
        side = self._search(strides, equation, front, [steps] if self.differentiate else [], side_arrivals)
        states = side.u
        if self.differentiate:
            mesh = self._mesh(accepted, self.front, main.steps[:, 0], None, arrivals)
            origins = OnePerRow(step, path, mesh)
            states = replay(self.method, task.equation, task.u0, mesh, origins, gradient=task.gradient)
            count = side.steps[:, 0]
            mesh = self._mesh(steps, front, count, path, side_arrivals)
            ends = OnePerRow(count, torch.arange(len(path), device=u.device), mesh)
            states = replay(self.method, equation, states, mesh, ends, gradient=task.gradient)
        states = torch.where(side.status == Status.SUCCESS, states, torch.nan)
        status = main.status[:, 0].scatter_reduce(0, path, side.status[:, 0], "amax")
        jumps = None
        if arrivals is not None and side_arrivals is not None:
            last = wanted == origin.end
            jumps = arrivals.log().followed_by(side_arrivals.log().of_branches(path, last[:, 0]))
        return _Reached(main, status, path, save, states, jumps)

    @torch.no_grad()
    def _search(
        self,
        strides: Strides,
        equation: Equation,
        front: Front,
        watchers: list[Watcher],
        arrivals: Arrivals | None,
        *,
        overshoot: bool = False,
    ) -> Front:
        return search(
            self.method,
            self.controller,
            strides,
            equation,
            front,
            self.tolerance,
            max_steps=self.task.max_steps,
            watchers=watchers,
            settler=arrivals,
            overshoot=overshoot,
        )

    def _mesh(
        self, accepted: AcceptedSteps, front: Front, count: Tensor, rows: Tensor | None, arrivals: Arrivals | None
    ) -> Mesh:
        """The accepted steps, with their noise and jumps; ``rows`` are the paths, None for all of them once."""
        task = self.task
        points = accepted.points(front.elapsed, count)
        t = front.start + front.pace * points[:, :-1]
        mesh = Mesh.ragged(t, front.pace * points.diff(dim=1), count, task.u0.dtype)
        if arrivals is not None:
            assert mesh.order is not None
            mesh = replace(mesh, landings=arrivals.landings(mesh.order))
        if task.noise is None:
            return mesh
        noise = task.noise if rows is None else task.noise.select(rows)
        return replace(mesh, noise=Source.of_cells(noise, self.method, task.u0.dtype).along(points, mesh))


def _log(arrivals: Arrivals | None) -> JumpLog | None:
    return None if arrivals is None else arrivals.log()
