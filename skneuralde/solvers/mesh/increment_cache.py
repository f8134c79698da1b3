"""Cache of the noise of a mesh, for solutions that make the same steps again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.batch_order import rank
from skneuralde.solvers.mesh.grid_schedule import StepSchedule

#: The noise of steps, one after the other: of step k, from the cells of the paths, and the rows of those that make only
#: a part of it, see `skneuralde.solvers.mesh.grid_increments`.
GridStepNoise = Callable[[int, Tensor, Tensor], Increments]


class IncrementCache:
    """Keeps the noise of the steps of a schedule, for rate branches, which make the steps of their path again.

    At the times of jumps, which are not dyadic, drawing the noise again would cost more than the steps.
    """

    def __init__(self) -> None:
        self._schedule: StepSchedule | None = None
        self._permutation: Tensor | None = None
        self._steps: dict[int, Increments] = {}

    def noise(
        self, schedule: StepSchedule, permutation: Tensor, active: list[int], draw: GridStepNoise
    ) -> GridStepNoise:
        """The noise of a schedule, for paths in an order; noise that is not cached is drawn."""
        if self._schedule is None:
            self._schedule, self._permutation = schedule, permutation
        if not self._has_seen(schedule):
            return draw
        if bool(schedule.first.any()):
            return self._since(schedule.first, permutation, active)

        def noise(k: int, place: Tensor, row: Tensor) -> Increments:
            if k not in self._steps:
                self._steps[k] = draw(k, place, row)
            return self._steps[k]

        return noise

    def knows(self, schedule: StepSchedule) -> bool:
        """Whether the noise of all steps of a schedule is cached."""
        return self._has_seen(schedule) and len(self._steps) == int(schedule.count.max())

    def _has_seen(self, schedule: StepSchedule) -> bool:
        seen = self._schedule
        return seen is not None and (
            torch.equal(seen.splits.position, schedule.splits.position)
            and torch.equal(seen.first + seen.count, schedule.first + schedule.count)
        )

    def _since(self, first: Tensor, permutation: Tensor, active: list[int]) -> GridStepNoise:
        """The noise of paths in an order from their steps ``first (batch,)`` on."""
        assert self._permutation is not None
        known = [self._steps[k] for k in range(len(self._steps))]
        begins = torch.tensor([0, *(len(step.w) for step in known)], device=permutation.device).cumsum(0)
        areas = [step.area for step in known if step.area is not None]
        every = Increments(torch.cat([step.w for step in known]), torch.cat(areas) if areas else None)
        begin, place = first[permutation], rank(self._permutation)[permutation]

        def noise(k: int, _: Tensor, row: Tensor) -> Increments:
            n = active[k]
            mine = begins[begin[:n] + k] + place[:n]
            return every.map(lambda x: x.index_select(0, mine))

        return noise
