"""What a solver is, what it is asked, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.noise import Brownian, Increments
from skneuralde.solvers.core.jump_record import JumpRecord
from skneuralde.solvers.core.right_hand_side import ProblemLike, RightHandSide
from skneuralde.solvers.jumps.hazards import Hazards
from skneuralde.solvers.jumps.schedule import ExtraJump, JumpSchedule
from skneuralde.solvers.mesh.increment_cache import IncrementCache


class Status(IntEnum):
    """How the solution of one path ended."""

    SUCCESS = 0
    MAX_STEPS = 1
    STEP_TOO_SMALL = 2
    NON_FINITE = 3


@dataclass(frozen=True)
class Stats:
    """What a solution cost.

    Attributes
    ----------
    steps, rejections : int64 Tensor of shape (batch,)
        Accepted and rejected steps of each path.
    smallest_step : float64 Tensor of shape (batch,)
        The smallest step tried, in units of time; infinite where no step was needed.
    drift_evaluations, diffusion_evaluations : int
        Evaluations of each coefficient, summed over the paths.
    """

    steps: Tensor
    rejections: Tensor
    smallest_step: Tensor
    drift_evaluations: int
    diffusion_evaluations: int


@dataclass(frozen=True)
class Trajectory:
    """Solutions of a batch of initial value problems.

    Attributes
    ----------
    values : Tensor of shape (batch, n_times, dim)
        NaN where the times are NaN and after a failure.
    status : int64 Tensor of shape (batch,)
        A `Status` per path.
    reached : float64 Tensor of shape (batch,)
        Where a failed path stopped; the last time of the others.
    stats : Stats
    jumps : JumpRecord or None
        None in an equation without jumps.
    """

    values: Tensor
    status: Tensor
    reached: Tensor
    stats: Stats
    jumps: JumpRecord | None = None


@dataclass(frozen=True)
class Task:
    """A batch of initial value problems, as a solver sees it.

    Attributes
    ----------
    equation : RightHandSide
    u0 : Tensor of shape (batch, dim)
    start, direction : float64 Tensor of shape (batch, 1), or (1, 1) where all paths share their times
        Where each path starts, and whether it goes forwards (1) or backwards (-1).
    elapsed : float64 Tensor of shape (batch, n_times) or (1, n_times)
        Time from the start to each time wanted, non-decreasing from 0; infinite where nothing is wanted.
    noise : Brownian or None
    rtol : float or None
        None asks adaptive methods, too, for steps of size dt.
    atol : Tensor of shape () or (dim,)
    dt : float or None
        Step of a fixed-step method, first step of an adaptive one.
    max_steps : int
        Bound on the steps of one path, rejected ones included.
    aside : bool
        Whether times are reached by side steps from a mesh that does not depend on them.
    gradient : str
        How the solution is differentiated, see `skneuralde.solvers.gradients.replay`.
    clockwork : JumpSchedule or None
        The jumps.
    hazards : Hazards or None
        What paths carry for jumps whose rates have no bound.
    drawn : IncrementCache or None
        Where fixed steps keep their noise.
    extra : ExtraJump or None
        The jump that these paths have more than those whose noise was kept.
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
    aside: bool
    gradient: str
    clockwork: JumpSchedule | None = None
    hazards: Hazards | None = None
    drawn: IncrementCache | None = None
    extra: ExtraJump | None = None

    @property
    def is_shared(self) -> bool:
        """Whether all paths have the same times."""
        return len(self.start) == 1


class Solver(ABC):
    """A numerical method. Its facts are class attributes, read by the checks, the tests and the documentation.

    Attributes
    ----------
    name : str
    calculus : tuple of str
        The readings of the stochastic integral that it solves: "ito", "stratonovich". Equations in another one are
        converted to the first.
    noise_kinds : tuple of str
        The kinds of noise it treats, with "none" for equations without noise.
    order : int or None
        Order of convergence without noise; None where the method needs noise.
    strong_order, weak_order : float or None
        Orders of convergence with the least convenient noise it treats; None where single paths do not converge.
    levy_area : str or None
        What it needs to know of the noise besides increments: "space-time".
    increments : {"gaussian", "three-point"}
        Whether its increments are those of a Brownian path, or numbers that only share their first five moments, for
        methods that converge in law alone.
    adaptive : bool
        Whether it chooses its steps from rtol and atol; else it needs dt.
    gradients : tuple of str
        The ways in which its solutions can be differentiated, see `skneuralde.solvers.gradients.replay`.
    handles_jumps : bool
        Whether its paths can stop at times of their own, where they jump.
    handles_stiffness : bool
    reference : str
    """

    name: str
    calculus: tuple[str, ...] = ("ito", "stratonovich")
    noise_kinds: tuple[str, ...] = ("none",)
    order: int | None = None
    strong_order: float | None = None
    weak_order: float | None = None
    levy_area: str | None = None
    increments: str = "gaussian"
    adaptive: bool = False
    gradients: tuple[str, ...] = ("direct",)
    handles_jumps: bool = False
    handles_stiffness: bool = False
    reference: str = ""

    @abstractmethod
    def solve(self, task: Task) -> Trajectory:
        """Solve; failures are told by the status of each path, never raised."""

    def handles(self, noise: str | None) -> bool:
        """Whether the method can treat this kind of noise (None: no noise)."""
        return ("none" if noise is None else noise) in self.noise_kinds

    def check(self, problem: ProblemLike) -> None:
        """Refuse a problem whose noise or jumps the method cannot treat.

        Raises
        ------
        ValueError
            It names the methods that can.
        """
        if problem.jumps and not self.handles_jumps:
            able = sorted(solver.name for solver in SOLVERS.values() if solver.handles_jumps and solver.handles(None))
            raise ValueError(
                f"solver {self.name!r} has one step for all paths and cannot stop where each of them jumps; these can: "
                f"{', '.join(map(repr, able))}"
            )
        noise = None if problem.diffusion is None else problem.noise
        if self.handles(noise):
            return
        able = sorted(solver.name for solver in SOLVERS.values() if solver.handles(noise))
        kind = "equations without noise" if noise is None else f"{noise} noise"
        raise ValueError(f"solver {self.name!r} cannot treat {kind}; these can: {', '.join(map(repr, able))}")


#: The methods that have a name of their own; filled by the registry.
SOLVERS: dict[str, Solver] = {}


class Step(NamedTuple):
    """What one step gives.

    ``error`` estimates the local error (adaptive methods), ``state`` is what the next step can reuse (rows as in u) and
    ``stages`` is what the dense output needs.
    """

    u1: Tensor
    error: Tensor | None = None
    state: Tensor | None = None
    stages: tuple[Tensor, ...] = ()


class Stepper(Solver):
    """A method of our own: one pure function makes a step, a loop does the rest."""

    handles_jumps = True

    @abstractmethod
    def step(
        self,
        rhs: RightHandSide,
        t: Tensor,
        h: Tensor | float,
        u: Tensor,
        noise: Increments | None,
        state: Tensor | None,
    ) -> Step:
        """One step of every path.

        Parameters
        ----------
        equation : RightHandSide
        t : float64 Tensor of shape (batch, 1)
        h : float, or Tensor of shape (batch, 1) in the dtype of u
            Negative where time runs backwards.
        u : Tensor of shape (batch, dim)
        noise : Increments or None
            Each of shape (batch, m).
        state : Tensor or None
            What the step before left; None at the start.
        """

    def resume(self, rhs: RightHandSide, t: Tensor, u: Tensor) -> Tensor | None:
        """What a step would have left that ends at times ``t (batch, 1)`` in states ``u``, as after a jump."""
        return None


def check_interval(device: torch.device) -> int:
    """Steps between two questions that wait for the device; on the CPU they cost nothing."""
    return 1 if device.type == "cpu" else 8
