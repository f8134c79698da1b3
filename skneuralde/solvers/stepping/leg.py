"""Legs: parts of solutions, each by one method."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skneuralde.solvers.core.jump_record import JumpRecord
from skneuralde.solvers.core.loop_state import STOPPED, PathState
from skneuralde.solvers.core.results import Stats, Status, Trajectory
from skneuralde.solvers.stepping.task import Task


@dataclass(frozen=True)
class Leg:
    """The part of the solutions of some paths that one method made.

    A solution is put together from legs in their order; a path goes on in the leg after the one that stopped it.
    """

    method: str
    rows: Tensor | None  #: int64 (n,), positions in the whole batch; None for all paths
    paths: PathState  #: at the end of the leg
    status: Tensor  #: int64 (n,), of paths and their side steps
    is_stiff: Tensor | None  #: bool (n,), whether stiffness made a path fail; None if none failed
    path: Tensor  #: int64, row of each save time that was reached
    save: Tensor  #: int64, its position among the save times
    states: Tensor  #: the states there
    ends: Tensor  #: (number of stopped paths, dim), states at which stopped paths go on, differentiable
    jumps: JumpRecord | None

    def without(self, dropped: Tensor) -> Leg:
        """The leg where the paths ``dropped (n,)`` have been left as they came; their steps are rejections."""
        if len(dropped) == 0:
            return self
        paths, left = self.paths, torch.zeros_like(self.status, dtype=torch.bool).index_fill(0, dropped, True)
        rows, kept = left[:, None], ~left[self.path]
        paths = replace(
            paths,
            steps=paths.steps.masked_fill(rows, 0),
            rejections=paths.rejections + torch.where(rows, paths.steps, 0),
            status=paths.status.masked_fill(rows, STOPPED),
        )
        return replace(
            self,
            paths=paths,
            status=self.status.masked_fill(left, STOPPED),
            is_stiff=None if self.is_stiff is None else self.is_stiff & ~left,
            path=self.path[kept],
            save=self.save[kept],
            states=self.states[kept],
            jumps=None if self.jumps is None else self.jumps.where(~left[self.jumps.path]),
        )


def assembled(task: Task, legs: list[Leg], methods: tuple[str, ...] = ()) -> Trajectory:
    """The solutions of a task from their legs; the steps of ``methods`` are also counted apart."""
    batch = len(task.u0)
    values = torch.where((task.elapsed <= 0.0)[..., None], task.u0[:, None], torch.nan)
    everything = torch.arange(batch, device=values.device)
    steps, rejections, status = torch.zeros(3, batch, dtype=torch.int64, device=values.device)
    by_method = {method: torch.zeros_like(steps) for method in methods}
    smallest, reached = torch.full((2, batch), torch.inf, dtype=torch.float64, device=values.device)
    is_stiff = None
    jumps = None if task.jump_schedule is None else JumpRecord.empty(values.device)
    for leg in legs:
        rows, paths = everything if leg.rows is None else leg.rows, leg.paths
        values = values.index_put((rows[leg.path], leg.save), leg.states)
        steps[rows] += paths.steps[:, 0]
        if methods:
            by_method[leg.method][rows] += paths.steps[:, 0]
        rejections[rows] += paths.rejections[:, 0]
        smallest[rows] = torch.minimum(smallest[rows], (paths.unit.abs() * paths.smallest)[:, 0])
        # A side step of an earlier leg may have failed.
        status[rows] = torch.maximum(status[rows], leg.status)
        elapsed = torch.where(leg.status[:, None] == Status.SUCCESS, paths.end, paths.elapsed)
        reached[rows] = torch.where(leg.status == STOPPED, reached[rows], paths.time(elapsed)[:, 0])
        at_once = (leg.status == Status.INVALID_RATE) & (paths.elapsed[:, 0] == 0.0)
        if bool(at_once.any()):
            values = values.index_fill(0, rows[at_once], torch.nan)
        if leg.is_stiff is not None:
            is_stiff = torch.zeros_like(status, dtype=torch.bool) if is_stiff is None else is_stiff
            is_stiff[rows] = leg.is_stiff
        if jumps is not None and leg.jumps is not None:
            jumps = jumps.followed_by(leg.jumps._replace(path=rows[leg.jumps.path]))
    counter = task.rhs.counter
    stats = Stats(steps, rejections, smallest, counter.drift, counter.diffusion, by_method)
    rates = None if task.jump_schedule is None else task.jump_schedule.rates
    return Trajectory(values, status, reached, stats, jumps, rates, is_stiff=is_stiff)
