"""Adaptive methods: each path finds its own steps, which are made once more where a gradient is wanted."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.solvers.base import Stats, Status, Stepper, Task, Trajectory
from skneuralde.solvers.control import Controller, Tolerance, first_step
from skneuralde.solvers.equation import Equation
from skneuralde.solvers.harvest import AcceptedSteps, Branches, Inside, Passed
from skneuralde.solvers.loop import Front, Watcher, search
from skneuralde.solvers.march import Mesh, Record, march


class AdaptiveStepper(Stepper):
    """A method whose steps come with an estimate of their error and with the solution inside them."""

    adaptive = True
    order: int
    #: Whether a step's ``state`` is the drift where it ends.
    first_same_as_last: bool = False

    @abstractmethod
    def inside(self, theta: Tensor, u0: Tensor, stages: tuple[Tensor, ...]) -> Tensor:
        """The solution at fractions ``theta (n, 1)`` of steps that start at ``u0 (n, dim)``."""

    def solve(self, task: Task) -> Trajectory:
        return _Solution(self, task).solve()


class _Reached(NamedTuple):
    """What a solution found: the final front, and the states at wanted times by path and position."""

    front: Front
    status: Tensor
    path: Tensor
    save: Tensor
    states: Tensor


class _Solution:
    """The work on one task."""

    def __init__(self, method: AdaptiveStepper, task: Task):
        self.method, self.task = method, task
        self.tolerance = Tolerance(task.rtol, task.atol)
        batch = len(task.u0)
        self.start, self.direction = task.start.expand(batch, 1), task.direction.expand(batch, 1)
        f0 = task.equation.drift(self.start, task.u0)
        self.differentiate = torch.is_grad_enabled() and (task.u0.requires_grad or f0.requires_grad)
        end = torch.where(task.elapsed.isfinite(), task.elapsed, 0.0).amax(1, keepdim=True).expand(batch, 1)
        self.front = self._begin(task.u0.detach(), f0.detach(), end)

    @torch.no_grad()
    def _begin(self, u0: Tensor, f0: Tensor, end: Tensor) -> Front:
        if self.task.dt is None:
            h = first_step(lambda u: self.task.equation.drift(self.start, u), u0, f0, self.tolerance, self.method.order)
        else:
            h = torch.full_like(end, self.task.dt)
        return Front.begin(u0, f0 if self.method.first_same_as_last else None, self.start, self.direction, end, h)

    def solve(self) -> Trajectory:
        """Values at the times wanted."""
        task, counter = self.task, self.task.equation.counter
        values = torch.where((task.elapsed <= 0.0)[..., None], task.u0[:, None], torch.nan)
        front, status = self.front, self.front.status[:, 0]
        if bool((front.end > 0.0).any()):
            front, status, path, save, states = self._by_side_steps() if task.aside else self._inside_steps()
            values = values.index_put((path, save), states)
        stats = Stats(front.steps[:, 0], front.rejections[:, 0], front.smallest[:, 0], counter.drift, counter.diffusion)
        reached = torch.where(status[:, None] == Status.SUCCESS, front.end, front.elapsed)
        return Trajectory(values, status, (self.start + self.direction * reached)[:, 0], stats)

    def _inside_steps(self) -> _Reached:
        """Wanted times from the dense output; the last one is where the last step ends."""
        task, batch = self.task, len(self.task.u0)
        if not self.differentiate:
            inside = Inside(task.elapsed, batch, self.method.inside)
            front = self._search(task.equation, self.front, [inside])
            path, save, (states,) = inside.result()
            return _Reached(front, front.status[:, 0], path, save, states)
        accepted, passed = AcceptedSteps(), Passed(task.elapsed, batch)
        front = self._search(task.equation, self.front, [accepted, passed])
        path, save, (step, theta) = passed.result()
        mesh = accepted.mesh(front.steps[:, 0], task.u0.dtype)
        if bool((theta >= 1.0).all()):
            states = self._repeat(task.equation, task.u0, mesh, step + 1, path)
            return _Reached(front, front.status[:, 0], path, save, states)
        record, stages = Record(mesh, batch), []
        for k, (u, made) in enumerate(march(self.method, task.equation, task.u0, mesh)):
            record.keep(k, u)
            stages.append(made.stages)
        rows = record.positions(step, path)
        u, *parts = (
            torch.cat(column).index_select(0, rows)
            for column in (tuple(record.kept.values()), *zip(*stages, strict=True))
        )
        return _Reached(front, front.status[:, 0], path, save, self.method.inside(theta, u, tuple(parts)))

    def _by_side_steps(self) -> _Reached:
        """Wanted times by branches from a mesh that knows nothing of them.

        A branch starts from the first mesh point whose proposed step passes its time, whether or not that step is then
        accepted: so neither the mesh nor the branches depend on what else is wanted, and nothing is asked of the
        equation beyond the wanted time.
        """
        task = self.task
        accepted, branches = AcceptedSteps(), Branches(task.elapsed, len(task.u0))
        watchers: list[Watcher] = [branches, accepted] if self.differentiate else [branches]
        main = self._search(task.equation, self.front, watchers, overshoot=True)
        path, save, (step, elapsed, u) = branches.result()
        equation, wanted = task.equation.select(path), task.elapsed.expand(len(task.u0), -1)[path, save][:, None]
        start, direction, rest = (
            self.start[path] + self.direction[path] * elapsed,
            self.direction[path],
            wanted - elapsed,
        )
        front = Front.begin(u, None, start, direction, rest, rest)
        steps = AcceptedSteps()
        side = self._search(equation, front, [steps] if self.differentiate else [])
        states = side.u
        if self.differentiate:
            mesh = accepted.mesh(main.steps[:, 0], u.dtype)
            origin = self._repeat(task.equation, task.u0, mesh, step, path)
            count = side.steps[:, 0]
            states = self._repeat(
                equation, origin, steps.mesh(count, u.dtype), count, torch.arange(len(path), device=u.device)
            )
        states = torch.where(side.status == Status.SUCCESS, states, torch.nan)
        status = main.status[:, 0].scatter_reduce(0, path, side.status[:, 0], "amax")
        return _Reached(main, status, path, save, states)

    @torch.no_grad()
    def _search(self, equation: Equation, front: Front, watchers: list[Watcher], *, overshoot: bool = False) -> Front:
        return search(
            self.method,
            Controller(self.method.order),
            equation,
            front,
            self.tolerance,
            max_steps=self.task.max_steps,
            watchers=watchers,
            overshoot=overshoot,
        )

    def _repeat(self, equation: Equation, u0: Tensor, mesh: Mesh, step: Tensor, path: Tensor) -> Tensor:
        """Make the steps of a mesh once more, with gradients; the states after ``step`` steps of the paths."""
        record = Record(mesh, len(u0))
        wanted = set(step.unique().tolist())
        record.keep(0, u0 if mesh.order is None else u0[mesh.order])
        for k, (_, made) in enumerate(march(self.method, equation, u0, mesh), 1):
            if k in wanted:
                record.keep(k, made.u1)
        return torch.cat(list(record.kept.values())).index_select(0, record.positions(step, path))
