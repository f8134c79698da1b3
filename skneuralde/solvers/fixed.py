"""Fixed-step methods: a mesh of cells of length dt, known before the first step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.noise import Brownian
from skneuralde.solvers.base import Stats, Status, Stepper, Task, Trajectory
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
        dt = task.dt
        assert dt is not None
        plan = Plan.make(task.elapsed / dt, aside=task.aside, max_steps=task.max_steps)
        mesh = plan.mesh(task, dt)
        state = plan.state.minimum(plan.count[:, None])
        record = Record(mesh, len(task.u0))
        wanted = set(state.unique().tolist())
        record.keep(0, task.u0 if mesh.order is None else task.u0[mesh.order])
        noise = None if task.noise is None else plan.increments(task, task.noise, dt, mesh)
        for k, (_, step) in enumerate(march(self, task.equation, task.u0, mesh, noise), 1):
            if k in wanted:
                record.keep(k, step.u1)
        values = record.pick(state)
        if task.aside:
            values = self._step_aside(task, plan, dt, values)
        return plan.report(task, dt, values)

    def _step_aside(self, task: Task, plan: Plan, dt: float, values: Tensor) -> Tensor:
        """From the state at the mesh point before each time to the state at that time, in one step of all together."""
        path, save = plan.rest.expand(len(task.u0), -1).nonzero(as_tuple=True)
        if len(path) == 0:
            return values
        row = torch.zeros_like(path) if task.is_shared else path
        direction = task.direction[row]
        t = task.start[row] + direction * dt * plan.state[row, save, None]
        h = direction * dt * plan.rest[row, save, None]
        dtype, dw = values.dtype, None
        if task.noise is not None:
            dw = task.noise.select(path).increment(t[:, 0], (t + h)[:, 0]).to(dtype)
        step = self.step(task.equation.select(path), t, h.to(dtype), values[path, save], dw, None)
        return values.index_put((path, save), step.u1)


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

    def increments(self, task: Task, noise: Brownian, dt: float, mesh: Mesh) -> Iterator[Tensor]:
        """Increments of the Brownian motion over each step, (active paths, m), drawn for many steps at once."""
        n_steps = len(mesh.active)
        block = max(1, _BLOCK // (len(noise.path) * noise.dim))
        level = _level(noise, task.start, dt)
        for first in range(0, n_steps, block):
            points = self.points[:, first : first + block + 1]
            drawn = _draw(noise, task.start, points, dt, level).to(task.u0.dtype)
            if mesh.order is not None:
                drawn = drawn[mesh.order]
            for active, dw in zip(mesh.active[first : first + block], drawn.unbind(1), strict=True):
                yield dw[:active]

    def report(self, task: Task, dt: float, values: Tensor) -> Trajectory:
        """The answer: statuses from the values, and NaN from a path's first failure on."""
        batch = len(values)
        missed = (self.state > self.count[:, None]) & self.is_wanted
        broken = ~values.detach().isfinite().all(-1) & self.is_wanted & ~missed
        status = torch.where(missed.any(-1), int(Status.MAX_STEPS), int(Status.SUCCESS))
        status = torch.where(broken.any(-1), int(Status.NON_FINITE), status)
        failed = (broken | missed).long().cummax(-1).values.bool()
        hidden = failed | ~self.is_wanted
        if bool(hidden.any()):
            values = torch.where(hidden[..., None], torch.nan, values)
        last = torch.where(hidden, 0.0, task.elapsed).amax(-1)
        gaps = torch.where(self.points.isfinite(), self.points, torch.inf).diff(dim=-1)
        counts = self.count.expand(batch)
        smallest = (dt * gaps.nan_to_num(nan=torch.inf).amin(-1) if gaps.shape[1] else last + torch.inf).expand(batch)
        counter = task.equation.counter
        stats = Stats(counts, torch.zeros_like(counts), smallest, counter.drift, counter.diffusion)
        return Trajectory(values, status, task.start[:, 0] + task.direction[:, 0] * last, stats)


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
