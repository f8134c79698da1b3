"""A batch of initial value problems, ready to be solved."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

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
class Task:
    """A batch of initial value problems, as a driver sees it.

    Attributes
    ----------
    rhs : RightHandSide
    u0 : Tensor of shape (batch, dim)
    start, direction : float64 Tensor of shape (batch, 1), or (1, 1) where all paths share their times
        Initial time of each path, and 1 for paths that go forwards or -1 for those that go backwards.
    elapsed : float64 Tensor of shape (batch, n_times) or (1, n_times)
        Save times, counted from the start, non-decreasing from 0; infinite where they only pad.
    noise : Brownian or None
    rtol : float or None
        None makes adaptive methods, too, take steps of length dt.
    atol : Tensor of shape () or (dim,)
    dt : float or None
        Step of a fixed-step method, first step of an adaptive one.
    max_steps : int
        Bound on the steps of one path, rejected ones included.
    side_steps : bool
        Whether save times are reached by side steps from a mesh that does not depend on them.
    gradient : str
        Gradient mode, see `skneuralde.solvers.gradients.replay`.
    controller : Controller or None
        Replaces the controller of an adaptive method.
    jump_schedule : JumpSchedule or None
    hazards : Hazards or None
        Layout of the augmented states, for jumps whose rates have no bound.
    increment_cache : IncrementCache or None
        Keeps the noise of fixed steps.
    extra_jump : ExtraJump or None
        The jump that these paths have in addition to those whose noise was cached.
    """

    rhs: RightHandSide
    u0: Tensor
    start: Tensor
    direction: Tensor
    elapsed: Tensor
    noise: Brownian | None
    rtol: float | None
    atol: Tensor
    dt: float | None
    max_steps: int
    side_steps: bool
    gradient: str
    controller: Controller | None = None
    jump_schedule: JumpSchedule | None = None
    hazards: Hazards | None = None
    increment_cache: IncrementCache | None = None
    extra_jump: ExtraJump | None = None

    @property
    def is_shared(self) -> bool:
        """Whether all paths have the same times."""
        return len(self.start) == 1


class BatchSolver(Solver):
    """A method that solves a whole batch by itself, as those of other packages do."""

    @abstractmethod
    def solve(self, task: Task) -> Trajectory:
        """Solve; failures are reported by the status of each path, never raised."""
