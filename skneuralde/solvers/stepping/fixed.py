"""Fixed-step methods: a mesh of cells of length dt, known before the first step."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.solvers.core.batch_order import by_count
from skneuralde.solvers.core.stepper import Stats, Status, Task, Trajectory
from skneuralde.solvers.gradients.replay import replay
from skneuralde.solvers.jumps.apply import MeshJumps
from skneuralde.solvers.jumps.schedule import EXTRA, JumpSchedule
from skneuralde.solvers.mesh.grid_schedule import GridSchedule
from skneuralde.solvers.mesh.grid_snapping import snapped
from skneuralde.solvers.mesh.grid_steps import GridSteps
from skneuralde.solvers.mesh.increments import IncrementSource
from skneuralde.solvers.mesh.mesh import Mesh, Stepper
from skneuralde.solvers.mesh.outputs import AllPathsAt, OneStatePerRow, RequestedStates
from skneuralde.solvers.stepping.fixed_with_hazards import GridDriver


class FixedStepper(Stepper):
    """A method whose step is given by dt.

    Times wanted are stepped on exactly: either the path itself stops there, or (``aside``) it keeps to whole cells and
    every time is reached by one shorter step from the mesh point before it. Nothing is ever interpolated.

    Attributes
    ----------
    has_own_march : bool
        Whether it is not `step` that makes its steps.
    """

    has_own_march: bool = False

    def solve(self, task: Task) -> Trajectory:
        """Step along the mesh, keep the states at the times wanted."""
        if task.hazards is not None:
            return GridDriver(self, task).solve()
        dt = task.dt
        assert dt is not None
        plan = self._plan(task, dt)
        if task.extra is not None and task.extra.state is not None:
            task, plan = self._since(task, plan, dt, task.extra.elapsed, task.extra.state)
        mesh = self._mesh(task, plan, dt)
        values = self._values(task, plan, mesh, dt)
        reached = plan.state <= plan.count[:, None]
        broken = plan.is_wanted & reached & ~values.detach().isfinite().all(-1)
        counts, ceased, smallest = plan.count.expand(len(values)), broken.any(-1), dt * plan.shortest
        if bool((broken | (plan.is_wanted & ~reached)).any()):
            counts = self._finite_steps(task, plan, mesh, dt)
            ceased = ceased | (counts < plan.count)
            plan = plan.without(broken | (plan.state > counts[:, None]))
            if values.requires_grad and bool(ceased.any()):
                # A gradient would not be finite if the graph led through what is not.
                mesh = self._mesh(task, plan, dt)
                values = self._values(task, plan, mesh, dt)
        trajectory = self._report(task, plan, dt, values, counts, ceased, smallest.expand(len(values)))
        return trajectory if mesh.landings is None else replace(trajectory, jumps=mesh.landings.jumps())

    def _since(
        self, task: Task, plan: GridSchedule, dt: float, elapsed: Tensor, state: Tensor
    ) -> tuple[Task, GridSchedule]:
        """Begin with the jump that paths have more than others, whose states there and whose noise are known."""
        assert task.extra is not None
        assert task.clockwork is not None
        if task.aside or (task.noise is not None and (task.drawn is None or not task.drawn.knows(plan))):
            return task, plan
        rows = elapsed[:, 0].isfinite().nonzero()[:, 0]
        first = torch.zeros_like(plan.count)
        first[rows] = plan.step_to(snapped(elapsed / dt))[rows, 0] + 1
        part, u = task.rhs.select(rows), state[rows]
        now = part.at((task.start + task.direction * elapsed)[rows], u.dtype)
        after = task.clockwork.apply(task.extra.channel, part, now, u, rows, torch.full_like(rows, EXTRA))
        return replace(task, u0=task.u0.index_copy(0, rows, after)), plan.since(first)

    def _plan(self, task: Task, dt: float) -> GridSchedule:
        stops = None if task.clockwork is None else snapped(task.clockwork.candidates.elapsed / dt)
        return GridSchedule.make(task.elapsed / dt, aside=task.aside, max_steps=task.max_steps, stops=stops)

    def _mesh(self, task: Task, plan: GridSchedule, dt: float) -> Mesh:
        """The steps of a plan in units of time, with their noise and jumps."""
        dtype, pace = task.u0.dtype, task.direction * dt
        source = None if task.noise is None else IncrementSource.of_steps(task.noise, task.start, dt, self, dtype)
        if task.is_shared and task.clockwork is None and len(plan.count) == 1:
            points = plan.place(torch.arange(int(plan.count) + 1, device=pace.device)[None])
            t, h = task.start + pace * points[:, :-1], pace * points.diff(dim=1)
            return Mesh.shared(t[0], h[0], len(task.u0), None if source is None else source.shared(points[0]))
        order, active = by_count(plan.count)
        steps = GridSteps(plan, order, active, task.start, pace, dtype, source, task.drawn)
        landings = None if task.clockwork is None else self._landings(task.clockwork, plan, dt, order)
        return Mesh(steps.along, active, order, landings)

    def _landings(self, clockwork: JumpSchedule, plan: GridSchedule, dt: float, order: Tensor) -> MeshJumps:
        """The candidates for jumps that the steps reach."""
        candidates = clockwork.candidates
        step = plan.step_to(snapped(candidates.elapsed / dt))
        path, place = ((step >= 0) & (step < plan.count[:, None])).nonzero(as_tuple=True)
        step, channel, number, elapsed = (
            column[path, place] for column in (step, candidates.channel, candidates.number, candidates.elapsed)
        )
        return MeshJumps(clockwork, path, step, channel, number, elapsed, order, certain=False)

    def _values(self, task: Task, plan: GridSchedule, mesh: Mesh, dt: float) -> Tensor:
        """States at the times wanted, (batch, n_times, dim)."""
        state = plan.state.minimum(plan.count[:, None])
        batch, n_times = len(task.u0), state.shape[1]
        if mesh.order is None:
            wanted: RequestedStates = AllPathsAt(state[0].tolist())
        else:
            path = torch.arange(batch, device=state.device).repeat_interleave(n_times)
            wanted = OneStatePerRow(state.flatten(), path, mesh)
        if mesh.landings is not None and task.gradient != "direct":
            # Which candidates are jumps is settled before anything is differentiated.
            with torch.no_grad():
                replay(self, task.rhs, task.u0, mesh, wanted)
            mesh.landings.is_decided = True
        values = replay(self, task.rhs, task.u0, mesh, wanted, gradient=task.gradient)
        values = values.view(batch, n_times, -1)
        return self._step_aside(task, plan, dt, values) if task.aside else values

    def _step_aside(self, task: Task, plan: GridSchedule, dt: float, values: Tensor) -> Tensor:
        """From the state at the mesh point before each time to the state at that time, in one step of all together."""
        path, save = plan.rest.expand(len(task.u0), -1).nonzero(as_tuple=True)
        if len(path) == 0:
            return values
        shared = torch.zeros_like(path)
        row, planned = (shared if task.is_shared else path), (shared if len(plan.count) == 1 else path)
        direction, rest = task.direction[row], plan.rest.expand(len(plan.count), -1)[planned, save]
        begin = plan.place(plan.state)[planned, save]
        t = task.start[row] + direction * dt * begin[:, None]
        h = direction * dt * rest[:, None]
        dtype, increments = values.dtype, None
        if task.noise is not None:
            source = IncrementSource.of_steps(task.noise, task.start, dt, self, dtype)
            increments = source.over(path, begin, begin + rest)
        step = self.step(task.rhs.select(path), t, h.to(dtype), values[path, save], increments, None)
        return values.index_put((path, save), step.u1)

    def _report(
        self,
        task: Task,
        plan: GridSchedule,
        dt: float,
        values: Tensor,
        counts: Tensor,
        ceased: Tensor,
        smallest: Tensor,
    ) -> Trajectory:
        """Tell what went wrong, and leave NaN from there on.

        ``counts`` are the steps of each path, and ``ceased`` the paths that are not finite to the end.
        """
        failed = plan.is_wanted & (plan.state > plan.count[:, None])
        status = torch.where(failed.any(-1), int(Status.MAX_STEPS), int(Status.SUCCESS))
        status = torch.where(ceased, int(Status.NON_FINITE), status)
        hidden = failed.long().cummax(-1).values.bool() | ~plan.is_wanted
        if bool(hidden.any()):
            values = torch.where(hidden[..., None], torch.nan, values)
        last = torch.where(plan.is_wanted, task.elapsed, 0.0).amax(-1)
        reached = plan.place(counts[None] if len(plan.count) == 1 else counts[:, None]).flatten()
        elapsed = torch.where(status == Status.SUCCESS, last, dt * reached)
        counter = task.rhs.counter
        stats = Stats(counts, torch.zeros_like(counts), smallest, counter.drift, counter.diffusion)
        return Trajectory(values, status, task.start[:, 0] + task.direction[:, 0] * elapsed, stats)

    @torch.no_grad()
    def _finite_steps(self, task: Task, plan: GridSchedule, mesh: Mesh, dt: float) -> Tensor:
        """Walk once more to count each path's steps before it ceases to be finite."""
        good = plan.count.repeat(len(task.u0) // len(plan.count))
        paths = mesh.sorted(torch.arange(len(good), device=good.device))
        for k, _, step in self.march(task.rhs, mesh.sorted(task.u0), mesh, 0, len(mesh), None):
            broken = paths[: len(step.u1)][~step.u1.isfinite().all(-1)]
            good[broken] = good[broken].clamp_max(k)
        return good
