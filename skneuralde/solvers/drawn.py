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


def _are_equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))
