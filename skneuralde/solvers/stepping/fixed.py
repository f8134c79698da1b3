"""Driver of fixed steps: a mesh of cells of length dt, known before the first step."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.solvers.core.batch_order import by_count
from skneuralde.solvers.core.results import Stats, Status, Trajectory
from skneuralde.solvers.core.stepper import StepInput, Stepper
from skneuralde.solvers.core.stiffness import extreme_rates
from skneuralde.solvers.gradients.replay import replay
from skneuralde.solvers.jumps.apply import MeshJumps
from skneuralde.solvers.jumps.schedule import EXTRA, ExtraJump, JumpSchedule
from skneuralde.solvers.mesh.grid_schedule import GridSchedule, snapped
from skneuralde.solvers.mesh.grid_steps import GridSteps
from skneuralde.solvers.mesh.increments import IncrementSource
from skneuralde.solvers.mesh.mesh import Mesh, walk
from skneuralde.solvers.mesh.outputs import AllPathsAt, OneStatePerRow, Replay, RequestedStates
from skneuralde.solvers.mesh.restarts import MeshRestarts
from skneuralde.solvers.stepping.task import Task

#: A step of this many times of decay is too long for explicit methods of first and second order.
_UNSTABLE = 2.0


class FixedDriver:
    """Solves one task by steps of length dt.

    Steps end on save times, or, with side steps, keep to whole cells; then each save time is reached by one shorter
    step from the mesh point before it. Nothing is ever interpolated.
    """

    def __init__(self, stepper: Stepper, task: Task):
        assert task.dt is not None
        dt = task.dt
        rates = None if task.jump_schedule is None else task.jump_schedule.rates
        if rates is not None and bool(rates.failed.any()):
            task = replace(task, u0=torch.where(rates.failed[:, None], torch.nan, task.u0))
        self.stepper, self.task, self.dt = stepper, task, dt
        self.rates = rates
        self.schedule = self._schedule()

    def solve(self) -> Trajectory:
        """Solve, with values at the save times."""
        self._start_at_extra_jump()
        schedule, mesh = self.schedule, self._mesh()
        values = self._values(mesh)
        reached = schedule.state <= schedule.count[:, None]
        broken = schedule.is_save_time & reached & ~values.detach().isfinite().all(-1)
        counts, failed = schedule.count.expand(len(values)), broken.any(-1)
        smallest = (self.dt * schedule.shortest).expand(len(values))
        if bool((broken | (schedule.is_save_time & ~reached)).any()):
            counts = self._finite_steps(mesh)
            failed = failed | (counts < schedule.count)
            self.schedule = schedule.without(broken | (schedule.state > counts[:, None]))
            if values.requires_grad and bool(failed.any()):
                # A gradient through states that are not finite would not be finite.
                mesh = self._mesh()
                values = self._values(mesh)
        trajectory, jumps = self._trajectory(values, counts, failed, smallest), _jumps_of(mesh)
        return trajectory if jumps is None else replace(trajectory, jumps=jumps.jumps())

    def _start_at_extra_jump(self) -> None:
        """Start paths at their extra jump, if their states there and the noise of all steps are known."""
        task, schedule, extra = self.task, self.schedule, self.task.extra_jump
        if extra is None or extra.state is None or task.jump_schedule is None or task.side_steps:
            return
        if task.noise is not None and (task.increment_cache is None or not task.increment_cache.knows(schedule)):
            return
        rows = extra.elapsed[:, 0].isfinite().nonzero()[:, 0]
        first = torch.zeros_like(schedule.count)
        first[rows] = schedule.step_to(snapped(extra.elapsed / self.dt))[rows, 0] + 1
        self.task = replace(task, u0=task.u0.index_copy(0, rows, self._after(extra, extra.state, rows)))
        self.schedule = schedule.since(first)

    def _after(self, extra: ExtraJump, state: Tensor, rows: Tensor) -> Tensor:
        """States of these paths after their extra jump."""
        task = self.task
        assert task.jump_schedule is not None
        part, u = task.rhs.select(rows), state[rows]
        now = part.at((task.start + task.direction * extra.elapsed)[rows], u.dtype)
        return task.jump_schedule.apply(extra.channel, part, now, u, rows, torch.full_like(rows, EXTRA))

    def _schedule(self) -> GridSchedule:
        task, stops, position = self.task, None, self.task.elapsed / self.dt
        if task.step_ends is not None:
            stops = snapped(task.step_ends / self.dt)
            known = stops == stops.floor()
            if len(position) == 1 and not task.side_steps:
                known |= torch.isin(stops, snapped(position))
            # Paths whose stops are mesh points anyway can share their steps.
            stops = None if bool(known.all()) else torch.where(known, torch.inf, stops)
        return GridSchedule.make(position, side_steps=task.side_steps, max_steps=task.max_steps, stops=stops)

    def _mesh(self) -> Mesh:
        """The steps of the schedule in units of time, with their noise, jumps and restarts."""
        task, schedule, dtype, unit = self.task, self.schedule, self.task.u0.dtype, self.task.direction * self.dt
        source = self._source()
        if task.is_shared and task.jump_schedule is None and len(schedule.count) == 1:
            points = schedule.place(torch.arange(int(schedule.count) + 1, device=unit.device)[None])
            t, h = task.start + unit * points[:, :-1], unit * points.diff(dim=1)
            mesh = Mesh.shared(t[0], h[0], len(task.u0), None if source is None else source.shared(points[0]))
            return replace(mesh, step_ends=self._restarts(torch.arange(len(task.u0), device=unit.device)))
        permutation, active = by_count(schedule.count)
        steps = GridSteps(schedule, permutation, active, task.start, unit, dtype, source, task.increment_cache)
        return Mesh(steps.along, active, permutation, self._jumps(permutation) + self._restarts(permutation))

    def _source(self) -> IncrementSource | None:
        task = self.task
        if task.noise is None:
            return None
        return IncrementSource.of_steps(task.noise, task.start, self.dt, self.stepper, task.u0.dtype)

    def _jumps(self, permutation: Tensor) -> tuple[MeshJumps, ...]:
        """The candidates for jumps that the steps reach; empty for an equation without jumps."""
        jumps: JumpSchedule | None = self.task.jump_schedule
        if jumps is None:
            return ()
        candidates = jumps.candidates
        path, place, step = self._steps_to(candidates.elapsed)
        channel, number, elapsed = (
            column[path, place] for column in (candidates.channel, candidates.number, candidates.elapsed)
        )
        return (MeshJumps(jumps, path, step, channel, number, elapsed, permutation, certain=False),)

    def _restarts(self, permutation: Tensor) -> tuple[MeshRestarts, ...]:
        """The restarts at stops; empty without stops."""
        if self.task.stops is None:
            return ()
        path, _, step = self._steps_to(self.task.stops)
        return (MeshRestarts(path, step, permutation),)

    def _steps_to(self, elapsed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Paths, places in their row, and steps that end there, of those of the times (rows, n) that are reached."""
        schedule, batch = self.schedule, len(self.task.u0)
        position = snapped(elapsed / self.dt)
        if len(schedule.count) == 1:
            step = schedule.step_to(position.reshape(1, -1)).view_as(position)
        else:
            step = schedule.step_to(position.expand(batch, -1).contiguous())
        reached = ((step >= 0) & (step < schedule.count[:, None])).expand(batch, -1)
        path, place = reached.nonzero(as_tuple=True)
        return path, place, step.expand(batch, -1)[path, place]

    def _values(self, mesh: Mesh) -> Tensor:
        """States at the save times, (batch, n_times, dim)."""
        task = self.task
        state = self.schedule.state.minimum(self.schedule.count[:, None])
        batch, n_times = len(task.u0), state.shape[1]
        if mesh.permutation is None:
            outputs: RequestedStates = AllPathsAt(state[0].tolist())
        else:
            path = torch.arange(batch, device=state.device).repeat_interleave(n_times)
            outputs = OneStatePerRow(state.flatten(), path, mesh)
        jumps = _jumps_of(mesh)
        if jumps is not None and task.gradient != "direct":
            # Candidates are thinned before anything is differentiated.
            with torch.no_grad():
                replay(Replay(self.stepper, task.rhs, mesh, outputs), task.u0)
            jumps.is_decided = True
        values = replay(Replay(self.stepper, task.rhs, mesh, outputs), task.u0, gradient=task.gradient)
        if isinstance(mesh.step_ends, MeshJumps):
            mesh.step_ends.is_decided = True
        values = values.view(batch, n_times, -1)
        return self._side_step(values) if task.side_steps else values

    def _side_step(self, values: Tensor) -> Tensor:
        """From the states at the mesh points before save times to those at save times, in one step of all together."""
        task, schedule = self.task, self.schedule
        path, save = schedule.rest.expand(len(task.u0), -1).nonzero(as_tuple=True)
        if len(path) == 0:
            return values
        shared = torch.zeros_like(path)
        row, scheduled = (shared if task.is_shared else path), (shared if len(schedule.count) == 1 else path)
        direction, rest = task.direction[row], schedule.rest.expand(len(schedule.count), -1)[scheduled, save]
        begin = schedule.place(schedule.state)[scheduled, save]
        t = task.start[row] + direction * self.dt * begin[:, None]
        h = (direction * self.dt * rest[:, None]).to(values.dtype)
        source = self._source()
        noise = None if source is None else source.over(path, begin, begin + rest)
        step = self.stepper.step(StepInput(task.rhs.select(path), t, h, values[path, save], noise))
        return values.index_put((path, save), step.u1)

    def _trajectory(self, values: Tensor, counts: Tensor, failed: Tensor, smallest: Tensor) -> Trajectory:
        """Values with NaN after a failure; ``counts`` are the steps of each path, ``failed`` those not finite."""
        task, schedule = self.task, self.schedule
        missed = schedule.is_save_time & (schedule.state > schedule.count[:, None])
        status = torch.where(missed.any(-1), int(Status.MAX_STEPS), int(Status.SUCCESS))
        status = torch.where(failed, int(Status.NON_FINITE), status)
        if self.rates is not None:
            status = torch.where(self.rates.failed, int(Status.INVALID_RATE), status)
        hidden = missed.long().cummax(-1).values.bool() | ~schedule.is_save_time
        if bool(hidden.any()):
            values = torch.where(hidden[..., None], torch.nan, values)
        last = torch.where(schedule.is_save_time, task.elapsed, 0.0).amax(-1)
        reached = schedule.place(counts[None] if len(schedule.count) == 1 else counts[:, None]).flatten()
        elapsed = torch.where(status == Status.SUCCESS, last, self.dt * reached)
        counter = task.rhs.counter
        stats = Stats(counts, torch.zeros_like(counts), smallest, counter.drift, counter.diffusion)
        is_stiff = None
        if bool(failed.any()) and not self.stepper.handles_stiffness:
            is_stiff = self._failed_by_stiffness(values, failed)
        end = task.start[:, 0] + task.direction[:, 0] * elapsed
        return Trajectory(values, status, end, stats, rates=self.rates, is_stiff=is_stiff)

    def _failed_by_stiffness(self, values: Tensor, failed: Tensor) -> Tensor:
        """Whether steps were too long for stability, bool (batch,), judged at the last save time with a value."""
        task, rows = self.task, failed.nonzero()[:, 0]
        known = values[rows].detach().isfinite().all(-1)
        last = (known * torch.arange(known.shape[1], device=rows.device)).amax(1)
        elapsed = task.elapsed.expand(len(values), -1)[rows, last][:, None]
        t = task.start.expand(len(values), 1)[rows] + task.direction.expand(len(values), 1)[rows] * elapsed
        rate, _ = extreme_rates(task.rhs.select(rows), t, values[rows, last].detach())
        return failed.clone().index_copy_(0, rows, (self.dt * rate)[:, 0] >= _UNSTABLE)

    @torch.no_grad()
    def _finite_steps(self, mesh: Mesh) -> Tensor:
        """Number of finite steps of each path, counted by making the steps again."""
        count = self.schedule.count
        finite = count.repeat(len(self.task.u0) // len(count))
        paths = mesh.sorted(torch.arange(len(finite), device=finite.device))
        u0 = mesh.sorted(self.task.u0)
        for k, _, step in walk(self.stepper, self.task.rhs, u0, mesh, 0, len(mesh), None):
            broken = paths[: len(step.u1)][~step.u1.isfinite().all(-1)]
            finite[broken] = finite[broken].clamp_max(k)
        return finite


def _jumps_of(mesh: Mesh) -> MeshJumps | None:
    """The jumps of a mesh, if there are any."""
    return next((ends for ends in mesh.step_ends if isinstance(ends, MeshJumps)), None)
