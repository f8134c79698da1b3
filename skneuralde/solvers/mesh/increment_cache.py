"""The noise of a mesh, kept for whoever makes the same steps again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.batch_order import rank
from skneuralde.solvers.mesh.grid_schedule import StepSchedule

#: Gives the noise of steps, one after the other: of step k, of the cells of the paths, and the rows of those that make
#: only a part of it, see `skneuralde.solvers.mesh.grid_increments`.
StepNoise = Callable[[int, Tensor, Tensor], Increments]


class IncrementCache:
    """Remembers the noise of the steps of a route.

    A branch takes the steps of its path, so that it need not draw them once more: off the dyadic times, where jumps
    are, noise costs more than steps do.
    """

    def __init__(self) -> None:
        self._route: StepSchedule | None = None
        self._order: Tensor | None = None
        self._steps: dict[int, Increments] = {}

    def noise(self, route: StepSchedule, order: Tensor, active: list[int], draw: StepNoise) -> StepNoise:
        """The noise of a route, for paths in an order: what is not known is drawn."""
        if self._route is None:
            self._route, self._order = route, order
        if not self._has_seen(route):
            return draw
        if bool(route.first.any()):
            return self._since(route.first, order, active)

        def noise(k: int, place: Tensor, row: Tensor) -> Increments:
            if k not in self._steps:
                self._steps[k] = draw(k, place, row)
            return self._steps[k]

        return noise

    def knows(self, route: StepSchedule) -> bool:
        """Whether the noise of all steps of a route is kept."""
        return self._has_seen(route) and len(self._steps) == int(route.count.max())

    def _has_seen(self, route: StepSchedule) -> bool:
        seen = self._route
        return seen is not None and (
            torch.equal(seen.cuts.position, route.cuts.position)
            and torch.equal(seen.first + seen.count, route.first + route.count)
        )

    def _since(self, first: Tensor, order: Tensor, active: list[int]) -> StepNoise:
        """The noise of paths in an order from their steps ``first (batch,)`` on."""
        assert self._order is not None
        known = [self._steps[k] for k in range(len(self._steps))]
        begins = torch.tensor([0, *(len(step.w) for step in known)], device=order.device).cumsum(0)
        areas = [step.area for step in known if step.area is not None]
        every = Increments(torch.cat([step.w for step in known]), torch.cat(areas) if areas else None)
        begin, place = first[order], rank(self._order)[order]

        def noise(k: int, _: Tensor, row: Tensor) -> Increments:
            n = active[k]
            mine = begins[begin[:n] + k] + place[:n]
            return every.map(lambda x: x.index_select(0, mine))

        return noise
