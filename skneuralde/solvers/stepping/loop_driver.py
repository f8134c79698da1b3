"""Drivers by the step loop, whose accepted steps are made again if a gradient is needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from skneuralde._transforms import has_tangent, is_forward_mode_open
from skneuralde.solvers.core.batch_order import by_count
from skneuralde.solvers.core.controllers import Controller
from skneuralde.solvers.core.dense_output import DenseOutput
from skneuralde.solvers.core.jump_record import JumpRecord
from skneuralde.solvers.core.loop_state import STOPPED, AcceptanceTest, PathState, StepObserver
from skneuralde.solvers.core.results import Status, Trajectory
from skneuralde.solvers.core.stepper import Stepper
from skneuralde.solvers.gradients.captured import captured_tensors
from skneuralde.solvers.gradients.checkpoint import checkpoint_every_step
from skneuralde.solvers.gradients.dependencies import states_after_jumps
from skneuralde.solvers.gradients.replay import replay
from skneuralde.solvers.jumps.hazards import AugmentedRightHandSide
from skneuralde.solvers.jumps.jump_handler import JumpHandler
from skneuralde.solvers.jumps.schedule import JumpSchedule
from skneuralde.solvers.mesh.increments import IncrementSource
from skneuralde.solvers.mesh.mesh import Mesh
from skneuralde.solvers.mesh.outputs import OneStatePerRow, Replay
from skneuralde.solvers.mesh.restarts import RestartHandler
from skneuralde.solvers.mesh.step_states import StepStates
from skneuralde.solvers.stepping.leg import Leg, assembled
from skneuralde.solvers.stepping.loop import StepLoop
from skneuralde.solvers.stepping.saving import (
    AcceptedSteps,
    DenseOutputSaver,
    SideStepStarts,
    StepEndSaver,
    StepIndexSaver,
)
from skneuralde.solvers.stepping.step_alignment import FreeSteps, StepAlignment, StopTimes
from skneuralde.solvers.stepping.step_noise import StepNoise
from skneuralde.solvers.stepping.stiffness import StiffnessMonitor, failed_by_stiffness
from skneuralde.solvers.stepping.task import Task

#: Paths, statuses, path, save, states, ends and jumps of a `Leg`.
_Outputs = tuple[PathState, Tensor, Tensor, Tensor, Tensor, Tensor, JumpRecord | None]

#: Handlers that act at the ends of steps, in the loop and again on the mesh of its accepted steps.
LoopStepEnds = JumpHandler | RestartHandler


class LoopDriver(ABC):
    """Solves one task by the step loop.

    Elapsed times are counted in the unit of the step alignment. The error estimate shrinks with a step's length to the
    power of ``error_order``.
    """

    tolerance: AcceptanceTest

    def __init__(
        self, stepper: Stepper, task: Task, controller: Controller, error_order: float, tolerance: AcceptanceTest
    ):
        self.stepper, self.task, self.controller, self.tolerance = stepper, task, controller, tolerance
        self.error_order = error_order
        batch = len(task.u0)
        self.start, self.direction = task.start.expand(batch, 1), task.direction.expand(batch, 1)
        #: Elapsed time at which the paths begin.
        self.begun = torch.zeros_like(self.start) if task.resumption is None else task.resumption.elapsed
        self.elapsed = self.counted(task.elapsed)
        end = torch.where(self.elapsed.isfinite(), self.elapsed, 0.0).amax(1, keepdim=True).expand(batch, 1)
        self.furthest = float(end.max()) if batch else 0.0
        self.rhs, u0 = task.rhs, task.u0
        if task.hazards is not None:
            self.rhs = AugmentedRightHandSide(task.rhs, task.hazards)
            resumption = task.resumption
            u0 = task.hazards.augment(u0) if resumption is None else torch.cat([u0, resumption.hazards], 1)
        f0, g0 = self.rhs.coefficients(self.rhs.at(self.start + self.direction * self.begun, u0.dtype), u0)
        #: Hazards and counts behind the states, if the noise has one component per state.
        self.n_hazards = 0 if task.hazards is None or g0 is None or g0.ndim > 2 else task.hazards.width
        self.alignment, self.noise = self._alignment(self.elapsed, None)
        depends_on = [task.u0, f0[:, : task.u0.shape[1]], g0]
        if task.jump_schedule is not None:
            depends_on += states_after_jumps(task.rhs, self.start, task.u0)
        records = torch.is_grad_enabled()
        captured = captured_tensors(task.rhs.problem, task.rhs.context)
        self.needs_gradient = (records or is_forward_mode_open()) and any(
            x is not None and ((records and x.requires_grad) or has_tangent(x)) for x in chain(depends_on, captured)
        )
        self.paths = self.begin(u0.detach(), f0.detach(), None if g0 is None else g0.detach(), end)
        if task.jump_schedule is not None:
            failed = task.jump_schedule.rates.failed[:, None]
            status = self.paths.status.masked_fill(failed, int(Status.INVALID_RATE))
            self.paths = replace(self.paths, status=status)

    @abstractmethod
    def counted(self, elapsed: Tensor, rows: Tensor | None = None) -> Tensor:
        """Times since the start of all paths, or of ``rows``, in the unit of the step alignment."""

    @abstractmethod
    def align(self, stops: Tensor, rows: Tensor | None) -> tuple[StepAlignment, StepNoise | None]:
        """Alignment of steps that end on ``stops``, and their noise; of all paths, or of ``rows`` for side steps."""

    @abstractmethod
    def begin(self, u0: Tensor, f0: Tensor, g0: Tensor | None, end: Tensor) -> PathState:
        """All paths at their start, with the coefficients there; they end at ``end (batch, 1)``."""

    @abstractmethod
    def source(self, rows: Tensor | None) -> IncrementSource:
        """The noise of a mesh of all paths, or of ``rows``."""

    @property
    def has_dense_output(self) -> bool:
        """Whether save times are interpolated, so that steps need not end on them."""
        if self.task.noise is not None or not isinstance(self.stepper, DenseOutput):
            return False
        return self.stepper.can_interpolate(self.task.rhs)

    def _alignment(self, save_times: Tensor, rows: Tensor | None) -> tuple[StepAlignment, StepNoise | None]:
        """Alignment and noise of all paths, or of ``rows``: steps end on save times that are not interpolated."""
        ends = self._counted(self.task.step_ends, rows)
        if self.has_dense_output:
            return (FreeSteps() if ends is None else StopTimes(ends)), None
        if ends is not None:
            n = max(len(ends), len(save_times))
            save_times = torch.cat([save_times.expand(n, -1), ends.expand(n, -1)], 1).sort(1).values
        return self.align(save_times, rows)

    def _counted(self, elapsed: Tensor | None, rows: Tensor | None) -> Tensor | None:
        """Times (batch, n) or (1, n) in the unit of the loop, of all paths or of ``rows``."""
        if elapsed is None:
            return None
        return self.counted(elapsed if rows is None or len(elapsed) == 1 else elapsed[rows], rows)

    def _step_ends(self, rows: Tensor | None, schedule: JumpSchedule | None = None) -> tuple[LoopStepEnds, ...]:
        """Jumps and restarts of all paths, or of ``rows`` with the ``schedule`` of their jumps."""
        task, handlers = self.task, list[LoopStepEnds]()
        schedule = task.jump_schedule if rows is None else schedule
        if schedule is not None:
            elapsed = schedule.candidates.elapsed
            candidates = torch.cat([elapsed, elapsed.new_full((len(elapsed), 1), torch.inf)], 1)
            handlers.append(JumpHandler(self.stepper, schedule, self.counted(candidates, rows), task.hazards))
        stops = self._counted(task.stops, rows)
        if stops is not None:
            handlers.append(RestartHandler(self.stepper, stops))
        return tuple(handlers)

    def solve(self) -> Trajectory:
        """Solve, with values at the save times."""
        return assembled(self.task, [self.run()])

    def run(self, rows: Tensor | None = None, monitor: StiffnessMonitor | None = None) -> Leg:
        """Go as far as the paths get, with a monitor or without; ``rows`` are their positions in a larger batch."""
        if bool((self.paths.end > self.begun).any()):
            solved = (self._by_side_steps if self.task.side_steps else self._along_steps)(monitor)
        else:
            none, u0 = torch.zeros(0, dtype=torch.int64, device=self.task.u0.device), self.task.u0[:0]
            solved = self.paths, self.paths.status[:, 0], none, none, u0, u0, None
        paths, status, path, save, states, ends, jumps = solved
        is_stiff = None
        if not self.stepper.handles_stiffness and bool((paths.status > Status.SUCCESS).any()):
            is_stiff = failed_by_stiffness(self.rhs, paths)
        # A path whose rate of jumps is invalid has no states from there on.
        elapsed = self.elapsed.expand(len(status), -1)[path, save]
        invalid = (status[path] == Status.INVALID_RATE) & (elapsed >= paths.elapsed[path, 0])
        states = torch.where(invalid[:, None], torch.nan, states)
        return Leg(self.stepper.name, rows, paths, status, is_stiff, path, save, states, ends, jumps)

    def _along_steps(self, monitor: StiffnessMonitor | None) -> _Outputs:
        """Save times by dense output, or else by steps that end on them."""
        task, handlers = self.task, self._step_ends(None)
        if not self.needs_gradient:
            saver = self._saver()
            paths = self._main_loop([saver], handlers, monitor)
            path, save, (states,) = saver.result()
            dim = task.u0.shape[1]
            ends = paths.u[paths.status[:, 0] == STOPPED, :dim]
            return paths, paths.status[:, 0], path, save, states[:, :dim], ends, _record(handlers)
        accepted, index = AcceptedSteps(), StepIndexSaver(self.elapsed, self.begun)
        observers: list[StepObserver] = [accepted, index]
        keeps_states = task.gradient == "checkpoint" and task.noise is None and task.jump_schedule is None
        if keeps_states:
            saver, step_states = self._saver(), StepStates()
            observers += [saver, step_states]
        paths = self._main_loop(observers, handlers, monitor)
        path, save, (step, theta) = index.result()
        theta = theta.detach()
        mesh = self._mesh(accepted, self.paths, paths.steps[:, 0], None, handlers)
        stopped = (paths.status[:, 0] == STOPPED).nonzero()[:, 0]
        points = torch.cat([step + 1, paths.steps[stopped, 0]])
        theta = torch.cat([theta, torch.ones_like(paths.elapsed[stopped])])
        outputs = OneStatePerRow(points, torch.cat([path, stopped]), mesh, theta if bool((theta < 1.0).any()) else None)
        stored = None
        if keeps_states and len(mesh):
            same_path, same_save, (values,) = saver.result()
            permutation = _by_path_and_save(same_path, same_save)[_by_path_and_save(path, save).argsort()]
            values = torch.cat([values[permutation], paths.u[stopped]])
            stored = checkpoint_every_step(mesh, *step_states.along(mesh)), outputs.split(values)
        states = replay(Replay(self.stepper, task.rhs, mesh, outputs), task.u0, gradient=task.gradient, stored=stored)
        states, ends = states.split([len(path), len(stopped)])
        paths = _without_broken(paths, path, states)
        return paths, paths.status[:, 0], path, save, states, ends, _record(handlers)

    def _saver(self) -> StepEndSaver | DenseOutputSaver:
        if not self.has_dense_output:
            return StepEndSaver(self.elapsed, self.begun)
        assert isinstance(self.stepper, DenseOutput)
        return DenseOutputSaver(self.elapsed, self.begun, self.stepper.interpolate)

    def _by_side_steps(self, monitor: StiffnessMonitor | None) -> _Outputs:
        """Save times by side steps from a mesh that does not depend on them.

        A side step starts from the first mesh point whose next step passes its save time, whether or not that step is
        then accepted. So neither the mesh nor the side steps depend on other save times, and the equation is not
        evaluated beyond the save time.
        """
        task = self.task
        handlers = self._step_ends(None)
        schedule = task.jump_schedule
        largest = None if schedule is None else schedule.rates.largest
        accepted, starts = AcceptedSteps(), SideStepStarts(self.elapsed, self.begun, largest)
        observers: list[StepObserver] = [starts, accepted] if self.needs_gradient else [starts]
        self.alignment, self.noise = self._alignment(torch.full_like(self.elapsed[:1, :1], torch.inf), None)
        main = self._main_loop(observers, handlers, monitor, overshoot=True)
        stopped = (main.status[:, 0] == STOPPED).nonzero()[:, 0]
        path, save, (step, elapsed, u, *more) = starts.result()
        size = None if self.paths.size is None else more.pop(0)
        end = self.elapsed.expand(len(task.u0), -1)[path, save][:, None]
        before = self.paths.select(path)
        rhs = self.rhs.select(path)
        with torch.no_grad():
            solver_state = self.stepper.start_state(rhs, before.time(elapsed), u)
        paths = PathState.begin(
            u,
            start=before.start,
            unit=before.unit,
            end=end,
            min_step=before.min_step,
            elapsed=elapsed,
            proposal=end - elapsed,
            controller_state=before.controller_state,
            solver_state=solver_state,
            size=size,
        )
        side_schedule = None if schedule is None else schedule.select(path)
        if side_schedule is not None:
            (side_schedule.rates.largest,) = more
        side_accepted, side_handlers = AcceptedSteps(), self._step_ends(path, side_schedule)
        alignment, noise = self._alignment(end, path)
        observers = [side_accepted] if self.needs_gradient else []
        loop = replace(self._loop(observers, side_handlers), alignment=alignment, noise=noise)
        side = loop.run(rhs, paths)
        states, ends = (u[:, : task.u0.shape[1]] for u in (side.u, main.u[stopped]))
        if self.needs_gradient:
            mesh = self._mesh(accepted, self.paths, main.steps[:, 0], None, handlers)
            outputs = OneStatePerRow(torch.cat([step, main.steps[stopped, 0]]), torch.cat([path, stopped]), mesh)
            states = replay(Replay(self.stepper, task.rhs, mesh, outputs), task.u0, gradient=task.gradient)
            states, ends = states.split([len(path), len(stopped)])
            count = side.steps[:, 0]
            mesh = self._mesh(side_accepted, paths, count, path, side_handlers)
            outputs = OneStatePerRow(count, torch.arange(len(path), device=u.device), mesh)
            states = replay(Replay(self.stepper, task.rhs.select(path), mesh, outputs), states, gradient=task.gradient)
        states = torch.where(side.status == Status.SUCCESS, states, torch.nan)
        status = main.status[:, 0].scatter_reduce(0, path, side.status[:, 0], "amax")
        jumps, side_jumps = _record(handlers), _record(side_handlers)
        if jumps is not None and side_jumps is not None:
            jumps = jumps.followed_by(side_jumps.of_side_steps(path, (end == before.end)[:, 0]))
        if schedule is not None and side_schedule is not None:
            schedule.rates.adopt(side_schedule.rates, path)
        return main, status, path, save, states, ends, jumps

    def _main_loop(
        self,
        observers: list[StepObserver],
        handlers: tuple[LoopStepEnds, ...],
        monitor: StiffnessMonitor | None,
        *,
        overshoot: bool = False,
    ) -> PathState:
        """All paths at their ends, or where the monitor has stopped them."""
        loop = replace(self._loop(observers, handlers), monitor=monitor)
        paths = loop.run(self.rhs, self.paths, overshoot=overshoot)
        return paths if monitor is None else monitor.finish(self.rhs, paths)

    def _loop(self, observers: list[StepObserver], handlers: tuple[LoopStepEnds, ...]) -> StepLoop:
        return StepLoop(
            self.stepper,
            self.controller,
            self.error_order,
            self.alignment,
            self.noise,
            self.tolerance,
            self.task.max_steps,
            observers,
            handlers,
            max_step=self.task.max_step,
        )

    def _mesh(
        self,
        accepted: AcceptedSteps,
        paths: PathState,
        count: Tensor,
        rows: Tensor | None,
        handlers: tuple[LoopStepEnds, ...],
    ) -> Mesh:
        """The accepted steps, with their noise, jumps and restarts; of all paths, or of ``rows``."""
        # Steps are given, also where forward mode has followed the errors that chose them.
        mesh = self.mesh(accepted.points(paths.elapsed, count).detach(), paths, count, rows)
        assert mesh.permutation is not None  # paths of the loop have steps of their own
        return replace(mesh, step_ends=tuple(handler.on_mesh(mesh.permutation) for handler in handlers))

    def mesh(self, points: Tensor, paths: PathState, count: Tensor, rows: Tensor | None) -> Mesh:
        """The steps between the points (batch, n_points) of these paths, with their noise."""
        t = paths.start + paths.unit * points[:, :-1]
        h = (paths.unit * points.diff(dim=1)).to(self.task.u0.dtype)
        permutation, active = by_count(count)
        noise = None if self.task.noise is None else self.source(rows).along(points, permutation, active)
        return Mesh.ragged(t, h, permutation, active, noise)


def _without_broken(paths: PathState, path: Tensor, states: Tensor) -> PathState:
    """The paths, where those fail whose steps were finite in the loop, and are not where they are made again."""
    broken = path[~states.detach().isfinite().all(1)]
    if len(broken) == 0:
        return paths
    fails = torch.zeros_like(paths.status, dtype=torch.bool).index_fill_(0, broken, True) & (
        paths.status == Status.SUCCESS
    )
    return replace(paths, status=paths.status.masked_fill(fails, int(Status.NON_FINITE)))


def _record(handlers: tuple[LoopStepEnds, ...]) -> JumpRecord | None:
    """The jumps so far; None for an equation without jumps."""
    return next((handler.record() for handler in handlers if isinstance(handler, JumpHandler)), None)


def _by_path_and_save(path: Tensor, save: Tensor) -> Tensor:
    """Order of entries by path and then by save time."""
    return (path * (int(save.max()) + 1) + save).argsort() if len(path) else path
