"""Results of a batch of initial value problems."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from torch import Tensor

from skneuralde.solvers.core.jump_record import JumpRecord


class Status(IntEnum):
    """Outcome of one path."""

    SUCCESS = 0
    MAX_STEPS = 1
    STEP_TOO_SMALL = 2
    NON_FINITE = 3
    INVALID_RATE = 4


@dataclass(frozen=True)
class Stats:
    """Cost of a solution.

    Attributes
    ----------
    steps, rejections : int64 Tensor of shape (batch,)
        Accepted and rejected steps of each path.
    smallest_step : float64 Tensor of shape (batch,)
        The smallest step that was tried, in units of time; infinite for a path that needed no step.
    drift_evaluations, diffusion_evaluations : int
        Evaluations of each coefficient, summed over the paths.
    steps_by_method : dict of str to int64 Tensor of shape (batch,)
        Accepted steps of each method, by name, if the solver has several; empty otherwise.
    """

    steps: Tensor
    rejections: Tensor
    smallest_step: Tensor
    drift_evaluations: int
    diffusion_evaluations: int
    steps_by_method: dict[str, Tensor] = field(default_factory=dict)


class PathRates(Protocol):
    """The rates of jumps along the paths of a solution."""

    largest: Tensor  #: float64 (batch, n_channels), the largest absolute rate of each channel on each path

    def describe(self, path: int) -> str:
        """The invalid rate of a path that failed by one, in words."""


@dataclass(frozen=True)
class Trajectory:
    """Solutions of a batch of initial value problems.

    Attributes
    ----------
    values : Tensor of shape (batch, n_times, dim)
        NaN where the times are NaN, and after a failure; with an invalid rate, from its time on.
    status : int64 Tensor of shape (batch,)
        A `Status` per path.
    reached : float64 Tensor of shape (batch,)
        The time at which a failed path stopped; the last time of the others.
    stats : Stats
    jumps : JumpRecord or None
        None for an equation without jumps.
    rates : PathRates or None
        Likewise.
    advice : str
        What a failure may come from, and what to do.
    is_stiff : bool Tensor of shape (batch,), or None
        Whether stiffness made a path fail; None if none failed.
    """

    values: Tensor
    status: Tensor
    reached: Tensor
    stats: Stats
    jumps: JumpRecord | None = None
    rates: PathRates | None = None
    advice: str = ""
    is_stiff: Tensor | None = None
