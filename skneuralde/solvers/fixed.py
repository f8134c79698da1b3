"""Fixed-step methods: a mesh of cells of length dt, known before the first step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skneuralde.solvers.base import Solver, Stats, Status, Task, Trajectory
from skneuralde.solvers.cells import distinct, snapped
from skneuralde.solvers.clockwork import Clockwork, Events
from skneuralde.solvers.detours import Detours
from skneuralde.solvers.drawing import Source, known
from skneuralde.solvers.gridded import Gridded
from skneuralde.solvers.landings import Landings
from skneuralde.solvers.march import Marcher, Mesh
from skneuralde.solvers.replay import replay
from skneuralde.solvers.wanted import Everywhere, OnePerRow, Wanted


class FixedStepper(Marcher):
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
            return Gridded(self, task).solve()
        dt = task.dt
        assert dt is not None
        if task.clockwork is not None and task.is_shared and not task.aside and task.drawn is None:
            trajectory = self._by_detours(task, dt)
            if trajectory is not None:
                return trajectory
        plan = self._plan(task, dt)
        if task.extra is not None and task.extra.state is not None:
            task, plan = self._since(task, plan, dt, task.extra.elapsed, task.extra.state)
        mesh = plan.mesh(task, dt, self)
        values = self._values(task, plan, mesh, dt)
        reached = plan.state <= plan.count[:, None]
        broken = plan.is_wanted & reached & ~values.detach().isfinite().all(-1)
        counts, ceased = plan.count.expand(len(values)), broken.any(-1)
        if bool((broken | (plan.is_wanted & ~reached)).any()):
            counts = self._finite_steps(task, plan, mesh, dt)
            ceased = ceased | (counts < plan.count)
            plan = plan.without(broken | (plan.state > counts[:, None]))
            if values.requires_grad and bool(ceased.any()):
                # A gradient would not be finite if the graph led through what is not.
                mesh = plan.mesh(task, dt, self)
                values = self._values(task, plan, mesh, dt)
        trajectory = self._report(task, plan, dt, values, counts, ceased)
        return trajectory if mesh.landings is None else replace(trajectory, jumps=mesh.landings.jumps())

    def _by_detours(self, task: Task, dt: float) -> Trajectory | None:
        """Along one mesh for all paths, of which those that jump leave it in single steps; None where that is no use.

        Nor where a path does not arrive, whose steps must be counted.
        """
        elapsed, batch = task.elapsed[:1], len(task.u0)
        # On another device steps of few paths cost as much as those of all.
        if self.has_own_march or task.u0.device.type != "cpu" or not bool((task.elapsed == elapsed).all()):
            return None
        plan = Plan.make(elapsed / dt, aside=False, max_steps=task.max_steps)
        assert task.clockwork is not None
        detours = Detours(task.clockwork, plan.points[0], dt)
        counts = plan.count + detours.n_parts
        arrives = int(counts.max()) <= task.max_steps and bool((plan.state <= plan.count).all())
        if not arrives or not detours.pays(int(plan.count), task.u0.numel()):
            return None
        noise = task.noise
        source = None if noise is None else Source.of_steps(noise, task.start, dt, self, task.u0.dtype)
        detours.prepare(task.start, dt, source, task.u0.dtype)
        mesh = replace(plan.mesh(replace(task, clockwork=None), dt, self), landings=detours)
        values = self._values(task, plan, mesh, dt)
        if not bool(values.detach().isfinite().all(-1).logical_or(~plan.is_wanted).all()):
            return None
        trajectory = self._report(task, plan, dt, values, plan.count.expand(batch), torch.zeros_like(counts).bool())
        stats = replace(
            trajectory.stats, steps=counts, smallest_step=trajectory.stats.smallest_step.minimum(dt * detours.shortest)
        )
        return replace(trajectory, stats=stats, jumps=detours.jumps())

    def _since(self, task: Task, plan: Plan, dt: float, elapsed: Tensor, state: Tensor) -> tuple[Task, Plan]:
        """Begin with the jump that paths have more than others, whose states there and whose noise are known."""
        assert task.extra is not None
        assert task.clockwork is not None
        if task.aside or (task.noise is not None and (task.drawn is None or not task.drawn.knows(plan.points))):
            return task, plan
        rows = elapsed[:, 0].isfinite().nonzero()[:, 0]
        first = torch.zeros_like(plan.count)
        first[rows] = torch.searchsorted(plan.points, snapped(elapsed / dt))[rows, 0]
        part, u = task.equation.select(rows), state[rows]
        now = part.at((task.start + task.direction * elapsed)[rows], u.dtype)
        events = Events.of_all(len(rows), task.extra.channel, rows.device)
        after = task.clockwork.apply(part, now, u, rows, events)
        return replace(task, u0=task.u0.index_copy(0, rows, after)), plan.since(first)

    def _plan(self, task: Task, dt: float) -> Plan:
        if task.clockwork is None:
            return Plan.make(task.elapsed / dt, aside=task.aside, max_steps=task.max_steps)
        stops = task.clockwork.candidates.elapsed / dt
        elapsed = task.elapsed.expand(len(stops), -1)
        return Plan.make(elapsed / dt, aside=task.aside, max_steps=task.max_steps, stops=stops)

    def _values(self, task: Task, plan: Plan, mesh: Mesh, dt: float) -> Tensor:
        """States at the times wanted, (batch, n_times, dim)."""
        state = plan.state.minimum(plan.count[:, None])
        batch, n_times = len(task.u0), state.shape[1]
        if mesh.order is None:
            wanted: Wanted = Everywhere(state[0].tolist())
        else:
            path = torch.arange(batch, device=state.device).repeat_interleave(n_times)
            wanted = OnePerRow(state.flatten(), path, mesh)
        if mesh.landings is not None and task.gradient != "direct":
            # Which candidates are jumps is settled before anything is differentiated.
            with torch.no_grad():
                replay(self, task.equation, task.u0, mesh, wanted)
            mesh.landings.is_decided = True
        values = replay(self, task.equation, task.u0, mesh, wanted, gradient=task.gradient)
        values = values.view(batch, n_times, -1)
        return self._step_aside(task, plan, dt, values) if task.aside else values

    def _step_aside(self, task: Task, plan: Plan, dt: float, values: Tensor) -> Tensor:
        """From the state at the mesh point before each time to the state at that time, in one step of all together."""
        path, save = plan.rest.expand(len(task.u0), -1).nonzero(as_tuple=True)
        if len(path) == 0:
            return values
        shared = torch.zeros_like(path)
        row, planned = (shared if task.is_shared else path), (shared if len(plan.count) == 1 else path)
        direction, begin, rest = task.direction[row], plan.state[planned, save], plan.rest[planned, save]
        begin = plan.points[planned, begin]
        t = task.start[row] + direction * dt * begin[:, None]
        h = direction * dt * rest[:, None]
        dtype, increments = values.dtype, None
        if task.noise is not None:
            source = Source.of_steps(task.noise, task.start, dt, self, dtype)
            increments = source.over(path, begin, begin + rest)
        step = self.step(task.equation.select(path), t, h.to(dtype), values[path, save], increments, None)
        return values.index_put((path, save), step.u1)

    def _report(self, task: Task, plan: Plan, dt: float, values: Tensor, counts: Tensor, ceased: Tensor) -> Trajectory:
        """Tell what went wrong, and leave NaN from there on.

        ``counts`` are the steps of each path, and ``ceased`` the paths that are not finite to the end.
        """
        failed = plan.is_wanted & (plan.state > plan.count[:, None])
        status = torch.where(failed.any(-1), int(Status.MAX_STEPS), int(Status.SUCCESS))
        status = torch.where(ceased, int(Status.NON_FINITE), status)
        hidden = failed.long().cummax(-1).values.bool() | ~plan.is_wanted
        if bool(hidden.any()):
            values = torch.where(hidden[..., None], torch.nan, values)
        points = plan.points.expand(len(values), -1)
        last = torch.where(plan.is_wanted, task.elapsed, 0.0).amax(-1)
        elapsed = torch.where(status == Status.SUCCESS, last, dt * points.gather(1, counts[:, None])[:, 0])
        gaps = points.diff(dim=-1).nan_to_num(nan=torch.inf)
        counter = task.equation.counter
        smallest = dt * gaps.amin(-1) if gaps.shape[1] else torch.full_like(elapsed, torch.inf)
        stats = Stats(counts, torch.zeros_like(counts), smallest, counter.drift, counter.diffusion)
        return Trajectory(values, status, task.start[:, 0] + task.direction[:, 0] * elapsed, stats)

    @torch.no_grad()
    def _finite_steps(self, task: Task, plan: Plan, mesh: Mesh, dt: float) -> Tensor:
        """Walk once more to count each path's steps before it ceases to be finite."""
        good = plan.count.repeat(len(task.u0) // len(plan.count))
        paths = mesh.sorted(torch.arange(len(good), device=good.device))
        for k, _, step in self.march(task.equation, mesh.sorted(task.u0), mesh, 0, len(mesh), None):
            broken = paths[: len(step.u1)][~step.u1.isfinite().all(-1)]
            good[broken] = good[broken].clamp_max(k)
        return good


@dataclass(frozen=True)
class Plan:
    """Which steps to make and where to find the times wanted; lengths are counted in cells.

    Attributes
    ----------
    points : float64 Tensor of shape (rows, n_points)
        Mesh points, padded with infinity; one row per path, or one for all.
    count : int64 Tensor of shape (rows,)
        Steps to make.
    state : int64 Tensor of shape (rows, n_times)
        The mesh point at each time, or before it.
    rest : float64 Tensor of shape (rows, n_times)
        From there to the time; 0 where the time is never reached.
    is_wanted : bool Tensor of shape (rows, n_times)
        False where the times only pad.
    first : int64 Tensor of shape (rows,) or None
        How many steps at the start of each path are left out.
    """

    points: Tensor
    count: Tensor
    state: Tensor
    rest: Tensor
    is_wanted: Tensor
    first: Tensor | None = None

    @classmethod
    def make(cls, position: Tensor, *, aside: bool, max_steps: int, stops: Tensor | None = None) -> Plan:
        """From the times wanted, (rows, n_times), and more times to stop at, (rows, n), in cells from the start."""
        is_wanted = position.isfinite()
        position = snapped(torch.where(is_wanted, position, 0.0))
        whole = position.floor()
        last = whole.amax(-1, keepdim=True)
        cells = torch.arange(min(int(last.max()), max_steps) + 1, dtype=torch.float64, device=position.device)
        points = torch.where(cells <= last, cells, torch.inf)
        # Times on the boundaries of cells are among the points already.
        cuts = [] if aside or bool((position == whole).all()) else [position]
        if stops is not None:
            cuts.append(snapped(stops))
        if cuts:
            points = distinct(torch.cat([points, *cuts], 1))
        state = torch.searchsorted(points, position, right=True) - 1
        rest = position - points.gather(1, state)
        # What lies further from the last point was left out because of max_steps.
        state = torch.where((rest >= 1.0) | (state > max_steps), max_steps + 1, state)
        rest = torch.where(state > max_steps, 0.0, rest)
        count = (points.isfinite().sum(-1) - 1).clamp_max(max_steps)
        return cls(points[:, : int(count.max()) + 1].contiguous(), count, state, rest, is_wanted)

    def without(self, lost: Tensor) -> Plan:
        """Without what is lost, ``(batch, n_times)``, and the steps that lead to nothing else."""
        batch = len(lost)
        is_wanted = self.is_wanted.expand(batch, -1)
        count = torch.where(is_wanted & ~lost, self.state, 0).amax(-1)
        state = torch.where(lost, torch.maximum(self.state, count[:, None] + 1), self.state)
        rest = self.rest.expand(batch, -1).masked_fill(lost, 0.0)
        return Plan(self.points.expand(batch, -1), count, state, rest, is_wanted, self.first)

    def since(self, first: Tensor) -> Plan:
        """Without the steps before the points ``first (batch,)``, where all that was wanted before is told."""
        count = self.count - first
        index = first[:, None] + torch.arange(int(count.max()) + 1, device=first.device)
        points = self.points.gather(1, index.clamp_max(self.points.shape[1] - 1))
        points = torch.where(index < self.points.shape[1], points, torch.inf)
        state = (self.state - first[:, None]).clamp_min(0)
        return Plan(points.contiguous(), count, state, self.rest, self.is_wanted, first)

    def mesh(self, task: Task, dt: float, solver: Solver) -> Mesh:
        """The steps in units of time, with their noise."""
        step = task.direction * dt
        t, h = task.start + step * self.points[:, :-1], step * self.points.diff(dim=-1)
        batch, dtype = len(task.u0), task.u0.dtype
        shared = len(self.count) == 1 and task.clockwork is None
        mesh = Mesh.shared(t[0], h[0], batch) if shared and task.is_shared else Mesh.ragged(t, h, self.count, dtype)
        if task.clockwork is not None:
            mesh = replace(mesh, landings=self._landings(task.clockwork, dt, mesh))
        if task.noise is None:
            return mesh
        if self.first is not None and task.drawn is not None:
            return replace(mesh, noise=known(task.drawn.since(self.first, mesh.order, len(mesh)), mesh))
        source = Source.of_steps(task.noise, task.start, dt, solver, dtype)
        return replace(mesh, noise=source.along(self.points, mesh, task.drawn))

    def _landings(self, clockwork: Clockwork, dt: float, mesh: Mesh) -> Landings:
        """The candidates for jumps that the steps reach."""
        candidates = clockwork.candidates
        step = torch.searchsorted(self.points, snapped(candidates.elapsed / dt)) - 1
        path, place = (candidates.elapsed.isfinite() & (step >= 0) & (step < self.count[:, None])).nonzero(
            as_tuple=True
        )
        columns = candidates.channel, candidates.number, candidates.elapsed
        channel, number, elapsed = (column[path, place] for column in columns)
        assert mesh.order is not None  # paths that jump have meshes of their own
        order = mesh.order
        return Landings(clockwork, path, step[path, place], channel, number, elapsed, order, certain=False)
