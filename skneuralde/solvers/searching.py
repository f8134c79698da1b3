"""Solutions by a search for steps, which are made once more where a gradient is wanted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.solvers.arrivals import Arrivals
from skneuralde.solvers.base import Stats, Status, Task, Trajectory
from skneuralde.solvers.checkpoints import stepwise
from skneuralde.solvers.control import Controller
from skneuralde.solvers.drawing import Source
from skneuralde.solvers.equation import Equation
from skneuralde.solvers.harvest import AcceptedSteps, Branches, Ends, Inside, Passed
from skneuralde.solvers.jump_log import JumpLog
from skneuralde.solvers.leaves import states_after_jumps
from skneuralde.solvers.loop import Front, Judge, Watcher, search
from skneuralde.solvers.march import Dense, Marcher, Mesh
from skneuralde.solvers.orders import by_count
from skneuralde.solvers.replay import replay
from skneuralde.solvers.strides import Free, Stops, Strides
from skneuralde.solvers.visited import Visited
from skneuralde.solvers.wanted import OnePerRow


class _Reached(NamedTuple):
    """What a solution found: the final front, the states at wanted times by path and position, and the jumps."""

    front: Front
    status: Tensor
    path: Tensor
    save: Tensor
    states: Tensor
    jumps: JumpLog | None


class Searching(ABC):
    """The work on one task, by a search for steps.

    Elapsed times are counted in the unit of the strides from here on.

    Parameters
    ----------
    method : Marcher
    task : Task
    controller : Controller
    tolerance : Judge
    """

    tolerance: Judge

    def __init__(self, method: Marcher, task: Task, controller: Controller, tolerance: Judge):
        self.method, self.task, self.controller, self.tolerance = method, task, controller, tolerance
        batch = len(task.u0)
        self.start, self.direction = task.start.expand(batch, 1), task.direction.expand(batch, 1)
        self.elapsed = self.counted(task.elapsed)
        end = torch.where(self.elapsed.isfinite(), self.elapsed, 0.0).amax(1, keepdim=True).expand(batch, 1)
        self.furthest = float(end.max()) if batch else 0.0
        self.equation, u0 = task.equation, task.u0
        if task.hazards is not None:
            self.equation, u0 = task.hazards.carry(self.equation), task.hazards.begin(u0)
        f0, g0 = self.equation.coefficients(self.equation.at(self.start, u0.dtype), u0)
        #: Components of the state that no noise moves, where its components move one state each.
        self.idle = 0 if task.hazards is None or g0 is None or g0.ndim > 2 else task.hazards.width
        self.strides = self._strides(self.elapsed, None)
        leads_on = [task.u0, f0[:, : task.u0.shape[1]], g0]
        if task.clockwork is not None:
            leads_on += states_after_jumps(task.equation, self.start, task.u0)
        self.differentiate = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in leads_on)
        self.front = self.begin(u0.detach(), f0.detach(), None if g0 is None else g0.detach(), end)

    @abstractmethod
    def counted(self, elapsed: Tensor) -> Tensor:
        """Times since the start in the unit of the strides."""

    @abstractmethod
    def strides_to(self, stops: Tensor, rows: Tensor | None) -> Strides:
        """Strides that end on ``stops``, of the paths ``rows``, None for all of them once."""

    @abstractmethod
    def begin(self, u0: Tensor, f0: Tensor, g0: Tensor | None, end: Tensor) -> Front:
        """All paths where they begin, with the coefficients there, to go on to ``end (batch, 1)``."""

    @abstractmethod
    def source(self, rows: Tensor | None) -> Source:
        """The noise of these paths."""

    @property
    def looks_inside(self) -> bool:
        """Whether what is wanted lies inside steps, which need not end there."""
        if self.task.noise is not None or not isinstance(self.method, Dense):
            return False
        return self.method.knows_inside(self.task.equation)

    def _strides(self, wanted: Tensor, rows: Tensor | None) -> Strides:
        points = self._candidates(rows)
        if self.looks_inside:
            return Free() if points is None else Stops(points)
        if points is not None:
            wanted = torch.cat([wanted.expand(len(points), -1), points], 1).sort(1).values
        return self.strides_to(wanted, rows)

    def _candidates(self, rows: Tensor | None) -> Tensor | None:
        """When paths may jump, with infinity behind; None in an equation without jumps."""
        if self.task.clockwork is None:
            return None
        elapsed = self.task.clockwork.candidates.elapsed
        elapsed = self.counted(elapsed if rows is None else elapsed[rows])
        return torch.cat([elapsed, elapsed.new_full((len(elapsed), 1), torch.inf)], 1)

    def _arrivals(self, rows: Tensor | None) -> Arrivals | None:
        """The jumps that a search of these paths meets."""
        clockwork, points = self.task.clockwork, self._candidates(rows)
        if clockwork is None or points is None:
            return None
        return Arrivals(self.method, clockwork if rows is None else clockwork.select(rows), points, self.task.hazards)

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
            front = self._search(self.strides, self.equation, self.front, [harvest], arrivals)
            path, save, (states,) = harvest.result()
            states = states[:, : task.u0.shape[1]]
            return _Reached(front, front.status[:, 0], path, save, states, _log(arrivals))
        accepted, passed = AcceptedSteps(), Passed(self.elapsed, len(task.u0))
        watchers: list[Watcher] = [accepted, passed]
        stepping = task.gradient == "checkpoint" and task.noise is None and arrivals is None
        if stepping:
            harvest, visited = self._harvest(), Visited()
            watchers += [harvest, visited]
        front = self._search(self.strides, self.equation, self.front, watchers, arrivals)
        path, save, (step, theta) = passed.result()
        mesh = self._mesh(accepted, self.front, front.steps[:, 0], None, arrivals)
        inside = theta if bool((theta < 1.0).any()) else None
        wanted = OnePerRow(step + 1, path, mesh, inside)
        if stepping and len(mesh):
            _, _, (values,) = harvest.result()
            states = stepwise(self.method, task.equation, task.u0, mesh, wanted, values, visited)
        else:
            states = replay(self.method, task.equation, task.u0, mesh, wanted, gradient=task.gradient)
        return _Reached(front, front.status[:, 0], path, save, states, _log(arrivals))

    def _harvest(self) -> Ends | Inside:
        """What keeps the states at the wanted times during a search."""
        if not self.looks_inside:
            return Ends(self.elapsed, len(self.task.u0))
        assert isinstance(self.method, Dense)
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
        main = self._search(strides, self.equation, self.front, watchers, arrivals, overshoot=True)
        path, save, (step, elapsed, u) = branches.result()
        wanted = self.elapsed.expand(len(task.u0), -1)[path, save][:, None]
        origin = self.front.select(path)
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
        side = self._search(
            strides, self.equation.select(path), front, [steps] if self.differentiate else [], side_arrivals
        )
        states = side.u[:, : task.u0.shape[1]]
        if self.differentiate:
            mesh = self._mesh(accepted, self.front, main.steps[:, 0], None, arrivals)
            origins = OnePerRow(step, path, mesh)
            states = replay(self.method, task.equation, task.u0, mesh, origins, gradient=task.gradient)
            count = side.steps[:, 0]
            mesh = self._mesh(steps, front, count, path, side_arrivals)
            ends = OnePerRow(count, torch.arange(len(path), device=u.device), mesh)
            states = replay(self.method, task.equation.select(path), states, mesh, ends, gradient=task.gradient)
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
        mesh = self.mesh(accepted.points(front.elapsed, count), front, count, rows)
        if arrivals is None:
            return mesh
        assert mesh.order is not None  # paths that jump have steps of their own
        return replace(mesh, landings=arrivals.landings(mesh.order))

    def mesh(self, points: Tensor, front: Front, count: Tensor, rows: Tensor | None) -> Mesh:
        """The steps between the points (batch, n_points) of these paths, with their noise."""
        task = self.task
        t = front.start + front.pace * points[:, :-1]
        h = (front.pace * points.diff(dim=1)).to(task.u0.dtype)
        order, active = by_count(count)
        noise = None if task.noise is None else self.source(rows).along(points, order, active)
        return Mesh.ragged(t, h, order, active, noise)


def _log(arrivals: Arrivals | None) -> JumpLog | None:
    return None if arrivals is None else arrivals.log()
