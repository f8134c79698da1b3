"""A batch of initial value problems, ready to be solved."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from skneuralde.noise import Brownian
from skneuralde.solvers.core.controllers import Controller
from skneuralde.solvers.core.results import Trajectory
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Solver
from skneuralde.solvers.jumps.hazards import Hazards
from skneuralde.solvers.jumps.schedule import ExtraJump, JumpSchedule
from skneuralde.solvers.mesh.increment_cache import IncrementCache


@dataclass(frozen=True)
class Resumption:
    """Place at which paths go on that another method has brought there; every tensor has one row per path."""

    elapsed: Tensor  #: float64 (batch, 1), time since the start
    proposal: Tensor  #: float64 (batch, 1), first step to try
    hazards: Tensor  #: (batch, width), hazards and counts behind the states


@dataclass(frozen=True)
class Task:
    """A batch of initial value problems, as a driver sees it.

    Start, direction and elapsed times have one row per path, or a single row if all paths have the same times.
    """

    rhs: RightHandSide
    u0: Tensor  #: (batch, dim)
    start: Tensor  #: float64 (batch or 1, 1), initial times
    direction: Tensor  #: float64 (batch or 1, 1), 1 for paths that go forwards and -1 for those that go backwards
    elapsed: Tensor  #: float64 (batch or 1, n_times), save times since the start, non-decreasing, padded with infinity
    noise: Brownian | None
    rtol: float | None  #: None makes adaptive methods, too, take steps of length dt
    atol: Tensor  #: () or (dim,)
    dt: float | None  #: step of a fixed-step method, first step of an adaptive one
    max_step: float | None  #: bound on the steps of adaptive methods
    stops: Tensor | None  #: float64 (batch or 1, n), times since the start on which steps end, padded with infinity
    max_steps: int  #: bound on the steps of one path, rejected ones included
    side_steps: bool  #: whether save times are reached by side steps from a mesh that does not depend on them
    gradient: str  #: gradient mode, see `skneuralde.solvers.gradients.replay`
    controller: Controller | None = None  #: replaces the controller of an adaptive method
    jump_schedule: JumpSchedule | None = None
    hazards: Hazards | None = None  #: structure of the augmented states, for jumps whose rates have no bound
    increment_cache: IncrementCache | None = None  #: keeps the noise of fixed steps
    extra_jump: ExtraJump | None = None  #: the jump of these paths in addition to those whose noise was cached
    resumption: Resumption | None = None  #: where paths go on, in states ``u0``; None for their start

    @property
    def is_shared(self) -> bool:
        """Whether all paths have the same times."""
        return len(self.start) == 1

    def resumed(self, rows: Tensor, u: Tensor, resumption: Resumption) -> Task:
        """The rest of some paths of an equation without noise, from states ``u``."""
        schedule = self.jump_schedule
        return replace(
            self,
            rhs=self.rhs.select(rows),
            u0=u,
            start=_rows(self.start, rows),
            direction=_rows(self.direction, rows),
            elapsed=_rows(self.elapsed, rows),
            jump_schedule=None if schedule is None else schedule.select(rows),
            stops=None if self.stops is None else _rows(self.stops, rows),
            resumption=resumption,
        )

    @cached_property
    def step_ends(self) -> Tensor | None:
        """Times since the start on which steps end besides save times: stops and candidates of jumps; or None.

        (batch, n) or (1, n), in order and padded with infinity.
        """
        known = [] if self.stops is None else [self.stops]
        if self.jump_schedule is not None:
            known.append(self.jump_schedule.candidates.elapsed)
        if not known:
            return None
        rows = max(map(len, known))
        every = torch.cat([times.expand(rows, -1) for times in known], 1).sort(1).values
        return torch.cat([every, every.new_full((rows, 1), torch.inf)], 1)


class BatchSolver(Solver):
    """A method that solves a whole batch by itself, as those of other packages do."""

    @abstractmethod
    def solve(self, task: Task) -> Trajectory:
        """Solve; failures are reported by the status of each path, never raised."""


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """Rows of a tensor that has one per path, or a single one for all."""
    return x if len(x) == 1 else x[rows]
