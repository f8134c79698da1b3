"""State of the step loop: the paths under way, the step that is tried, and the interfaces of what takes part in it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor

from skneuralde.solvers.core.results import Status
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step

#: Status of a path that is still under way, and of one that a monitor has stopped.
RUNNING, STOPPED = -1, -2


@dataclass(frozen=True)
class PathState:
    """State of the paths in the step loop; every tensor has one row per path, and times are float64 (n, 1).

    Elapsed times and lengths are counted in the unit of the step alignment.
    """

    rows: Tensor  #: int64 (n,), positions in the batch
    start: Tensor  #: first time
    unit: Tensor  #: signed unit of elapsed time
    end: Tensor  #: elapsed time at which the path ends
    min_step: Tensor  #: length below which a step is too small
    elapsed: Tensor  #: time since the start
    seen: Tensor  #: time up to which steps have been tried
    proposal: Tensor  #: length of the next step to try
    controller_state: Tensor  #: float64 (n, 1)
    u: Tensor  #: (n, dim)
    solver_state: Tensor | None  #: kept by the method for its next step
    size: Tensor | None  #: (n, dim), size of the states so far, which replaces that of smaller ones in the tolerance
    is_first_try: Tensor  #: bool (n, 1), whether no step has been tried from this point yet
    limit: Tensor  #: elapsed time at which the next step must end at the latest, because of a jump
    status: Tensor  #: int64 (n, 1), as steps and rejections
    steps: Tensor
    rejections: Tensor
    smallest: Tensor  #: the smallest step that was tried

    @classmethod
    def begin(
        cls,
        u0: Tensor,
        *,
        start: Tensor,
        unit: Tensor,
        end: Tensor,
        min_step: Tensor,
        elapsed: Tensor,
        proposal: Tensor,
        controller_state: Tensor,
        solver_state: Tensor | None = None,
        size: Tensor | None = None,
    ) -> PathState:
        """All paths of a batch at their start; a path whose end is its start has succeeded."""
        none = torch.zeros_like(end, dtype=torch.int64)
        return cls(
            rows=torch.arange(len(u0), device=u0.device),
            start=start,
            unit=unit,
            end=end,
            min_step=min_step,
            elapsed=elapsed,
            seen=elapsed,
            proposal=proposal,
            controller_state=controller_state,
            u=u0,
            solver_state=solver_state,
            size=size,
            is_first_try=torch.ones_like(end, dtype=torch.bool),
            limit=torch.full_like(end, torch.inf),
            status=torch.where(end > elapsed, RUNNING, int(Status.SUCCESS)),
            steps=none,
            rejections=none,
            smallest=torch.full_like(end, torch.inf),
        )

    def time(self, elapsed: Tensor) -> Tensor:
        """Times of these paths after ``elapsed (n, 1)``."""
        return torch.addcmul(self.start, self.unit, elapsed)

    def select(self, keep: Tensor) -> PathState:
        """Some of the paths."""
        kept = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[keep] for name, value in kept.items() if value is not None})

    def update(self, part: PathState) -> PathState:
        """The batch with the new state of some of its paths."""
        changes = {
            field.name: getattr(self, field.name).index_copy(0, part.rows, getattr(part, field.name))
            for field in fields(self)
            if getattr(self, field.name) is not None
        }
        return replace(self, **changes)


@dataclass(frozen=True)
class StepAttempt:
    """One step, tried by all paths under way; every tensor is (n, 1)."""

    paths: PathState  #: state before the step
    target: Tensor  #: elapsed time at which the step ends
    length: Tensor
    step: Step
    ratio: Tensor  #: error over tolerance
    accepted: Tensor  #: whether the path is under way and the error within the tolerance
    reached: Tensor  #: elapsed time after the step
    jumped: Tensor | None = None  #: whether the path stopped for a jump of its state or its inputs; None if none did
    limit: Tensor | None = None  #: elapsed time at which the next step must end at the latest; None for that of paths
    failed: Tensor | None = None  #: whether the path ends with an invalid rate; None if none did

    def failing(self, rows: Tensor) -> StepAttempt:
        """The attempt where paths in these rows end because of an invalid rate."""
        if len(rows) == 0:
            return self
        failed = torch.zeros_like(self.accepted) if self.failed is None else self.failed
        return replace(self, failed=failed.index_fill(0, rows, True))

    def interrupted(self, rows: Tensor, step: Step) -> StepAttempt:
        """The attempt after jumps in these rows, which gave another ``step``."""
        before = torch.zeros_like(self.accepted) if self.jumped is None else self.jumped
        return replace(self, step=step, jumped=before.index_fill(0, rows, True))


class AcceptanceTest(Protocol):
    """Decides whether a step is accepted."""

    def ratio(self, error: Tensor | None, u0: Tensor, u1: Tensor, floor: Tensor | None = None) -> Tensor:
        """Error over tolerance, float64 (batch, 1); a step is accepted up to 1."""


class StepEndHandler(Protocol):
    """Acts on paths at the ends of their steps, as jumps and restarts do."""

    def handle(self, rhs: RightHandSide, attempt: StepAttempt) -> StepAttempt:
        """The attempt after everything that happens at its end."""


class StepMonitor(Protocol):
    """Watches the steps, and may stop paths."""

    def watch(self, attempt: StepAttempt, paths: PathState) -> PathState:
        """The paths after a step; those that must not go on have the status `STOPPED`, or one of a failure."""


class StepObserver:
    """Observes the steps of the loop."""

    def proposed(self, paths: PathState, target: Tensor) -> None:
        """Called before steps to ``target (n, 1)`` are tried."""

    def attempted(self, attempt: StepAttempt) -> None:
        """Called after they were tried."""
