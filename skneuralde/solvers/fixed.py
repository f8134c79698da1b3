"""Fixed-step methods: a mesh of cells of length dt, known before the first step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.noise import Brownian
from skneuralde.solvers.base import Increments, Stats, Status, Stepper, Task, Trajectory
from skneuralde.solvers.equation import Equation
from skneuralde.solvers.march import Mesh, Record, march

#: A time this close to the boundary of a cell, in cells, lies on it.
SNAP = 1e-6
#: Normal numbers drawn at once.
_BLOCK = 2**22


class FixedStepper(Stepper):
    """A method whose step is given by dt.

    Times wanted are stepped on exactly: either the path itself stops there, or (``aside``) it keeps to whole cells and
    every time is reached by one shorter step from the mesh point before it. Nothing is ever interpolated.
    """

    def solve(self, task: Task) -> Trajectory:
        """Step along the mesh, keep the states at the times wanted."""
        dt = task.dt
        assert dt is not None
        plan = Plan.make(task.elapsed / dt, aside=task.aside, max_steps=task.max_steps)
        mesh = plan.mesh(task, dt)
        state = plan.state.minimum(plan.count[:, None])
        wanted = set(state.unique().tolist())
        record = Record(mesh, len(task.u0))
        record.keep(0, task.u0 if mesh.order is None else task.u0[mesh.order])
        for k, u in enumerate(self._walk(task, plan, mesh, dt), 1):
            if k in wanted:
                record.keep(k, u)
        values = record.pick(state)
        if task.aside:
            values = self._step_aside(task, plan, dt, values)
        return self._report(task, plan, mesh, dt, values)

    def _walk(self, task: Task, plan: Plan, mesh: Mesh, dt: float) -> Iterator[Tensor]:
        """State after each step of the mesh, always the same."""
        noise = None if task.noise is None else plan.increments(task, task.noise, dt, mesh, self.levy_area)
        return self.states(task.equation, task.u0, mesh, noise)

    def states(
        self, equation: Equation, u0: Tensor, mesh: Mesh, noise: Iterator[Increments] | None
    ) -> Iterator[Tensor]:
        """State after each step of a mesh, for the paths that make it."""
        return (step.u1 for _, step in march(self, equation, u0, mesh, noise))

    def _step_aside(self, task: Task, plan: Plan, dt: float, values: Tensor) -> Tensor:
        """From the state at the mesh point before each time to the state at that time, in one step of all together."""
        path, save = plan.rest.expand(len(task.u0), -1).nonzero(as_tuple=True)
        if len(path) == 0:
            return values
        row = torch.zeros_like(path) if task.is_shared else path
        direction = task.direction[row]
        t = task.start[row] + direction * dt * plan.state[row, save, None]
        h = direction * dt * plan.rest[row, save, None]
        dtype, increments = values.dtype, None
        if task.noise is not None:
            noise, times = task.noise.select(path), (t[:, 0], (t + h)[:, 0])
            area = None if self.levy_area is None else noise.area(*times).to(dtype)
            increments = Increments(noise.increment(*times).to(dtype), area)
        step = self.step(task.equation.select(path), t, h.to(dtype), values[path, save], increments, None)
        return values.index_put((path, save), step.u1)

    def _report(self, task: Task, plan: Plan, mesh: Mesh, dt: float, values: Tensor) -> Trajectory:
        """Tell from the values what went wrong, and leave NaN from there on."""
        counts = plan.count.expand(len(values))
        missed = plan.is_wanted & (plan.state > plan.count[:, None])
        failed = missed | (plan.is_wanted & ~values.detach().isfinite().all(-1))
        status = torch.zeros_like(counts)
        if bool(failed.any()):
            status = torch.where((failed & ~missed).any(-1), int(Status.NON_FINITE), int(Status.MAX_STEPS))
            status = torch.where(failed.any(-1), status, int(Status.SUCCESS))
            counts = self._finite_steps(task, plan, mesh, dt)
            failed = failed | (plan.state > counts[:, None])
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
        paths = torch.arange(len(good), device=good.device) if mesh.order is None else mesh.order
        for k, u in enumerate(self._walk(task, plan, mesh, dt)):
            broken = paths[: len(u)][~u.isfinite().all(-1)]
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
    """

    points: Tensor
    count: Tensor
    state: Tensor
    rest: Tensor
    is_wanted: Tensor

    @classmethod
    def make(cls, position: Tensor, *, aside: bool, max_steps: int) -> Plan:
        """From the times wanted, (rows, n_times), in cells from the start."""
        is_wanted = position.isfinite()
        position = torch.where(is_wanted, position, 0.0)
        nearest = position.round()
        position = torch.where((position - nearest).abs() <= SNAP, nearest, position)
        whole = position.floor()
        last = whole.amax(-1, keepdim=True)
        cells = torch.arange(min(int(last.max()), max_steps) + 1, dtype=torch.float64, device=position.device)
        points = torch.where(cells <= last, cells, torch.inf)
        if aside:
            state = whole.clamp_max(max_steps + 1).long()
            rest = torch.where(state <= max_steps, position - whole, 0.0)
        else:
            cuts = torch.where(position > whole, position, torch.inf)
            cuts[:, 1:].masked_fill_(cuts[:, 1:] == cuts[:, :-1], torch.inf)
            points = torch.cat([points, cuts], 1).sort(-1).values
            state = torch.searchsorted(points, position)
            rest = torch.zeros_like(position)
        count = (points.isfinite().sum(-1) - 1).clamp_max(max_steps)
        return cls(points[:, : int(count.max()) + 1], count, state, rest, is_wanted)

    def mesh(self, task: Task, dt: float) -> Mesh:
        """The steps in units of time."""
        step = task.direction * dt
        t, h = task.start + step * self.points[:, :-1], step * self.points.diff(dim=-1)
        if task.is_shared:
            return Mesh.shared(t[0], h[0], len(task.u0))
        return Mesh.ragged(t, h, self.count, task.u0.dtype)

    def increments(
        self, task: Task, noise: Brownian, dt: float, mesh: Mesh, levy_area: str | None
    ) -> Iterator[Increments]:
        """Noise of each step for the paths that make it, drawn for many steps at once."""
        block = max(1, _BLOCK // (len(noise.path) * noise.dim))
        level = _level(noise, task.start, dt)
        dtype, order = task.u0.dtype, slice(None) if mesh.order is None else mesh.order
        for first in range(0, len(mesh.active), block):
            points = self.points[:, first : first + block + 1]
            drawn = _draw(noise, task.start, points, dt, level).to(dtype)[order].unbind(1)
            areas: Sequence[Tensor | None] = [None] * len(drawn)
            if levy_area is not None:
                areas = _draw_areas(noise, task.start, points, dt).to(dtype)[order].unbind(1)
            for active, w, area in zip(mesh.active[first : first + block], drawn, areas, strict=True):
                yield Increments(w[:active], None if area is None else area[:active])


def _level(noise: Brownian, start: Tensor, dt: float) -> int | None:
    """How often the noise's cells are halved to give the mesh's, or None where they do not fit together."""
    level = round(math.log2(noise.cell / dt))
    fits = level >= 0 and abs(noise.cell / dt - 2.0**level) < 1e-9 * 2.0**level
    return level if fits and bool((noise.origin[:, None] == start).all()) else None


def _draw(noise: Brownian, start: Tensor, points: Tensor, dt: float, level: int | None) -> Tensor:
    """Increments (batch, n_steps, m) between mesh points (rows, n_steps + 1): whole cells at once, parts one by one."""
    begin, end = points[:, :-1], points[:, 1:]
    real = end.isfinite()
    if level is None:
        is_cell = torch.zeros_like(real)
        drawn = start.new_zeros(len(noise.path), begin.shape[1], noise.dim)
    else:
        is_cell = (begin == begin.floor()) & (end - begin == 1.0)
        first, last = int(begin[:, 0].min()), int(torch.where(real, end, 0.0).max().ceil())
        drawn = noise.cells(first, max(last, first + 1), level)
        if bool(is_cell.all()) and len(points) == 1:
            return drawn
        index = (torch.where(real, begin.floor(), 0.0).long() - first).clamp_min(0)
        drawn = drawn.take_along_dim(index[:, :, None], 1)
    path, column = (real & ~is_cell).expand(len(noise.path), -1).nonzero(as_tuple=True)
    if len(path):
        row = path if len(points) > 1 else torch.zeros_like(path)
        t0, t1 = start[row % len(start), 0] + dt * torch.stack([begin[row, column], end[row, column]])
        drawn[path, column] = noise.select(path).increment(t0, t1)
    return drawn


def _draw_areas(noise: Brownian, start: Tensor, points: Tensor, dt: float) -> Tensor:
    """Space-time Levy areas (batch, n_steps, m) between mesh points (rows, n_steps + 1)."""
    batch, n_steps = len(noise.path), points.shape[1] - 1
    begin, end = ((start + dt * side).expand(batch, -1).flatten() for side in (points[:, :-1], points[:, 1:]))
    path = torch.arange(batch, device=points.device).repeat_interleave(n_steps)
    drawn = noise.select(path).area(begin, torch.where(end.isfinite(), end, begin))
    return drawn.unflatten(0, (batch, n_steps))
