"""Solutions by a search for steps, which are made once more where a gradient is wanted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.solvers.core.batch_order import by_count
from skneuralde.solvers.core.controllers import Controller
from skneuralde.solvers.core.jump_record import JumpRecord
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Stats, Status, Task, Trajectory
from skneuralde.solvers.gradients.checkpoint import stepwise
from skneuralde.solvers.gradients.dependencies import states_after_jumps
from skneuralde.solvers.gradients.replay import replay
from skneuralde.solvers.jumps.jump_handler import JumpHandler
from skneuralde.solvers.mesh.increments import IncrementSource
from skneuralde.solvers.mesh.mesh import DenseOutput, Mesh, Stepper
from skneuralde.solvers.mesh.outputs import OneStatePerRow
from skneuralde.solvers.mesh.step_states import StepStates
from skneuralde.solvers.stepping.loop import AcceptanceTest, PathState, StepObserver, search
from skneuralde.solvers.stepping.saving import (
    AcceptedSteps,
    DenseOutputSaver,
    SideStepOrigins,
    StepEndSaver,
    StepIndexSaver,
)
from skneuralde.solvers.stepping.step_alignment import FreeSteps, StepAlignment, StopTimes


class _Reached(NamedTuple):
    """What a solution found: the final front, the states at wanted times by path and position, and the jumps."""

    front: PathState
    status: Tensor
    path: Tensor
    save: Tensor
    states: Tensor
    jumps: JumpRecord | None


class LoopDriver(ABC):
    """The work on one task, by a search for steps.

    Elapsed times are counted in the unit of the strides from here on.

    Parameters
    ----------
    method : Stepper
    task : Task
    controller : Controller
    tolerance : AcceptanceTest
    """

    tolerance: AcceptanceTest

    def __init__(self, method: Stepper, task: Task, controller: Controller, tolerance: AcceptanceTest):
        self.method, self.task, self.controller, self.tolerance = method, task, controller, tolerance
        batch = len(task.u0)
        self.start, self.direction = task.start.expand(batch, 1), task.direction.expand(batch, 1)
        self.elapsed = self.counted(task.elapsed)
        end = torch.where(self.elapsed.isfinite(), self.elapsed, 0.0).amax(1, keepdim=True).expand(batch, 1)
        self.furthest = float(end.max()) if batch else 0.0
        self.rhs, u0 = task.rhs, task.u0
        if task.hazards is not None:
            self.rhs, u0 = task.hazards.carry(self.rhs), task.hazards.begin(u0)
        f0, g0 = self.rhs.coefficients(self.rhs.at(self.start, u0.dtype), u0)
        #: Components of the state that no noise moves, where its components move one state each.
        self.idle = 0 if task.hazards is None or g0 is None or g0.ndim > 2 else task.hazards.width
        self.strides = self._strides(self.elapsed, None)
        leads_on = [task.u0, f0[:, : task.u0.shape[1]], g0]
        if task.clockwork is not None:
            leads_on += states_after_jumps(task.rhs, self.start, task.u0)
        self.differentiate = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in leads_on)
        self.front = self.begin(u0.detach(), f0.detach(), None if g0 is None else g0.detach(), end)

    @abstractmethod
    def counted(self, elapsed: Tensor) -> Tensor:
        """Times since the start in the unit of the strides."""

    @abstractmethod
    def strides_to(self, stops: Tensor, rows: Tensor | None) -> StepAlignment:
        """Strides that end on ``stops``, of the paths ``rows``, None for all of them once."""

    @abstractmethod
    def begin(self, u0: Tensor, f0: Tensor, g0: Tensor | None, end: Tensor) -> PathState:
        """All paths where they begin, with the coefficients there, to go on to ``end (batch, 1)``."""

    @abstractmethod
    def source(self, rows: Tensor | None) -> IncrementSource:
        """The noise of these paths."""

    @property
    def looks_inside(self) -> bool:
        """Whether what is wanted lies inside steps, which need not end there."""
        if self.task.noise is not None or not isinstance(self.method, DenseOutput):
            return False
        return self.method.can_interpolate(self.task.rhs)

    def _strides(self, wanted: Tensor, rows: Tensor | None) -> StepAlignment:
        points = self._candidates(rows)
        if self.looks_inside:
            return FreeSteps() if points is None else StopTimes(points)
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

    def _arrivals(self, rows: Tensor | None) -> JumpHandler | None:
        """The jumps that a search of these paths meets."""
        clockwork, points = self.task.clockwork, self._candidates(rows)
        if clockwork is None or points is None:
            return None
        return JumpHandler(
            self.method, clockwork if rows is None else clockwork.select(rows), points, self.task.hazards
        )

    def solve(self) -> Trajectory:
        """Values at the times wanted."""
        task, counter = self.task, self.task.rhs.counter
        values = torch.where((self.elapsed <= 0.0)[..., None], task.u0[:, None], torch.nan)
        front, status = self.front, self.front.status[:, 0]
        jumps = None if task.clockwork is None else JumpRecord.empty(values.device)
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
            front = self._search(self.strides, self.rhs, self.front, [harvest], arrivals)
            path, save, (states,) = harvest.result()
            states = states[:, : task.u0.shape[1]]
            return _Reached(front, front.status[:, 0], path, save, states, _log(arrivals))
        accepted, passed = AcceptedSteps(), StepIndexSaver(self.elapsed, len(task.u0))
        watchers: list[StepObserver] = [accepted, passed]
        stepping = task.gradient == "checkpoint" and task.noise is None and arrivals is None
        if stepping:
            harvest, visited = self._harvest(), StepStates()
            watchers += [harvest, visited]
        front = self._search(self.strides, self.rhs, self.front, watchers, arrivals)
        path, save, (step, theta) = passed.result()
        mesh = self._mesh(accepted, self.front, front.steps[:, 0], None, arrivals)
        interpolate = theta if bool((theta < 1.0).any()) else None
        wanted = OneStatePerRow(step + 1, path, mesh, interpolate)
        if stepping and len(mesh):
            _, _, (values,) = harvest.result()
            states = stepwise(self.method, task.rhs, task.u0, mesh, wanted, values, visited)
        else:
            states = replay(self.method, task.rhs, task.u0, mesh, wanted, gradient=task.gradient)
        return _Reached(front, front.status[:, 0], path, save, states, _log(arrivals))

    def _harvest(self) -> StepEndSaver | DenseOutputSaver:
        """What keeps the states at the wanted times during a search."""
        if not self.looks_inside:
            return StepEndSaver(self.elapsed, len(self.task.u0))
        assert isinstance(self.method, DenseOutput)
        return DenseOutputSaver(self.elapsed, len(self.task.u0), self.method.interpolate)

    def _by_side_steps(self) -> _Reached:
        """Wanted times by branches from a mesh that knows nothing of them.

        A branch starts from the first mesh point whose next step passes its time, whether or not that step is then
        accepted: so neither the mesh nor the branches depend on what else is wanted, and nothing is asked of the
        equation beyond the wanted time.
        """
        task = self.task
        accepted, branches = AcceptedSteps(), SideStepOrigins(self.elapsed, len(task.u0))
        watchers: list[StepObserver] = [branches, accepted] if self.differentiate else [branches]
        nowhere = torch.full_like(self.elapsed[:1, :1], torch.inf)
        arrivals = self._arrivals(None)
        strides = self._strides(nowhere, None)
        main = self._search(strides, self.rhs, self.front, watchers, arrivals, overshoot=True)
        path, save, (step, elapsed, u) = branches.result()
        wanted = self.elapsed.expand(len(task.u0), -1)[path, save][:, None]
        origin = self.front.select(path)
        front = PathState.begin(
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
        side = self._search(strides, self.rhs.select(path), front, [steps] if self.differentiate else [], side_arrivals)
        states = side.u[:, : task.u0.shape[1]]
        if self.differentiate:
            mesh = self._mesh(accepted, self.front, main.steps[:, 0], None, arrivals)
            origins = OneStatePerRow(step, path, mesh)
            states = replay(self.method, task.rhs, task.u0, mesh, origins, gradient=task.gradient)
            count = side.steps[:, 0]
            mesh = self._mesh(steps, front, count, path, side_arrivals)
            ends = OneStatePerRow(count, torch.arange(len(path), device=u.device), mesh)
            states = replay(self.method, task.rhs.select(path), states, mesh, ends, gradient=task.gradient)
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
        strides: StepAlignment,
        rhs: RightHandSide,
        front: PathState,
        watchers: list[StepObserver],
        arrivals: JumpHandler | None,
        *,
        overshoot: bool = False,
    ) -> PathState:
        return search(
            self.method,
            self.controller,
            strides,
            rhs,
            front,
            self.tolerance,
            max_steps=self.task.max_steps,
            watchers=watchers,
            settler=arrivals,
            overshoot=overshoot,
        )

    def _mesh(
        self,
        accepted: AcceptedSteps,
        front: PathState,
        count: Tensor,
        rows: Tensor | None,
        arrivals: JumpHandler | None,
    ) -> Mesh:
        """The accepted steps, with their noise and jumps; ``rows`` are the paths, None for all of them once."""
        mesh = self.mesh(accepted.points(front.elapsed, count), front, count, rows)
        if arrivals is None:
            return mesh
        assert mesh.order is not None  # paths that jump have steps of their own
        return replace(mesh, landings=arrivals.landings(mesh.order))

    def mesh(self, points: Tensor, front: PathState, count: Tensor, rows: Tensor | None) -> Mesh:
        """The steps between the points (batch, n_points) of these paths, with their noise."""
        task = self.task
        t = front.start + front.pace * points[:, :-1]
        h = (front.pace * points.diff(dim=1)).to(task.u0.dtype)
        order, active = by_count(count)
        noise = None if task.noise is None else self.source(rows).along(points, order, active)
        return Mesh.ragged(t, h, order, active, noise)


def _log(arrivals: JumpHandler | None) -> JumpRecord | None:
    return None if arrivals is None else arrivals.log()
