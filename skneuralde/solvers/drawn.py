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
        self._blocks: list[tuple[Tensor, Increments]] = []

    def get(self, points: Tensor, draw: Callable[[Tensor], Increments]) -> Increments:
        """What ``draw(points)`` gives, or gave before for the same points."""
        for known, increments in self._blocks:
            if torch.equal(known, points):
                return increments
        increments = draw(points)
        self._blocks.append((points, increments))
        return increments
