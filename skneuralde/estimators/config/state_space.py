"""State spaces: the base class, which is that of vectors."""

from __future__ import annotations

import math

import numpy as np

from skneuralde.data import Panel
from skneuralde.data.layout import Layout


class VectorSpace:
    """States that are vectors: a row of y is a state, or shows a part of one.

    A subclass describes states that are fields on a grid.

    Attributes
    ----------
    shape : tuple of int or None
        ``(*grid, fields)`` of the snapshot in a row of y; None for vectors.
    """

    shape: tuple[int, ...] | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        """Numbers of points along the axes of space; () for vectors."""
        return () if self.shape is None else self.shape[:-1]

    @property
    def n_points(self) -> int:
        """Number of points of the grid; a vector has one."""
        return math.prod(self.grid)

    def check(self, panel: Panel, layout: Layout) -> None:
        """Raise a ValueError for training rows that such states cannot be learned from."""

    def check_backwards(self, row: int) -> None:
        """Raise a ValueError for a row before the origin of its series if equations cannot be integrated backwards."""

    def filled(self, panel: Panel) -> Panel:
        """The panel with the gaps in its states filled, as far as they can be without a model."""
        return panel

    def points(self, panel: Panel) -> Panel:
        """The rows that coefficients see, from a panel without gaps."""
        return panel

    def typical_rate(self, panel: Panel, rate: np.ndarray) -> np.ndarray:
        """Typical size of the drift, ``(dim,)``, from a panel without gaps; ``rate`` is the size at single points."""
        return rate
