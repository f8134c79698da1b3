"""The noise of a mesh, kept for whoever makes the same steps again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skneuralde.noise import Increments


class Drawn:
    """Remembers the noise between mesh points.

    A branch takes the steps of its path, so that it need not draw them once more: off the dyadic times, where jumps
    are, noise costs more than steps do.
    """

    def __init__(self) -> None:
        self._blocks: list[tuple[Tensor, Tensor | None, Increments]] = []

    def get(
        self, points: Tensor, order: Tensor | None, draw: Callable[[Tensor, Tensor | None], Increments]
    ) -> Increments:
        """What ``draw(points, order)`` gives, or gave before for the same."""
        for known, known_order, increments in self._blocks:
            if torch.equal(known, points) and _are_equal(known_order, order):
                return increments
        increments = draw(points, order)
        self._blocks.append((points, order, increments))
        return increments

    def knows(self, points: Tensor) -> bool:
        """Whether the noise of all steps between these points (batch, n_points) is kept."""
        begin = 0
        for known, *_ in self._blocks:
            if not torch.equal(known, points[:, begin : begin + known.shape[1]]):
                return False
            begin += known.shape[1] - 1
        return begin == points.shape[1] - 1

    def since(self, first: Tensor, order: Tensor | None, n_steps: int) -> Increments:
        """Of paths in an order, the noise of ``n_steps`` steps from their steps ``first (batch,)`` on, by step.

        What lies beyond the last step of a path means nothing.
        """
        assert order is not None  # paths that begin anywhere have meshes of their own
        known = self._blocks[0][1]
        assert known is not None
        rank = torch.empty_like(known).index_copy(0, known, torch.arange(len(known), device=known.device))
        steps = torch.arange(n_steps, device=order.device)[:, None] + first[order]
        steps = steps.clamp_max(sum(len(increments.w) for *_, increments in self._blocks) - 1)
        place = (steps * len(order) + rank[order]).flatten()

        def chosen(parts: list[Tensor]) -> Tensor:
            return torch.cat(parts).flatten(0, 1).index_select(0, place).unflatten(0, (n_steps, len(order)))

        w = chosen([increments.w for *_, increments in self._blocks])
        areas = [increments.area for *_, increments in self._blocks if increments.area is not None]
        return Increments(w, chosen(areas) if areas else None)


def _are_equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))
